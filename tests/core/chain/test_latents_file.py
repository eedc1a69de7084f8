"""Latents belong to one picture of one chain, and load with no other."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, PngImagePlugin
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from kontext_core.chain import Chain, latents_path, load_chain, save_chain
from kontext_core.chain.latents_file import KEY, PICTURE


@pytest.fixture
def path(short: Chain, tmp_path: Path) -> Path:
    save_chain(short, tmp_path / "a.png")
    return tmp_path / "a.png"


def rewrite(path: Path, change: Callable[[Image.Image], None]) -> None:
    """Save a chain's picture as another program would: its text kept, its pixels changed."""
    info = PngImagePlugin.PngInfo()
    with Image.open(path) as picture:
        info.add_itxt(KEY, picture.text[KEY])
        pixels = picture.copy()
    change(pixels)
    pixels.save(path, pnginfo=info)


def edited(path: Path, tensors: dict[str, torch.Tensor] | None = None, **metadata: str | None) -> None:
    """Rewrite the latents with changes to their metadata; None removes an entry."""
    beside = latents_path(path)
    with safe_open(beside, "pt") as file:
        known = {**file.metadata(), **metadata}
    save_file(
        load_file(beside) if tensors is None else tensors,
        beside,
        {k: v for k, v in known.items() if v is not None},
    )


def test_a_picture_that_is_only_stored_anew_keeps_its_latents(path: Path, short: Chain) -> None:
    rewrite(path, lambda _: None)
    loaded = load_chain(path)
    assert torch.equal(loaded.last.latents, short.last.latents)


def test_latents_of_a_picture_that_was_changed_since_are_refused(path: Path, short: Chain) -> None:
    """After a change to the picture, the old picture does not return."""
    rewrite(path, lambda picture: picture.putpixel((3, 2), (1, 2, 3)))
    with pytest.raises(
        ValueError,
        match=r"^a\.kontext\.safetensors next to the picture does not belong to this picture, which was changed since; delete it to continue from the picture alone$",
    ):
        load_chain(path)
    latents_path(path).unlink()
    assert load_chain(path).last.image[0, 2, 3].mul(255).round().tolist() == [1, 2, 3]


def test_latents_of_another_picture_of_the_same_id_are_refused(
    path: Path, short: Chain, tmp_path: Path
) -> None:
    save_chain(short.back_to(1), tmp_path / "b.png")
    shutil.copy(latents_path(tmp_path / "b.png"), latents_path(path))
    with Image.open(path) as picture:
        id = picture.text[KEY].rpartition('"id": "')[2].partition('"')[0]
    edited(path, **{KEY: id})
    with pytest.raises(ValueError, match="does not belong to this picture"):
        load_chain(path)


def test_latents_of_before_without_a_digest_load(path: Path, short: Chain) -> None:
    edited(path, **{PICTURE: None})
    assert torch.equal(load_chain(path).last.latents, short.last.latents)


@pytest.mark.parametrize("id", ["", "0123456789abcdef", None])
def test_latents_without_the_chains_id_are_refused(path: Path, id: str | None) -> None:
    edited(path, **{KEY: id})
    with pytest.raises(
        ValueError, match=r"a\.kontext\.safetensors next to the picture belongs to another chain; delete it"
    ):
        load_chain(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"3": torch.zeros(1, 16, 4, 8)}, "does not hold latents of 3 turns: 3; delete it"),
        ({"first": torch.zeros(1, 16, 4, 8)}, "does not hold latents of 3 turns: first"),
        ({"0": torch.zeros(2, 16, 4, 8)}, "does not hold latents of 3 turns: 0"),
        ({"0": torch.zeros(16, 4, 8)}, "does not hold latents of 3 turns: 0"),
        ({"0": torch.zeros(1, 16, 0, 8)}, "does not hold latents of 3 turns: 0"),
        ({"2": torch.zeros(1, 16, 5, 8)}, "does not hold latents of 3 turns: 2"),
        ({"1": torch.zeros(1, 16, 4, 8, dtype=torch.int32)}, "does not hold latents: 1"),
        ({"2": torch.full((1, 16, 4, 8), torch.nan)}, "holds numbers that are not finite: 2"),
        ({"2": torch.full((1, 16, 4, 8), torch.inf, dtype=torch.float16)}, "holds numbers that are not finite: 2"),
    ],
)  # fmt: skip
def test_what_are_no_latents_of_these_turns_is_refused(
    path: Path, change: dict[str, Any], sentence: str
) -> None:
    edited(path, load_file(latents_path(path)) | change)
    with pytest.raises(ValueError, match=rf"^a\.kontext\.safetensors next to the picture {sentence}"):
        load_chain(path)


def test_latents_of_another_size_do_not_lie_on_their_canvas(path: Path) -> None:
    edited(path, load_file(latents_path(path)) | {"1": torch.zeros(1, 16, 8, 8)})
    with pytest.raises(
        ValueError, match=r"a\.png is damaged at turn 1: latents of \(64, 64\) px do not lie on the canvas"
    ):
        load_chain(path)
