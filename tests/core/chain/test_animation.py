"""Animations of a chain: their frames, their times, what they say of themselves, and their limits."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from kontext_core.chain import Chain, Turn, save_animation
from kontext_core.chain import animation as module
from kontext_core.chain.animation import FRAME_MS, LAST_MS, LEAST_SIDE_PX, MOST_FRAMES, MOST_SIDE_PX

COLOURS = ((0.8, 0.0, 0.0), (0.0, 0.8, 0.0), (0.0, 0.0, 0.8))


def coloured(turns: int, height: int = 32, width: int = 48) -> Chain:
    """A chain of plain pictures, of three colours in turn."""
    pictures = [torch.tensor(COLOURS[i % 3]).expand(1, height, width, 3) for i in range(turns + 1)]
    return Chain(tuple(Turn(image, instruction=f"make it {i}") for i, image in enumerate(pictures)))


def frames(path: Path) -> list[tuple[Image.Image, int]]:
    """Each frame with its duration in ms, as another program reads them."""
    with Image.open(path) as picture:
        shown = []
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            frame = picture.convert("RGB")
            shown.append((frame, picture.info["duration"]))
        return shown


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_each_turn_is_a_frame_and_the_last_is_held(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"chain.{ending}"
    assert save_animation(coloured(2), path) == 3
    shown = frames(path)
    assert [duration for _, duration in shown] == [FRAME_MS, FRAME_MS, LAST_MS]
    for (frame, _), colour in zip(shown, COLOURS, strict=True):
        seen = frame.getpixel((frame.width // 2, 40))
        assert max(abs(a - 255 * b) for a, b in zip(seen, colour, strict=True)) < 12
        caption = frame.crop((0, frame.height - 24, frame.width, frame.height)).convert("L")
        assert caption.getextrema()[0] < 120 < 240 < caption.getextrema()[1], "ink on paper"
    with Image.open(path) as picture:
        assert picture.info["loop"] == 0, "it starts again"
        assert picture.width == LEAST_SIDE_PX
    assert list(tmp_path.iterdir()) == [path]


def test_before_and_after_are_two_frames(tmp_path: Path) -> None:
    path = tmp_path / "last.gif"
    assert save_animation(coloured(2), path, first=-2) == 2
    (before, _), (after, duration) = frames(path)
    assert before.getpixel((100, 40))[1] > 190
    assert after.getpixel((100, 40))[2] > 190
    assert duration == LAST_MS


def test_a_webp_says_what_comfyui_reads(tmp_path: Path) -> None:
    path = tmp_path / "chain.webp"
    texts = {"prompt": json.dumps({"1": {}}), "workflow": json.dumps({"nodes": []})}
    save_animation(coloured(1), path, texts=texts)
    with Image.open(path) as picture:
        tags = dict(picture.getexif())
    assert tags == {0x0110: 'prompt:{"1": {}}', 0x010F: 'workflow:{"nodes": []}'}


def test_large_pictures_and_long_chains_have_smaller_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_animation(coloured(1, 900, 1200), tmp_path / "large.webp")
    with Image.open(tmp_path / "large.webp") as picture:
        assert picture.width == MOST_SIDE_PX
    monkeypatch.setattr(module, "MOST_PIXELS", 2**20)
    save_animation(coloured(5, 900, 1200), tmp_path / "long.webp")
    with Image.open(tmp_path / "long.webp") as picture:
        assert picture.width * picture.height * 6 <= 2**20
        assert picture.width >= LEAST_SIDE_PX


@pytest.mark.parametrize("size", [(2, 3000), (3000, 2), (1, 1)])
def test_thin_pictures(tmp_path: Path, size: tuple[int, int]) -> None:
    assert save_animation(coloured(1, *size), tmp_path / "thin.gif") == 2


def test_pictures_of_other_sizes_share_the_frame_of_the_first(tmp_path: Path) -> None:
    chain = Chain((*coloured(1, 64, 32).turns, *coloured(1, 32, 64).turns))
    save_animation(chain, tmp_path / "sizes.gif")
    assert len({frame.size for frame, _ in frames(tmp_path / "sizes.gif")}) == 1


@pytest.mark.parametrize(
    ("turns", "name", "first", "sentence"),
    [
        (
            MOST_FRAMES,
            "a.gif",
            0,
            r"^from turn 0 on this chain has 201 pictures, but an animation has at most 200",
        ),
        (1, "a.png", 0, r"^an animation is a \.gif or \.webp file, not a\.png$"),
        (1, "a.gif", 7, "turn 7"),
    ],
)
def test_what_is_refused_leaves_nothing(
    tmp_path: Path, turns: int, name: str, first: int, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        save_animation(coloured(turns, 8, 8), tmp_path / name, first=first)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_file_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kept.gif"
    path.write_bytes(b"before")
    monkeypatch.setattr(module, "to_pil", lambda _: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        save_animation(coloured(1), path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
