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
    start = scene = random_scene(rng, least=2)
    whole = rng.randrange(turns) if rng.random() < GLOBAL_SHARE else None
    made: list[Turn] = []
    while len(made) < turns:
        kind = rng.choice(GLOBAL_KINDS if len(made) == whole else LOCAL_KINDS)
        result = edit(kind, scene, rng)
        if result is None or result[1].palette == "grey":
            continue
        instruction, scene = result
        made.append(Turn(kind, instruction, scene))
    return Chain(start, tuple(made))


def untouched_cells(chain: Chain) -> Tensor:
    """The cells whose picture no turn changes: (4, 4), bool."""
    pictures = draw([chain.start, *(turn.truth for turn in chain.turns)])
    changed = (pictures[1:] != pictures[:-1]).any(1).any(0)  # (128, 128)
    cells = changed.view(GRID, CELL_PX, GRID, CELL_PX)
    return ~torch.any(cells.transpose(1, 2).flatten(2), 2)
