"""A few fixed pictures and instructions: what the workflows, the demo and their tests show.

The seeds are those that serve the tiny model best; `python -m tools.pick_seeds --count 24` finds them.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.functional import avg_pool2d

from .changes import added
from .draw import draw
from .parse import apply
from .scenes import CELL_PX, SIZE_PX, Scene, Thing
from .shapes import CUE_PX

STEPS = 20

_BEACH = Scene(
    "sand",
    (
        Thing("moon", "red", "big", 1, 1),
        Thing("circle", "blue", "big", 3, 2),
        Thing("star", "green", "big", 0, 0),
    ),
)
_COURT = Scene("clay", (Thing("square", "white", "big", 1, 1), Thing("circle", "black", "big", 3, 1)))
_MOON = Scene("sky", (Thing("moon", "red", "big", 2, 1),))
_DIAMOND = Scene("sand", (Thing("diamond", "blue", "big", 2, 3),))
_HEARTS = Scene("snow", (Thing("heart", "purple", "big", 1, 0), Thing("heart", "purple", "big", 2, 2)))
_INKED = Scene(
    "snow", (Thing("heart", "blue", "big", 0, 1), Thing("star", "purple", "big", 2, 2)), style="inked"
)

# What the node "Kontext Example Picture" offers. Released names: they stand in people's workflows.
PICTURES: dict[str, Scene] = {
    "moon, circle and star": _BEACH,
    "square and circle": _COURT,
    "moon": _MOON,
    "diamond": _DIAMOND,
    "two hearts": _HEARTS,
    "inked things": _INKED,
}
# A chain that comes along: the edits of the example "three_turn_edit", made by `python -m
# tools.example_chain`.
CHAIN_FILE = Path(__file__).with_name("example_chain.png")


@dataclass(frozen=True)
class Example:
    """Names of `PICTURES`, then for each turn the instruction, its seed and the right result.

    Args:
        starts: for each turn the turn it goes on from, 0 being the picture; a chain has (0, 1, 2, ...), a
            branch not.
        one_seed: whether all turns must share a seed.
        only_last: whether the workflow puts out the last picture alone.
        marks: JSON of `cues`, drawn upon the picture.
        mask: the box (left, top, width, height) in pixels that may change.
        before: edits that a file which comes along has already.
        scale: times the size of the world that the picture, and so the result, has.
    """

    pictures: tuple[str, ...]
    instructions: tuple[str, ...]
    seeds: tuple[int, ...]
    truths: tuple[Scene, ...]
    starts: tuple[int, ...] = tuple(range(20))
    one_seed: bool = False
    only_last: bool = False
    marks: str = ""
    mask: tuple[int, int, int, int] | None = None
    before: int = 0
    scale: int = 1

    @property
    def shown(self) -> tuple[Scene, ...]:
        """The right results of what the workflow puts out."""
        return self.truths[-1:] if self.only_last else self.truths


def picture(name: str) -> Tensor:
    """One of `PICTURES` as (1, 128, 128, 3) in [0, 1], in the 256 steps that a file would have.

    Raises: ValueError if the name is not one of them.
    """
    if name not in PICTURES:
        raise ValueError(f"there is no example picture {name!r}; known are {', '.join(PICTURES)}")
    return (draw([PICTURES[name]]) * 255).round().permute(0, 2, 3, 1).contiguous() / 255


def _turns(picture: str, instructions: tuple[str, ...], seeds: tuple[int, ...], **options: Any) -> Example:
    """An example of one picture, whose truths the world's own grammar knows."""
    begin = replace(PICTURES[picture], cue=options.pop("cue", None))
    truths = _truths(begin, instructions, options.get("starts", Example.starts))
    return Example((picture,), instructions, seeds, truths, **options)


def _resumed(example: Example, instructions: tuple[str, ...], seeds: tuple[int, ...]) -> Example:
    """Further turns on the last of an example."""
    truths = _truths(example.truths[-1], instructions, Example.starts)
    return Example((), instructions, seeds, truths, before=len(example.instructions))


def _truths(begin: Scene, instructions: tuple[str, ...], starts: tuple[int, ...]) -> tuple[Scene, ...]:
    """The right result of each instruction, from that of the turn it starts from."""
    truths: list[Scene] = []
    for instruction, start in zip(instructions, starts, strict=False):
        scene = apply(instruction, truths[start - 1] if start else begin)
        assert scene is not None, f"the world does not understand {instruction!r} here"
        truths.append(scene)
    return tuple(truths)


