"""The bookkeeping of recorded steps, with a recorder that runs the step again in place of a CUDA graph."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from kontext_core.kernels.options import use_compute_options
from kontext_core.model.attention import key_weights
from kontext_core.model.blocks import Modulation
from kontext_core.model.positions import target_ids, text_ids
from kontext_core.model.transformer import ModulationTable, PreparedInputs, Transformer
from kontext_core.model_spec import ComputeOptions
from kontext_core.sampling import cuda_graph
from kontext_core.sampling.cuda_graph import StepGraph

Edit = tuple[Tensor, PreparedInputs, ModulationTable]


class Recorder:
    """Replays on the memory that it saw, as a graph does: its result lies in one place."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, run: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        self.recorded += 1
        result = torch.full_like(run(), float("nan"))

        def replay() -> None:
            self.replayed += 1
            result.copy_(run())

        return result, replay


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.no_grad():
        yield


def edit(transformer: Transformer, seed: int, height: int = 2, weighted: bool = False) -> Edit:
    """Three steps' worth of an edit with one reference."""
    generator = torch.Generator().manual_seed(seed)
    config = transformer.config
    n_target = height * 3
    ids = torch.cat([target_ids(height, 3), target_ids(2, 2)], dim=1)
    weights = key_weights(5 + n_target, [4], [0.5], 16) if weighted else None
    txt = torch.randn(1, 5, config.context_in_dim, generator=generator)
    prepared = transformer.prepare(
        txt, text_ids(1, 5), ids, torch.randn(1, 4, 64, generator=generator), weights
    )
    times, pooled = (
        torch.rand(3, 1, generator=generator),
        torch.randn(1, config.vec_in_dim, generator=generator),
    )
    table = transformer.modulation(times, pooled, torch.ones(1))
    return torch.randn(1, n_target, 64, generator=generator), prepared, table


@pytest.mark.parametrize("weighted", [False, True])
def test_what_is_replayed_is_the_step(transformer: Transformer, weighted: bool) -> None:
    """Steps of two edits of one shape in turns, as those of true CFG are."""
    recorder = Recorder()
    graph = StepGraph(recorder)
    edits = [edit(transformer, seed, weighted=weighted) for seed in (0, 1)]
    results: list[Tensor] = []
    for step in range(3):
        for tokens, prepared, table in edits:
            results.append(graph.velocity(transformer, tokens, prepared, table, step))
            assert torch.equal(results[-1], transformer.velocity(tokens, prepared, table, step))
    assert (recorder.recorded, recorder.replayed) == (1, 6)
    assert not torch.equal(results[0], results[1])
    assert torch.equal(results[0], transformer.velocity(*edits[0], 0)), "later replays leave it alone"


def test_shapes_are_recorded_apart_and_the_latest_are_kept(transformer: Transformer) -> None:
    recorder = Recorder()
    graph = StepGraph(recorder)
    for height in (1, 2, 3, 3, 2, 1):
        given = edit(transformer, 0, height)
        assert torch.equal(graph.velocity(transformer, *given, 0), transformer.velocity(*given, 0))
    assert recorder.recorded == 4  # the first was given up for the third
    graph.release()
    graph.velocity(transformer, *edit(transformer, 0, 1), 0)
    assert recorder.recorded == 5


def test_what_visits_is_not_recorded(transformer: Transformer) -> None:
    given = edit(transformer, 0)

    class Away:
        def parameters(self) -> list[Tensor]:
            return [torch.zeros(1), torch.zeros(1, device="meta")]

        def buffers(self) -> list[Tensor]:
            return []

        def modules(self) -> list[Any]:
            return []

        def velocity(self, *_: object) -> str:
            return "as it is"

    recorder = Recorder()
    assert StepGraph(recorder).velocity(cast("Any", Away()), *given, 0) == "as it is"
    assert recorder.recorded == 0


def test_the_modulation_may_be_away(make_transformer: Callable[..., Transformer]) -> None:
    """A step does not read it, so a graph does not ask where it is."""
    network, recorder = make_transformer(), Recorder()
    tokens, prepared, table = edit(network, 0)
    expected = network.velocity(tokens, prepared, table, 0)
    for module in network.modules():
        if isinstance(module, Modulation):
            module.to("meta")
    assert torch.equal(StepGraph(recorder).velocity(network, tokens, prepared, table, 0), expected)
    assert recorder.recorded == 1


