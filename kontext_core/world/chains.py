"""Several edits one after the other, each made to the result of the last."""

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from .draw import draw
from .scenes import CELL_PX, GRID, Scene
from .single import edit, random_scene

LOCAL_KINDS = ("recolour", "remove", "add", "move", "reshape", "text")
GLOBAL_KINDS = ("background", "palette")
# Most chains leave some cells alone, so that what no turn touched can be measured.
GLOBAL_SHARE = 0.3
# How often an edit is drawn anew where it does not fit the scene.
DRAWS = 20


@dataclass(frozen=True, slots=True)
class Turn:
    """One edit of a chain, and the picture as it should be after it."""

    kind: str
    instruction: str
    truth: Scene


@dataclass(frozen=True, slots=True)
class Chain:
    """A first picture and the turns that follow."""

    start: Scene
    turns: tuple[Turn, ...]


def sample_chain(rng: random.Random, turns: int = 5) -> Chain:
    """A random chain; at most one turn changes the whole picture, and none takes its colours away."""
    while True:
        start = random_scene(rng, least=2)
        whole = rng.randrange(turns) if rng.random() < GLOBAL_SHARE else None
        if (sequence := _follow(start, turns, whole, rng)) is not None:
            return Chain(start, sequence)


def _follow(scene: Scene, turns: int, whole: int | None, rng: random.Random) -> tuple[Turn, ...] | None:
    """Turns from a first scene on; None if one finds no edit: many colours suit one background only."""
    sequence: list[Turn] = []
    for number in range(turns):
        kinds = GLOBAL_KINDS if number == whole else LOCAL_KINDS
        for kind in rng.choices(kinds, k=DRAWS):
            result = edit(kind, scene, rng)
            if result is not None and result[1].palette != "grey":
                break
        else:
            return None
        instruction, scene = result
        sequence.append(Turn(kind, instruction, scene))
    return tuple(sequence)


def untouched_cells(chain: Chain) -> Tensor:
    """The cells whose picture no turn changes: (4, 4), bool."""
    pictures = draw([chain.start, *(turn.truth for turn in chain.turns)])
    changed = (pictures[1:] != pictures[:-1]).any(1).any(0)  # (128, 128)
    cells = changed.view(GRID, CELL_PX, GRID, CELL_PX)
    return ~torch.any(cells.transpose(1, 2).flatten(2), 2)
