"""The bench runs from one end to the other on a CPU, on the least configuration: no card is needed to know that."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import scaling
from benchmarks.speed import __main__ as speed
from benchmarks.speed.cases import CONFIGURATIONS, Case, counted_flop, step_flop
from kontext_core.config import KONTEXT_DEV


def test_work_of_a_step_is_the_formula() -> None:
    """57 (24 D^2 N + 4 N^2 D): 112.4 and 53.1 TFLOP with one reference, of which the last block leaves out some."""
    case = Case(1024, 1)
    by_formula = step_flop(KONTEXT_DEV, case.image_tokens + KONTEXT_DEV.text_length)
    assert [round(flop / 1e12, 1) for flop in by_formula] == [112.4, 53.1]
    for counted, whole in zip(counted_flop(KONTEXT_DEV, case), by_formula, strict=True):
        assert 0.985 < counted / whole < 1


def test_bench(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    options = "--cpu --configuration least --rounds 2 --seconds 0.002 --steps 2 --output"
    speed.main([*options.split(), str(tmp_path)])
    torch.set_num_threads(threads)
    result = json.loads((tmp_path / "speed_cpu.json").read_text())
    cases = result["least"]["cases"]
    assert list(cases) == [Case(32, count).name for count in (0, 1, 2)]
    for case in cases.values():
        ours, theirs = case["contestants"]["ours, plain"], case["contestants"]["diffusers"]
        assert ours["exact"], f"the error is {ours['error']}"
        assert ours["times_diffusers"] > 0
        assert theirs["over_floor"] > 0
        assert "CUDA" in case["contestants"]["ours, fp8"]["unavailable"]
    assert result["least"]["edit"]["contestants"]["ours, plain"]["times_diffusers"] > 0
    assert "seconds" not in (tmp_path / "speed_cpu.json").read_text()
    assert (tmp_path / "speed_cpu_least.png").stat().st_size > 1000


def test_one_contestant_that_fails_does_not_end_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(model: object) -> None:
        raise ZeroDivisionError("of a compiler's own")

    broken_one = speed.Contestant(True, broken)
    monkeypatch.setattr(speed, "PEERS", {"diffusers": speed.PEERS["diffusers"], "broken": broken_one})
    monkeypatch.setattr(speed, "MODES", {})
    monkeypatch.setattr(speed, "cases_of", lambda *_, **__: [Case(32, 0), Case(32, 1)])
    options = "--cpu --configuration least --rounds 1 --seconds 0.001 --steps 1 --output"
    speed.main([*options.split(), str(tmp_path)])
    found = json.loads((tmp_path / "speed_cpu.json").read_text())["least"]["cases"]
    assert found["32 px, 1 reference"]["contestants"]["broken"] == {
        "unavailable": "ZeroDivisionError: of a compiler's own"
    }


def test_without_a_card_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(SystemExit):
        speed.main([])
    assert "there is no CUDA card here; --cpu gives ratios on the CPU" in capsys.readouterr().err


def test_scaling(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    scaling.main(
        ["--rounds", "1", "--configuration", "least", "--sides", "32", "48", "--output", str(tmp_path)]
    )
    torch.set_num_threads(threads)
    found = json.loads((tmp_path / "scaling.json").read_text())["steps"]
    assert [one["tokens"] for one in found] == [
        (side // 16) ** 2 * (1 + count) + CONFIGURATIONS["least"].transformer.text_length
        for side in (32, 48)
        for count in (0, 1, 2, 4)
    ]
    assert found[0]["time"] == found[0]["formula"] == 1
    assert (tmp_path / "scaling.png").stat().st_size > 1000
