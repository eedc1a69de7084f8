"""A run that is stopped and resumed ends as if it had never been stopped."""

import csv
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kontext_core.train import run as run_module
from kontext_core.train import state as state_module
from kontext_core.train.optimizer import Muon
from kontext_core.train.run import LOG_EVERY, TrainingRun
from kontext_core.train.state import EMA, load_state


class Toy(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.matrix = nn.Parameter(torch.randn(6, 4, generator=generator))
        self.vector = nn.Parameter(torch.randn(4, generator=generator))
        self.register_buffer("count", torch.tensor(0))


def start(folder: Path, seed: int = 0, **options: Any) -> TrainingRun:
    toy = Toy(seed)
    optimizers = [Muon([toy.matrix], lr=0.01, weight_decay=0.1), torch.optim.AdamW([toy.vector], lr=0.01)]
    given = {"minutes": 1000.0, "warmup_steps": 4, "cooldown": 0.0, "average_decay": 0.9} | options
    return TrainingRun(folder, toy, optimizers, **given)


def advance(run: TrainingRun, steps: int) -> None:
    """So many steps, each on data that its number decides; then it ends as a kill does, without saving."""
    toy, last = run.module, run.step + steps
    for step in run.steps():
        if step == last:
            return
        x = torch.randn(8, 6, generator=torch.Generator().manual_seed(step))
        loss = (x @ toy.matrix + toy.vector - 1).square().mean()
        toy.count += 1
        run.update(loss, samples=8)


def weights(run: TrainingRun) -> dict[str, Tensor]:
    averages = {f"average.{name}": tensor for name, tensor in run.average.tensors.items()}
    return {name: tensor.clone() for name, tensor in {**run.module.state_dict(), **averages}.items()}


@pytest.mark.parametrize("stops", [(5,), (1, 2, 3), (2, 2, 2, 2)], ids=str)
def test_stopped_and_resumed_equals_uninterrupted(tmp_path: Path, stops: tuple[int, ...]) -> None:
    whole = start(tmp_path / "whole")
    advance(whole, 10)
    run = start(tmp_path / "parts")
    for i, steps in enumerate(stops):
        advance(run, steps)
        run.save()
        run = start(tmp_path / "parts", seed=100 + i)
        assert run.step == sum(stops[: i + 1])
    advance(run, 10 - run.step)
    expected = weights(whole)
    assert {
        name: torch.equal(tensor, expected[name]) for name, tensor in weights(run).items()
    } == dict.fromkeys(expected, True)
    assert run.samples == whole.samples == 80
    assert run.module.count == 10
    assert run.average.updates == whole.average.updates == 10


def test_what_was_not_saved_is_done_again(tmp_path: Path) -> None:
    """Killed two steps after a checkpoint: it goes on from there and ends the same."""
    whole = start(tmp_path / "whole")
    advance(whole, 8)
    run = start(tmp_path / "killed")
    advance(run, 5)
    run.save()
    advance(run, 2)
    again = start(tmp_path / "killed", seed=9)
    assert again.step == 5
    advance(again, 3)
    expected = weights(whole)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(again).items())


