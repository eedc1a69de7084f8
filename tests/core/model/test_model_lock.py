"""One model used by several threads: each gets the same picture as on its own, and none waits forever."""

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kontext_core.chain import Chain
from kontext_core.edit_settings import EditSettings
from kontext_core.lora import Lora
from kontext_core.memory import model_weights
from kontext_core.model.latents import noise
from kontext_core.model.model_lock import ModelLock, lock_of
from kontext_core.model.transformer import Transformer
from kontext_core.pipeline import Pipeline
from kontext_core.sampling import cuda_graph
from kontext_core.sampling.cuda_graph import StepGraph
from kontext_core.sampling.denoise import denoise
from kontext_core.sampling.inputs import SampleInputs
from kontext_core.sampling.schedule import sigmas
from tests.core.memory.test_offload_plan import WORDS, lora_file, picture
from tests.core.sampling.test_cuda_graph import Recorder

ENOUGH = 120  # seconds: who has not ended by then waits for ever
Work = Callable[[], Tensor]


def edited(pipeline: Pipeline, seed: int, **options: Any) -> Tensor:
    words = (WORDS, "make the background sand")[seed % 2]
    return pipeline.edit(words, [picture()], steps=2, seed=seed, **options).latents


def in_a_thread(work: Callable[[], object]) -> Any:
    """What a thread of its own returns, or raises."""
    answers: list[Any] = []

    def run() -> None:
        try:
            answers.append(work())
        except BaseException as error:
            answers.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(ENOUGH)
    assert not thread.is_alive(), "it waits for ever"
    if isinstance(answers[0], BaseException):
        raise answers[0]
    return answers[0]


class Second:
    """Another thread's work, which stops in an earlier block than the first one's, until
    that is some blocks further.

    So it goes from the middle of one of its blocks into the middle of the first one's step, if
    nothing keeps it from it.

    Args:
        blocks: in the order of their calls, five or more.
    """

    def __init__(self, blocks: Sequence[nn.Module], work: Work) -> None:
        self.answers: list[Any] = []
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._inside, self._go_on = threading.Event(), threading.Event()
        hooks = {0: self._stop, 1: self._begin, len(blocks) - 2: self._let_it_go_on}
        self._hooks = [blocks[at].register_forward_pre_hook(hook) for at, hook in hooks.items()]

    def _begin(self, *_: object) -> None:
        if not self._thread.ident:
            self._thread.start()
            self._inside.wait(1)

    def _stop(self, *_: object) -> None:
        if threading.current_thread() is self._thread:
            self._inside.set()
            self._go_on.wait(ENOUGH)

    def _let_it_go_on(self, *_: object) -> None:
        if threading.current_thread() is not self._thread:
            self._go_on.set()
            self._thread.join(1)

    def _run(self) -> None:
        try:
            self.answers.append(self._work())
        except Exception as error:
            self.answers.append(error)

    def answer(self) -> Any:
        self._go_on.set()
        self._thread.join(ENOUGH)
        for hook in self._hooks:
            hook.remove()
        assert not self._thread.is_alive(), "it waits for ever"
        if isinstance(self.answers[0], Exception):
            raise self.answers[0]
        return self.answers[0]


def blocks_of(model: Pipeline) -> list[nn.Module]:
    return [*model.transformer.double_blocks, *model.transformer.single_blocks]


def test_weights_that_visit(waiting_model: Pipeline) -> None:
    wanted = [edited(waiting_model, seed) for seed in (0, 1)]
    second = Second(blocks_of(waiting_model), lambda: edited(waiting_model, 1))
    assert torch.equal(edited(waiting_model, 0), wanted[0])
    assert torch.equal(second.answer(), wanted[1])


def sampled(model: Pipeline, seed: int) -> Tensor:
    return model.sample(model.encode_prompt(WORDS), [], width_px=64, height_px=64, steps=2, seed=seed)


def chained(model: Pipeline, seed: int) -> Tensor:
    start = Chain.start(model, picture())
    latents = start.edit(model, WORDS, steps=2, seed=seed).last.latents
    assert latents is not None
    return latents


def denoised(model: Pipeline, seed: int) -> Tensor:
    """Past the pipeline, with its network alone."""
    text = model.encode_prompt(WORDS)
    return denoise(model.transformer, noise(1, 4, 4, seed), *text, sigmas(2, 4))