def _ellipse(row: int, col: int) -> str:
    """The mark of `cues` that the world draws around a cell."""
    half_width, half_height, stroke = CUE_PX
    x, y = (col + 0.5) * CELL_PX, (row + 0.5) * CELL_PX
    reach_x, reach_y = half_width - stroke / 2, half_height - stroke / 2
    corners = [[x - reach_x, y - reach_y], [x + reach_x, y + reach_y]]
    points = [[round(side / SIZE_PX, 4) for side in corner] for corner in corners]
    mark = {"kind": "ellipse", "points": points, "colour": "#ed0d14", "width": round(stroke / SIZE_PX, 4)}
    return json.dumps({"version": 1, "marks": [mark]})


# By workflow.
EXAMPLES: dict[str, Example] = {
    "text_to_image": Example(
        (),
        ("a blue circle at row 1 column 4 on grass",),
        (5,),
        (Scene("grass", (Thing("circle", "blue", "big", 0, 3),)),),
    ),
    "single_edit": _turns("square and circle", ("make the white square purple",), (0,)),
    "two_references": Example(
        ("moon", "diamond"),
        ("put the thing of picture 2 at row 3 column 4",),
        (1,),
        (added(_MOON, _DIAMOND.things[0]),),
    ),
    "drawn_ellipse": _turns(
        "two hearts",
        ("remove the thing in the red ellipse",),
        (3,),
        cue=_HEARTS.things[1].cell,
        marks=_ellipse(*_HEARTS.things[1].cell),
    ),
    "masked_edit": _turns(
        "moon, circle and star",
        ("paint the blue circle black",),
        (6,),
        mask=(2 * CELL_PX, 3 * CELL_PX, CELL_PX, CELL_PX),
    ),
    "three_references": Example(
        ("square and circle", "moon", "diamond"),
        ("put the thing of picture 3 at row 1 column 4",),
        (4,),
        (added(_COURT, replace(_DIAMOND.things[0], row=0, col=3)),),
    ),
    "style_reference": Example(
        ("diamond", "inked things"),
        ("use the style of picture 2",),
        (5,),
        (replace(_DIAMOND, style="inked"),),
    ),
    "three_turn_edit": _turns(
        "moon, circle and star",
        ("remove the green star", "paint the blue circle black", "change the background to grass"),
        (0, 0, 1),
    ),
    "five_turn_chain": _turns(
        "moon, circle and star",
        (
            "remove the green star",
            "paint the blue circle black",
            "change the background to grass",
            "add a white square at row 1 column 4",
            "move the red moon to row 3 column 1",
        ),
        (0, 0, 1, 4, 0),
    ),
    "branch_and_compare": _turns(
        "square and circle",
        (
            "remove the black circle",
            "make the white square purple",
            "move the white square to row 1 column 4",
        ),
        (0, 5, 0),
        starts=(0, 1, 1),
    ),
    "script": _turns(
        "moon, circle and star",
        ("remove the blue circle", "make the green star purple", "change the background to sky"),
        (5, 5, 5),
        one_seed=True,
        only_last=True,
    ),
    "large_picture": _turns("square and circle", ("make the white square purple",), (0,), scale=6),
    "twenty_turns": _turns(
        "moon, circle and star",
        (
            "recolour the green star to blue",
            "delete the blue star",
            "add a small blue square at row 4 column 4",
            "move the blue circle to row 2 column 4",
            "make the red moon a square",
            "recolour the blue circle to black",
            "remove the black circle",
            "put a black heart at row 1 column 4",
            "shift the blue square to row 1 column 2",
            "make the black heart a moon",
            "make the blue square red",
            "remove the black moon",
            "add a small red star at row 1 column 1",
            "put the small red square at row 4 column 3",
            "make the small red square a diamond",
            "make the red square black",
            "take away the black square",
            "add a small green star at row 4 column 1",
            "shift the red diamond to row 4 column 4",
            "make the green star a triangle",
        ),
        (5,) * 20,
        one_seed=True,
        only_last=True,
    ),
}
EXAMPLES["a_first_chain"] = EXAMPLES["three_turn_edit"]
EXAMPLES["resume_from_png"] = _resumed(
    EXAMPLES["three_turn_edit"], ("add a white square at row 1 column 4",), (4,)
)


def is_right(output: Tensor, truth: Scene, scale: int = 1) -> bool:
    """Whether a picture (1, 128, 128, 3) in [0, 1] shows the scene; a picture of another size does not.

    Args:
        scale: times so large the picture is to be.
    """
    from .score import right

    expected = draw([truth])
    seen = avg_pool2d(output.permute(0, 3, 1, 2), scale)
    return seen.shape == expected.shape and bool(right(seen, expected))
