"""What stands in each cell of a scene, in class numbers: what a network that sees can tell."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .scenes import BACKGROUNDS, COLOURS, GRID, PALETTES, SHAPES, SIZES, STYLES, TIMES, Scene

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CONTENTS = ("", *SHAPES, *LETTERS)
# The fields of a label and how many classes each has.
FIELDS: dict[str, int] = {
    "content": len(CONTENTS),
    "colour": len(COLOURS),
    "size": len(SIZES),
    "background": len(BACKGROUNDS),
    "style": len(STYLES),
    "palette": len(PALETTES),
    "time": len(TIMES),
}
UNSEEN = -1  # the class of what does not show, such as the colour of an empty cell

_COLOURS, _BACKGROUNDS = tuple(COLOURS), tuple(BACKGROUNDS)


def cell_labels(scenes: Sequence[Scene]) -> Tensor:
    """Labels (B, 16, fields) of the cells, row by row, int64; `UNSEEN` where a field does not show."""
    return torch.tensor([_labels(scene) for scene in scenes])


def _labels(scene: Scene) -> list[list[int]]:
    look = [
        _BACKGROUNDS.index(scene.background),
        STYLES.index(scene.style) if scene.things else UNSEEN,
        PALETTES.index(scene.palette),
        TIMES.index(scene.time),
    ]
    cells = [[0, UNSEEN, UNSEEN, *look] for _ in range(GRID * GRID)]
    for thing in scene.things:
        content = CONTENTS.index(thing.shape), _COLOURS.index(thing.colour), SIZES.index(thing.size)
        cells[thing.row * GRID + thing.col][:3] = content
    if word := scene.word:
        for letter, (row, col) in zip(word.text, word.cells, strict=True):
            cells[row * GRID + col][:2] = CONTENTS.index(letter), _COLOURS.index(word.colour)
    return cells
