"""What workflows are made of: nodes, their places and wires, and the nodes that many have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kontext_core.world.examples import STEPS, Example

COLUMN, WIDE, NARROW = 440, 380, 260
TOP, GAP, MARGIN, TITLE_PX = 120, 40, 15, 30
# A node grows once it shows its picture, most where the page draws nodes with Vue; what is below it stands so
# far down.
TURN_PX, TURN_ROW = 372, 730
EDIT_PX, EDIT_ROW = 330, 710
MODEL_ROW, PICTURE_ROW = 344, 360  # below a model, below an example picture

WORLD = (
    "The included tiny model knows only its own world: shapes (circle, square, triangle, star, cross, "
    "heart, diamond, moon) in red, pink, yellow, green, blue, purple, white or black, on a grid of 4 rows "
    "and 4 columns, on sky, sand, grass, snow, clay or lake."
)
OWN = (
    "For your own picture, replace the example with **Load Image** and choose FLUX.1 Kontext in **Kontext "
    "Load Model**."
)


@dataclass
class Node:
    """A node to make: where it stands, how large it is, and its widgets' values by name."""

    type: str
    pos: tuple[int, int]
    size: tuple[int, int]
    widgets: Mapping[str, Any] = field(default_factory=dict[str, Any])
    title: str | None = None


@dataclass
class Graph:
    """Nodes by name, links as "node.output > node.input", groups as {title: the nodes in it}."""

    nodes: dict[str, Node]
    links: list[str]
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])


def model(x: int, y: int, wide: int = WIDE) -> Node:
    """The loader."""
    return Node("KontextLoadModel", (x, y), (wide, 190))


def picture(x: int, y: int, name: str, title: str | None = None, wide: int = WIDE, high: int = 280) -> Node:
    """An example picture."""
    return Node("KontextExample", (x, y), (wide, high), {"picture": name}, title)


def edit(x: int, y: int, instruction: str, seed: int, title: str | None = None, **more: Any) -> Node:
    """One edit in one box. more: further widgets' values."""
    widgets = {
        "instruction": instruction,
        "seed": seed,
        "control_after_generate": "fixed",
        "steps": STEPS,
    } | more
    return Node("KontextEdit", (x, y), (WIDE, EDIT_PX), widgets, title)


def turn(x: int, y: int, instruction: str, seed: int, title: str, wide: int = WIDE) -> Node:
    """One turn of a chain."""
    widgets = {"instruction": instruction, "seed": seed, "control_after_generate": "fixed", "steps": STEPS}
    return Node("KontextTurn", (x, y), (wide, TURN_PX), widgets, title)


def script(x: int, y: int, example: Example) -> Node:
    """A script of an example's turns, all from one seed."""
    widgets = {
        "script": "\n".join(example.instructions),
        "seed": example.seeds[0],
        "control_after_generate": "fixed",
        "seeds": "same",
        "steps": STEPS,
    }
    return Node("KontextScript", (x, y), (WIDE, 600), widgets)


def sampler(x: int, y: int, seed: int) -> Node:
    """The sampler."""
    widgets = {"seed": seed, "control_after_generate": "fixed", "steps": STEPS}
    return Node("KontextSampler", (x, y), (WIDE, 480), widgets)


def save(x: int, y: int, prefix: str) -> Node:
    """Saves a picture."""
    return Node("SaveImage", (x, y), (WIDE, 320), {"filename_prefix": prefix})


def note(x: int, y: int, height: int, *paragraphs: str, wide: int = WIDE) -> Node:
    """Words beside the graph, in Markdown."""
    return Node("MarkdownNote", (x, y), (wide, height), {"": "\n\n".join(paragraphs)}, "About this workflow")
