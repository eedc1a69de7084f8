"""What a negative names is kept away, and the benchmark that counts it."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import negative
from kontext_core.world import Scene, draw


def test_grounds_are_told_apart() -> None:
    pictures = draw([Scene(name) for name in negative.GROUNDS])
    halves: Tensor = pictures.clone()
    halves[:, :, 70:] = pictures.roll(1, 0)[:, :, 70:]
    halves[:, :, :70] = (halves[:, :, :70] + pictures.roll(2, 0)[:, :, :70]) / 2
    assert negative.grounds(pictures) == list(negative.GROUNDS)
    assert negative.grounds(torch.full((1, 3, 128, 128), 0.0)) == [None]
    assert None in negative.grounds(halves)


def test_what_a_negative_names_comes_half_as_often(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On few pictures of fixed seeds; the whole measurement is in benchmarks/results."""
    ways = [way for way in negative.WAYS if way.name in ("none", "nag 5", "cfg 2, to 0.25")]
    monkeypatch.setattr(negative, "WAYS", ways)
    monkeypatch.setattr(negative, "NEGATIVES", ("snow",))
    monkeypatch.setattr(negative, "RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["negative", "--count", "25", "--closed", "4"])
    negative.main()
    results = json.loads((tmp_path / "negative.json").read_text(encoding="utf-8"))
    appears = {name: row["appears"]["count"] for name, row in results["open"]["snow"].items()}
    assert appears["none"] >= 4
    assert 2 * appears["nag 5"] <= appears["none"]
    assert 2 * appears["cfg 2, to 0.25"] <= appears["none"]
    right = {name: row["count"] for name, row in results["closed"]["all"].items()}
    assert right["nag 5"] >= right["none"] - 1
    assert "snow appears" in capsys.readouterr().out