def test_a_failed_save_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(tmp_path)
    advance(run, 2)
    run.save()
    before = run.state_path.read_bytes()

    def disk_full(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(state_module, "save_file", disk_full)
    with pytest.raises(OSError, match="no space left"):
        run.save()
    assert run.state_path.read_bytes() == before
    assert start(tmp_path, seed=3).samples == 16


def test_what_is_stored_comes_back(tmp_path: Path) -> None:
    run = start(tmp_path)
    advance(run, 3)
    run.elapsed = 12.5
    run.save()
    toy = Toy(5)
    average = EMA(toy, 0.9)
    optimizers = [Muon([toy.matrix], lr=0.5), torch.optim.AdamW([toy.vector], lr=0.5)]
    progress = load_state(run.state_path, toy, average, optimizers)
    assert progress == {"step": 3, "samples": 24, "elapsed": 12.5}
    assert optimizers[0].param_groups[0]["lr"] == 0.5, "rates belong to the one who resumes"
    momentum = run.optimizers[0].state[run.module.matrix]["momentum"]
    assert torch.equal(optimizers[0].state[toy.matrix]["momentum"], momentum)
    assert optimizers[1].state[toy.vector]["step"] == 3


def test_average_forgets_its_start_and_copies_counters() -> None:
    toy = Toy(0)
    average = EMA(toy, 0.99)
    with torch.no_grad():
        toy.vector.fill_(1.0)
        toy.count.fill_(7)
    for _ in range(60):
        average.update(toy)
    torch.testing.assert_close(average.tensors["vector"], torch.ones(4), rtol=0, atol=1e-3)
    assert average.tensors["count"] == 7
    assert average.tensors["vector"].data_ptr() != toy.vector.data_ptr()


class Clock:
    """A clock that advances only on request."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(run_module, "time", clock)
    return clock


def test_less_than_a_minute_can_be_lost(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(tmp_path, minutes=10)
    saved: list[float] = []
    monkeypatch.setattr(run, "save", lambda: saved.append(clock.now))
    for _ in run.steps():
        clock.now += 7
    assert saved[-1] == clock.now >= 600
    assert max(b - a for a, b in itertools.pairwise([0.0, *saved])) <= 60


def test_time_is_counted_over_restarts(tmp_path: Path, clock: Clock) -> None:
    run = start(tmp_path, minutes=1)
    for _ in itertools.islice(run.steps(), 4):
        clock.now += 10
    run.save()
    clock.now += 10_000
    again = start(tmp_path, minutes=1)
    assert again.progress == pytest.approx(0.5)
    for _ in again.steps():
        clock.now += 10
    assert again.progress == 1.0
    assert list(again.steps()) == []


def test_rates_warm_up_and_cool_down(tmp_path: Path, clock: Clock) -> None:
    run = start(tmp_path, minutes=10, warmup_steps=4, cooldown=0.5)
    rates = []
    for _ in run.steps():
        rates.append(run.optimizers[0].param_groups[0]["lr"] / 0.01)
        clock.now += 60
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2])


def test_the_log_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = start(tmp_path)
    for step in range(3):
        run.step = step * LOG_EVERY // 2
        run.record(loss=0.5 / (step + 1))
    again = start(tmp_path)
    again.step = 2 * LOG_EVERY
    again.record(loss=0.1)
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["loss"]) for row in rows] == [("0", "0.5"), ("20", "0.16667"), ("40", "0.1")]
    assert "loss" in capsys.readouterr().err


def test_scores_are_of_the_averaged_weights(tmp_path: Path, clock: Clock) -> None:
    run = start(tmp_path, minutes=60)
    advance(run, 3)
    current = weights(run)
    met: list[Tensor] = []

    def measure() -> dict[str, float]:
        assert not run.module.training
        met.append(run.module.matrix.detach().clone())
        return {"recolour": 0.5}

    run.elapsed = 59.0
    run.probe(measure, every_seconds=60)
    assert met == []
    run.elapsed = 61.0
    run.probe(measure, every_seconds=60)
    run.probe(measure, every_seconds=60)
    assert len(met) == 1
    assert torch.equal(met[0], current["average.matrix"])
    assert all(torch.equal(tensor, current[name]) for name, tensor in weights(run).items())
    assert run.module.training
    assert (tmp_path / "scores.csv").read_text().splitlines()[0] == "step,samples,recolour"


def test_gradients_are_clipped_and_cleared(tmp_path: Path) -> None:
    run = start(tmp_path)
    norm = run.update((1e6 * run.module.vector).sum(), samples=1)
    assert norm == pytest.approx(2e6)
    assert run.module.vector.grad is None


@pytest.mark.parametrize(
    ("terminal", "start_of_line"), [(True, "\r  0.0%  step 0"), (False, "  0.0%  step 0")]
)
def test_progress_stays_one_line_on_a_terminal_alone(
    tmp_path: Path,
    terminal: bool,
    start_of_line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    start(tmp_path).record(loss=0.5)
    progress = capsys.readouterr().err
    assert progress.startswith(start_of_line)
    assert ("\r" in progress, "\n" in progress) == (terminal, not terminal)
    monkeypatch.setattr(sys, "stderr", None)
    start(tmp_path).record(loss=0.5)
