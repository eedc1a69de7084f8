"""Devices: tested before anything is loaded, whatever names PyTorch knows."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from kontext_core.cli import main
from kontext_core.memory.devices import usable_device
from kontext_core.pipeline import Pipeline


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("meta", "device 'meta' was requested, but nothing can be computed on it here .*; choose 'cpu'"),
        ("vulkan", "device 'vulkan' was requested, but nothing can be computed on it here"),
        ("nonsense", "^there is no device 'nonsense'; choose 'cpu', or 'cuda' for a GPU$"),
        ("", "there is no device ''"),
        ("cpu:x", "there is no device 'cpu:x'"),
    ],
)
def test_devices_that_are_none(name: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as error:
        usable_device(name)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_the_cpu() -> None:
    assert usable_device("cpu") == usable_device(torch.device("cpu")) == torch.device("cpu")


def test_no_model_is_loaded_for_none() -> None:
    with pytest.raises(ValueError, match="device 'meta' was requested"):
        Pipeline.load("no-such-model", device="meta")


def test_nor_trained(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", f"{tmp_path}/run", "--device", "meta"]) == 1
    assert capsys.readouterr().err.startswith("kontext: device 'meta' was requested")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--device", "nonsense"], "there is no device 'nonsense'; choose 'cpu', or 'cuda' for a GPU"),
        (["--device", "meta"], "device 'meta' was requested"),
    ],
)
def test_nor_edited_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert main(["edit", str(tmp_path / "a.png"), "x", "--output", str(tmp_path / "out"), *options]) == 1
    assert capsys.readouterr().err.startswith(f"kontext: {sentence}")