def test_weights_that_moved_are_recorded_anew(make_transformer: Callable[..., Transformer]) -> None:
    """As ComfyUI's memory manager moves them between two edits: what was recorded would
    read what is no more there.
    """
    network, recorder = make_transformer(), Recorder()
    graph = StepGraph(recorder)
    for recorded in (1, 2):
        given = edit(network, 0)
        for step in (0, 1):
            found = graph.velocity(network, *given, step)
            assert torch.equal(found, network.velocity(*given, step))
        assert recorder.recorded == recorded
        bias = network.single_blocks[0].linear2.bias
        bias.data = bias.data + 1


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_what_cannot_be_recorded_runs_as_it_is(
    transformer: Transformer, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """Tried once, and not at each step again."""
    tried = 0

    def record(run: Callable[[], Tensor]) -> Any:
        nonlocal tried
        tried += 1
        raise error("operation not permitted when stream is capturing")

    graph, given = StepGraph(record), edit(transformer, 0)
    for step in (0, 1, 2):
        assert torch.equal(graph.velocity(transformer, *given, step), transformer.velocity(*given, step))
    graph.velocity(transformer, *edit(transformer, 1), 0)
    assert tried == 1
    assert "the step runs without a graph: operation not permitted" in caplog.text


def test_recorded_in_inference_mode_and_replayed_outside(transformer: Transformer) -> None:
    graph = StepGraph(Recorder())
    with torch.inference_mode():
        graph.velocity(transformer, *edit(transformer, 0), 0)
    given = edit(transformer, 1)
    assert torch.equal(graph.velocity(transformer, *given, 0), transformer.velocity(*given, 0))


def test_on_a_cpu_there_is_none(transformer: Transformer) -> None:
    given = edit(transformer, 0)
    with use_compute_options(ComputeOptions(graph=True)):
        found = cuda_graph.velocity(transformer, *given, 0)
    assert torch.equal(found, transformer.velocity(*given, 0))
    cuda_graph.release_graphs()


@pytest.mark.gpu
def test_a_real_graph(make_transformer: Callable[..., Transformer]) -> None:
    network = make_transformer().to("cuda", torch.bfloat16)
    for seed in (0, 1):
        tokens, prepared, table = edit(network, seed)
        expected = network.velocity(tokens.cuda(), prepared, table, 1)
        for _ in range(2):
            with use_compute_options(ComputeOptions(graph=True)):
                found = cuda_graph.velocity(network, tokens.cuda(), prepared, table, 1)
            torch.testing.assert_close(found, expected)
    cuda_graph.release_graphs()


class Card:
    """What of torch.cuda a recording touches, with what it leaves behind where it fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
        self.stream, self.ends, self.waits = "main", ends, []
        self.generator_state, self.pools = "free", ["others"]
        for name in ("current_stream", "current_device", "graph_pool_handle"):
            value = {"current_stream": self, "current_device": 0, "graph_pool_handle": "pool"}[name]
            monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
        monkeypatch.setattr(torch.cuda, "Stream", lambda: self.Side(self))
        monkeypatch.setattr(torch.cuda, "stream", self.on)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: self)
        monkeypatch.setattr(torch.cuda, "graph", self.graph)
        monkeypatch.setattr(torch.cuda, "default_generators", (self,), raising=False)
        monkeypatch.setattr(
            torch._C, "_cuda_endAllocateToPool", lambda _, pool: self.end(pool), raising=False
        )
        monkeypatch.setattr(torch._C, "_cuda_releasePool", lambda _, pool: None, raising=False)

    class Side:
        def __init__(self, card: "Card") -> None:
            self.card = card

        def wait_stream(self, _: object) -> None:
            self.card.waits.append("beside for main")

    def wait_stream(self, _: object) -> None:
        self.waits.append("main for beside")

    @contextmanager
    def on(self, _: object) -> Iterator[None]:
        before, self.stream = self.stream, "beside"
        try:
            yield
        finally:
            self.stream = before

    @contextmanager
    def graph(self, *_: object, **options: object) -> Iterator[None]:
        assert options["pool"] == "pool"
        self.generator_state = "recording"
        self.pools.append("pool")
        try:
            yield
        finally:
            if not self.ends:
                self.stream = "torch's own"
                raise RuntimeError("operation failed due to a previous error during capture")
            self.generator_state = "free"
            self.end("pool")

    def clone_state(self) -> str:
        return self.generator_state

    def graphsafe_set_state(self, state: str) -> None:
        self.generator_state = state

    def end(self, pool: str) -> None:
        if pool not in self.pools:
            raise RuntimeError("not recording to it")
        self.pools.remove(pool)

    def replay(self) -> None: ...


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("fails_at", [None, 0, 2])
def test_a_recording_that_fails_leaves_the_card_as_it_was(
    ends: bool, fails_at: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it warms up, in the recorded run, and when torch ends it."""
    card, runs = Card(monkeypatch, ends), 0

    def run() -> Tensor:
        nonlocal runs
        runs += 1
        if runs - 1 == fails_at:
            raise RuntimeError("no room")
        return torch.zeros(1)

    if fails_at is None and ends:
        cuda_graph.record_on_cuda(run)
    else:
        with pytest.raises(RuntimeError):
            cuda_graph.record_on_cuda(run)
    assert (card.stream, card.generator_state, card.pools) == ("main", "free", ["others"])
    assert card.waits == ["beside for main", "main for beside"]
