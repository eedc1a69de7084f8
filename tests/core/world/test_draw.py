"""Drawing: the right colours in the right cells."""

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kontext_core.world import Scene, Thing, Word, draw, random_scene
from kontext_core.world.scenes import BACKGROUNDS, CELL_PX, COLOURS, SHAPES, STYLES

HEART = Thing("heart", "red", "big", 1, 2)


def cell_of(picture: torch.Tensor, row: int, col: int) -> torch.Tensor:
    return picture[:, row * CELL_PX : (row + 1) * CELL_PX, col * CELL_PX : (col + 1) * CELL_PX]


def test_a_picture_is_float_in_range_and_each_scene_its_own() -> None:
    rng = random.Random(0)
    scenes = [random_scene(rng) for _ in range(8)]
    pictures = draw(scenes)
    assert pictures.shape == (8, 3, 128, 128)
    assert pictures.dtype == torch.float32
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    for picture, scene in zip(pictures, scenes, strict=True):
        assert torch.equal(picture, draw([scene])[0])


def test_a_thing_fills_its_cell_and_no_other() -> None:
    scene = Scene("sky", (HEART,))
    picture, empty = draw([scene, Scene("sky")])
    middle = cell_of(picture, 1, 2)[:, 15, 15]
    assert torch.allclose(middle, torch.tensor(COLOURS["red"]))
    assert torch.allclose(picture[:, 0, 0], torch.tensor(BACKGROUNDS["sky"]))
    changed = (picture != empty).any(0).view(4, CELL_PX, 4, CELL_PX).any(3).any(1)
    assert changed.nonzero().tolist() == [[1, 2]]


def test_shapes_are_centred_and_keep_inside_their_cell() -> None:
    for style in STYLES:
        for shape in SHAPES:
            scene = Scene("snow", (Thing(shape, "red", "big", 1, 1),), style=style)
            picture, empty = draw([scene, Scene("snow")])
            inside = cell_of((picture - empty).abs().sum(0, keepdim=True), 1, 1)[0] > 0.05
            rows, cols = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
            assert min(len(rows), len(cols)) >= 20, (style, shape)
            assert abs(rows[0] + rows[-1] - 31) <= 4, (style, shape)
            assert abs(cols[0] + cols[-1] - 31) <= 4, (style, shape)


def test_styles_differ_in_the_middle_and_at_the_rim() -> None:
    square = Thing("square", "red", "big", 0, 0)
    solid, outline, inked = (draw([Scene("sky", (square,), style=style)])[0] for style in STYLES)
    red, sky, black = (torch.tensor(c) for c in (COLOURS["red"], BACKGROUNDS["sky"], COLOURS["black"]))
    rim, middle = (slice(None), 2, 16), (slice(None), 16, 16)
    assert torch.allclose(solid[rim], red)
    assert torch.allclose(solid[middle], red)
    assert torch.allclose(outline[rim], red)
    assert torch.allclose(outline[middle], sky)
    assert torch.allclose(inked[rim], black)
    assert torch.allclose(inked[middle], red)


def test_ink_shows_on_dark_ground_and_on_black_things() -> None:
    black = Thing("square", "black", "big", 0, 0)
    blue = replace(black, colour="blue")
    for scene in (Scene("sky", (black,)), Scene("sky", (blue,), time="night"), Scene("lake", (blue,))):
        solid, inked = draw([scene, replace(scene, style="inked")])
        assert (solid - inked)[:, 2, 16].abs().mean() > 0.25


def test_the_ellipse_is_red_and_goes_around_the_thing() -> None:
    scene = Scene("grass", (Thing("star", "blue", "small", 2, 1),))
    plain, marked = draw([scene, replace(scene, cue=(2, 1))])
    changed = (plain != marked).any(0)
    rows, cols = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
    assert rows[0] < 64 < 96 < rows[-1] + 2
    assert cols[0] < 32 < 64 < cols[-1] + 2
    assert not changed[70:90, 38:58].any()
    red, green, _ = marked[:, int(rows[0]) + 1, 48]
    assert red > 0.8
    assert green < 0.2


def test_letters_stand_one_a_cell() -> None:
    picture, empty = draw([Scene("snow", word=Word("fox", "black", 2, 1)), Scene("snow")])
    changed = (picture != empty).any(0).view(4, CELL_PX, 4, CELL_PX).any(3).any(1)
    assert changed.nonzero().tolist() == [[2, 1], [2, 2], [2, 3]]


def test_grey_has_no_colour_and_night_is_darker() -> None:
    scene = Scene("sky", (HEART,))
    day, grey, night = draw([scene, replace(scene, palette="grey"), replace(scene, time="night")])
    assert torch.allclose(grey[0], grey[1])
    assert torch.allclose(grey[0], grey[2])
    assert night.mean() < 0.6 * day.mean()


class Counted(TorchDispatchMode):
    """How many operations torch was asked for."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


def test_a_batch_is_drawn_at_once() -> None:
    """So that training draws each batch afresh: eight times the scenes are not one operation more."""
    rng = random.Random(0)
    scenes = [random_scene(rng) for _ in range(8)]
    draw(scenes)  # its tables are made
    counts: list[int] = []
    for batch in (scenes, scenes * 8):
        with Counted() as counted:
            draw(batch)
        counts.append(counted.count)
    assert counts[0] == counts[1] < 100


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_draws_the_same() -> None:
    rng = random.Random(0)
    scenes = [random_scene(rng) for _ in range(16)]
    assert torch.allclose(draw(scenes, "cuda").cpu(), draw(scenes), atol=1e-6)
