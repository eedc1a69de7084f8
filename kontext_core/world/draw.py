"""Scenes to pictures: masks are looked up by name and blended into the cells, a whole batch at once."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from .scenes import (
    BACKGROUNDS,
    CELL_PX,
    COLOURS,
    DARK_BACKGROUNDS,
    GRID,
    PALETTES,
    SHAPES,
    SIZE_PX,
    SIZES,
    STYLES,
    TIMES,
    Scene,
    shown,
)
from .shapes import cue_masks, letter_masks, thing_masks

CUE_COLOUR = (0.93, 0.05, 0.08)

_COLOUR = {name: i for i, name in enumerate(COLOURS)}
_BACKGROUND = {name: i for i, name in enumerate(BACKGROUNDS)}
_LOOK = {
    (palette, time): i * len(TIMES) + j for i, palette in enumerate(PALETTES) for j, time in enumerate(TIMES)
}
_MASK = {
    (style, size, shape): (i * len(SIZES) + j) * len(SHAPES) + k
    for i, style in enumerate(STYLES)
    for j, size in enumerate(SIZES)
    for k, shape in enumerate(SHAPES)
}


class _Tables(NamedTuple):
    masks: Tensor  # (things + letters, 32, 32): what the thing's colour covers
    inks: Tensor  # the same of ink, over that
    cues: Tensor  # (16, 128, 128)
    colours: Tensor  # (looks, colours, 3)
    backgrounds: Tensor  # (looks, backgrounds, 3)
    cue_colour: Tensor  # (3, 1, 1)


@cache
def _tables(device: torch.device) -> _Tables:
    def seen(palette_of: dict[str, tuple[float, float, float]], is_background: bool) -> Tensor:
        looks = [
            [shown(c, *look, is_background=is_background) for c in palette_of.values()] for look in _LOOK
        ]
        return torch.tensor(looks, device=device)

    bodies, inks = (masks.flatten(0, 2) for masks in thing_masks())
    letters = letter_masks()
    return _Tables(
        masks=torch.cat([bodies, letters]).to(device),
        inks=torch.cat([inks, torch.zeros_like(letters)]).to(device),
        cues=cue_masks().to(device),
        colours=seen(COLOURS, is_background=False),
        backgrounds=seen(BACKGROUNDS, is_background=True),
        cue_colour=torch.tensor(CUE_COLOUR, device=device)[:, None, None],
    )


def draw(scenes: Sequence[Scene], device: torch.device | str = "cpu") -> Tensor:
    """Pictures (B, 3, 128, 128) of the scenes, float32 in [0, 1]."""
    tables = _tables(torch.device(device))
    looks = [(_LOOK[scene.palette, scene.time], _BACKGROUND[scene.background]) for scene in scenes]
    look, background = torch.tensor(looks, device=device).reshape(-1, 2).unbind(1)
    ground = tables.backgrounds[look, background]  # (B, 3)
    pictures = ground[:, :, None, None].repeat(1, 1, SIZE_PX, SIZE_PX)

    stamps = [stamp for number, scene in enumerate(scenes) for stamp in _stamps(number, scene)]
    if stamps:
        number, row, col, mask, colour, ink = torch.tensor(stamps, device=device).unbind(1)
        under = ground[number][:, :, None, None]
        over = tables.colours[look[number], colour][:, :, None, None]
        line = tables.colours[look[number], ink][:, :, None, None]
        stamp = torch.lerp(under, over, tables.masks[mask][:, None])
        cells = pictures.view(-1, 3, GRID, CELL_PX, GRID, CELL_PX)
        cells[number, :, row, :, col] = torch.lerp(stamp, line, tables.inks[mask][:, None])

    cues = [(number, scene.cue[0] * GRID + scene.cue[1]) for number, scene in enumerate(scenes) if scene.cue]
    if cues:
        number, cell = torch.tensor(cues, device=device).unbind(1)
        pictures[number] = torch.lerp(pictures[number], tables.cue_colour, tables.cues[cell][:, None])
    return pictures


def _stamps(number: int, scene: Scene) -> list[tuple[int, int, int, int, int, int]]:
    """What goes into the cells of one picture: (number of the picture, row, column, mask, colour, ink)."""
    stamps = [
        (number, t.row, t.col, _MASK[scene.style, t.size, t.shape], _COLOUR[t.colour], _ink(t.colour, scene))
        for t in scene.things
    ]
    if word := scene.word:
        stamps += [
            (number, row, col, len(_MASK) + ord(letter) - ord("a"), _COLOUR[word.colour], 0)
            for letter, (row, col) in zip(word.text, word.cells, strict=True)
        ]
    return stamps


def _ink(colour: str, scene: Scene) -> int:
    """The colour of an inked thing's contour: dark on light ground, light on dark, and never its own."""
    is_dark = scene.time == "night" or scene.background in DARK_BACKGROUNDS
    first, second = ("white", "black") if is_dark else ("black", "white")
    return _COLOUR[second if colour == first else first]
