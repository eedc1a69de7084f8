"""A few fixed pictures and instructions: what the workflows, the demo and their tests show.

The seeds are those that serve the tiny model best among the first few; `python -m tools.pick_seeds` finds them.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from .changes import added
from .draw import draw
from .parse import apply
from .scenes import Scene, Thing

STEPS = 20

_GARDEN = Scene(
    "sky",
    (
        Thing("heart", "red", "big", 1, 1),
        Thing("star", "yellow", "big", 0, 3),
        Thing("square", "green", "big", 2, 2),
    ),
)
_BEACH = Scene("sand", (Thing("triangle", "green", "big", 2, 0), Thing("circle", "red", "big", 1, 2)))
_MOON = Scene("snow", (Thing("moon", "green", "big", 0, 1),))
_TRIANGLE = Scene("snow", (Thing("triangle", "green", "big", 3, 1),))

# What the node "Kontext Example Picture" offers. Released names: they stand in people's workflows.
PICTURES: dict[str, Scene] = {
    "heart, star and square": _GARDEN,
    "triangle and circle": _BEACH,
    "moon": _MOON,
    "triangle": _TRIANGLE,
}


@dataclass(frozen=True)
class Example:
    """Names of `PICTURES`, then for each turn the instruction, its seed and the right result."""

    pictures: tuple[str, ...]
    instructions: tuple[str, ...]
    seeds: tuple[int, ...]
    truths: tuple[Scene, ...]


def picture(name: str) -> Tensor:
    """One of `PICTURES` as (1, 128, 128, 3) in [0, 1], in the 256 steps that a file would have.

    Raises: ValueError if the name is not one of them.
    """
    if name not in PICTURES:
        raise ValueError(f"there is no example picture {name!r}; known are {', '.join(PICTURES)}")
    return (draw([PICTURES[name]]) * 255).round().permute(0, 2, 3, 1).contiguous() / 255


def _turns(picture: str, instructions: tuple[str, ...], seeds: tuple[int, ...]) -> Example:
    """An example of one picture, whose truths the world's own grammar knows."""
    truths: list[Scene] = []
    scene: Scene | None = PICTURES[picture]
    for instruction in instructions:
        scene = apply(instruction, scene)
        assert scene is not None, f"the world does not understand {instruction!r} here"
        truths.append(scene)
    return Example((picture,), instructions, seeds, tuple(truths))


# By workflow.
EXAMPLES: dict[str, Example] = {
    "text_to_image": Example(
        (),
        ("a red heart at row 2 column 2 and a yellow star at row 1 column 4 on sky",),
        (0,),
        (replace(_GARDEN, things=_GARDEN.things[:2]),),
    ),
    "single_edit": _turns("triangle", ("change the background to sand",), (6,)),
    "two_references": Example(
        ("triangle and circle", "moon"),
        ("put the thing of picture 2 at row 1 column 4",),
        (0,),
        (added(_BEACH, replace(_MOON.things[0], row=0, col=3)),),
    ),
    "three_turn_edit": _turns(
        "moon",
        ("make the background sky", "make the background sand", "remove the green moon"),
        (6, 7, 4),
    ),
}


def is_right(output: Tensor, truth: Scene) -> bool:
    """Whether a picture (1, 128, 128, 3) in [0, 1] shows the scene; a picture of another size does not."""
    from .score import right

    wanted = draw([truth])
    seen = output.permute(0, 3, 1, 2)
    return seen.shape == wanted.shape and bool(right(seen, wanted))