@pytest.mark.parametrize("views", ["the model", "a view with a LoRA", "both"])
@pytest.mark.parametrize("door", [edited, sampled, chained, denoised])
def test_two_threads_at_every_door(
    waiting_model: Pipeline, tmp_path: Path, door: Callable[[Pipeline, int], Tensor], views: str
) -> None:
    view = waiting_model.with_loras([Lora(lora_file(waiting_model, 8, tmp_path), 0.7)])
    first = view if views == "a view with a LoRA" else waiting_model
    other = waiting_model if views == "the model" else view
    expected = door(first, 0), door(other, 1)
    second = Second(blocks_of(waiting_model), lambda: door(other, 1))
    assert torch.equal(door(first, 0), expected[0])
    assert torch.equal(second.answer(), expected[1])


@pytest.mark.parametrize(
    "method", ["encode_prompt", "encode", "decode", "denoise", "with_loras", "to_host", "to_device"]
)
def test_what_waits_for_another_thread(method: str) -> None:
    model = Pipeline.load("tiny", device="cpu", memory_gib="least")
    text, latents = model.encode_prompt(WORDS), noise(1, 4, 4, 0)
    works: dict[str, Callable[[], object]] = {
        "encode_prompt": lambda: model.encode_prompt("other words"),
        "encode": lambda: model.encode(torch.rand(1, 32, 32, 3)),
        "decode": lambda: model.decode(latents),
        "denoise": lambda: model.denoise(
            SampleInputs(noise=latents, text=text), sigmas(1, 4), EditSettings()
        ),
        "with_loras": lambda: model.with_loras([]),
        "to_host": model.to_host,
        "to_device": model.to_device,
    }
    thread = threading.Thread(target=works[method], daemon=True)
    with held(model.weights.lock) as end:
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        end()
        thread.join(ENOUGH)
        assert not thread.is_alive()


def test_a_view_with_a_lora_shares_the_lock(waiting_model: Pipeline, tmp_path: Path) -> None:
    view = waiting_model.with_loras([Lora(lora_file(waiting_model, 8, tmp_path), 0.7)])
    wanted = [edited(one, 0) for one in (waiting_model, view)]
    second = Second(blocks_of(waiting_model), lambda: edited(view, 0))
    assert torch.equal(edited(waiting_model, 0), wanted[0])
    assert torch.equal(second.answer(), wanted[1])


def test_a_lora_that_comes_meanwhile(waiting_model: Pipeline, tmp_path: Path) -> None:
    """It may have more blocks visit, which a step in progress must not meet."""
    loras = [Lora(lora_file(waiting_model, 8, tmp_path), 0.7)]
    wanted = edited(waiting_model, 0)
    second = Second(blocks_of(waiting_model), lambda: edited(waiting_model.with_loras(loras), 0))
    assert torch.equal(edited(waiting_model, 0), wanted)
    assert torch.equal(second.answer(), edited(waiting_model.with_loras(loras), 0))


def test_inputs_of_a_recorded_step(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Pipeline.load("tiny", device="cpu")
    wanted = [edited(model, seed) for seed in (0, 1)]
    graph = StepGraph(Recorder())
    monkeypatch.setattr("kontext_core.sampling.velocity.run_step", graph.velocity)
    edited(model, 0)  # recorded
    second = Second(blocks_of(model), lambda: edited(model, 1))
    assert torch.equal(edited(model, 0), wanted[0])
    assert torch.equal(second.answer(), wanted[1])


def test_two_models_do_not_wait_for_each_other(waiting_model: Pipeline) -> None:
    other = Pipeline.load("tiny", device="cpu", memory_gib="least")
    wanted, got = [edited(model, 3) for model in (waiting_model, other)], []

    def begin(*_: object) -> None:
        hook.remove()
        got.append(in_a_thread(lambda: edited(other, 3)))

    hook = waiting_model.transformer.single_blocks[1].register_forward_pre_hook(begin)
    got.append(edited(waiting_model, 3))
    assert all(torch.equal(one, two) for one, two in zip(got[::-1], wanted, strict=True))


@pytest.mark.parametrize("where", ["itself", "a thread that it waits for"])
def test_a_callback_may_call_the_model(waiting_model: Pipeline, where: str) -> None:
    wanted, inner = edited(waiting_model, 0), edited(waiting_model, 1)
    got: list[Any] = []

    def look(step: int, steps: int, clean: Tensor) -> None:
        def calls() -> object:
            waiting_model.encode_prompt(f"step {step}")
            return waiting_model.decode(clean).shape, waiting_model.thumbnail(clean), edited(waiting_model, 1)

        got.append(calls() if where == "itself" else in_a_thread(calls))

    assert torch.equal(in_a_thread(lambda: edited(waiting_model, 0, callback=look)), wanted)
    assert [shape for shape, *_ in got] == [(1, 128, 128, 3)] * 2
    assert all(torch.equal(latents, inner) for *_, latents in got)


def test_a_callback_that_raises_leaves_the_model_free(waiting_model: Pipeline) -> None:
    wanted = edited(waiting_model, 0)

    def stop(*_: object) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        edited(waiting_model, 0, callback=stop)
    assert torch.equal(in_a_thread(lambda: edited(waiting_model, 0)), wanted)


def test_an_edit_goes_on_after_another_one_in_its_callback(waiting_model: Pipeline) -> None:
    """Two threads take turns at their callbacks."""
    wanted, met = [edited(waiting_model, seed) for seed in (0, 1)], threading.Barrier(2, timeout=ENOUGH)
    got: dict[int, Tensor] = {}

    def work(seed: int) -> None:
        got[seed] = edited(waiting_model, seed, callback=lambda *_: met.wait())

    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(ENOUGH)
    assert all(torch.equal(got[seed], wanted[seed]) for seed in (0, 1))


def test_leaving_waits_for_edits_that_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step would find its weights on another device. Graphs of other models stay."""
    model, said = Pipeline.load("tiny", device="cpu"), []
    monkeypatch.setattr(model_weights, "move_to", lambda *_: said.append("moved"))
    leaving = threading.Thread(target=model.to_host, daemon=True)

    def look(step: int, *_: object) -> None:
        if step == 0:
            leaving.start()
            leaving.join(0.2)
        said.append(step)

    edited(model, 0, callback=look)
    leaving.join(ENOUGH)
    assert said == [0, 1, "moved"]
    graphs = {
        model.transformer: StepGraph(Recorder()),
        Transformer(model.transformer.config): StepGraph(Recorder()),
    }
    for graph in graphs.values():
        graph._recordings["some shape"] = Any
    monkeypatch.setattr(cuda_graph, "_graphs", graphs)
    model.to_host()
    assert [len(graph._recordings) for graph in graphs.values()] == [0, 1]
    cuda_graph.release_graphs()
    assert not any(graph._recordings for graph in graphs.values())


@contextmanager
def held(lock: ModelLock) -> Iterator[Callable[[], None]]:
    """Another thread holds it, until what comes is called."""
    begun, end = threading.Event(), threading.Event()

    def work() -> None:
        with lock:
            begun.set()
            end.wait(ENOUGH)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    begun.wait(ENOUGH)
    yield end.set
    end.set()
    thread.join(ENOUGH)


def test_a_lock_that_was_lent_is_taken_again_whatever_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = ModelLock()
    with lock, lock:
        lent = lock.lent()
        lent.__enter__()
        with held(lock) as end:
            wait = lock._changed.wait

            def interrupted(*_: object) -> None:
                monkeypatch.setattr(lock._changed, "wait", wait)
                end()
                raise KeyboardInterrupt

            monkeypatch.setattr(lock._changed, "wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                lent.__exit__(None, None, None)
            assert (lock._owner, lock._depth, lock._lenders) == (threading.get_ident(), 2, [])
    in_a_thread(lock.__enter__)


def test_what_shares_a_transformer_shares_its_lock() -> None:
    model = Pipeline.load("tiny", device="cpu")
    same, copied = Pipeline(model.transformer, model.vae, model.text), copy.deepcopy(model)
    assert same.weights.lock is model.weights.lock is model.with_loras([]).weights.lock
    assert model.weights.lock is lock_of(model.transformer)
    assert copied.weights.lock is lock_of(copied.transformer) is not model.weights.lock
    with lock_of(nn.Linear(1, 1)).lent():
        pass  # what nobody holds


@pytest.fixture(scope="module", params=["memory", "file"])
def waiting_model(request: pytest.FixtureRequest) -> Pipeline:
    """As small as can be, its weights in memory or, as they are stored, in their files."""
    dtype = torch.bfloat16 if request.param == "file" else torch.float32
    return Pipeline.load("tiny", device="cpu", dtype=dtype, memory_gib="least", waits=request.param)
