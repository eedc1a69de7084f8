"""What the shared workflows are: their nodes, where they stand, and how they are wired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kontext_core.world.examples import EXAMPLES, STEPS

COLUMN, WIDE = 440, 380
TOP, GAP, MARGIN, TITLE_PX = 120, 40, 15, 30
TURN_ROW = 800  # a turn shows its picture, below all that can be set

TURNS = ("First turn", "Second turn", "Third turn")
WORLD = (
    "The tiny model that comes along knows its own world only: "
    "shapes (circle, square, triangle, star, cross, heart, diamond, moon) "
    "in red, pink, yellow, green, blue, purple, white or black, on a grid of 4 rows and 4 columns, "
    "on sky, sand, grass, snow, clay or lake."
)
OWN = "For a picture of yours, put **Load Image** in place of the example and choose FLUX.1 Kontext in **Kontext Load Model**."


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


def text_to_image() -> Graph:
    """Words alone, in single nodes."""
    made = EXAMPLES["text_to_image"]
    nodes = {
        "model": _model(0, 0),
        "note": _note(0, 360, 240, "## Text to image", "No reference: the words say it all.", WORLD),
        "prompt": Node("KontextEncodePrompt", (COLUMN, 0), (WIDE, 300), {"text": made.instructions[0]}),
        "sampler": _sampler(2 * COLUMN, 0, made.seeds[0]),
        "decode": Node("KontextDecode", (3 * COLUMN, 0), (WIDE, 60)),
        "save": _save(3 * COLUMN, 140, "kontext_text_to_image"),
    }
    links = [
        "model.model > prompt.model",
        "model.model > sampler.model",
        "prompt.prompt > sampler.prompt",
        "model.model > decode.model",
        "sampler.latent > decode.latent",
        "decode.image > save.images",
    ]
    return Graph(nodes, links)


def single_edit() -> Graph:
    """One edit in one box."""
    made = EXAMPLES["single_edit"]
    nodes = {
        "note": _note(0, 0, 300, "## One edit", WORLD, OWN),
        "model": _model(COLUMN, 0),
        "picture": _picture(COLUMN, 360, made.pictures[0]),
        "edit": _edit(2 * COLUMN, 0, made.instructions[0], made.seeds[0]),
        "save": _save(3 * COLUMN, 0, "kontext_edit"),
    }
    links = ["model.model > edit.model", "picture.image > edit.image", "edit.image > save.images"]
    return Graph(nodes, links)


def two_references() -> Graph:
    """Two pictures for one result, in single nodes."""
    made = EXAMPLES["two_references"]
    nodes = {
        "model": _model(0, 0),
        "first": _picture(0, 360, made.pictures[0], "Picture 1"),
        "second": _picture(0, 700, made.pictures[1], "Picture 2"),
        "prompt": Node("KontextEncodePrompt", (COLUMN, 0), (WIDE, 300), {"text": made.instructions[0]}),
        "one": Node("KontextReference", (COLUMN, 360), (WIDE, 220), {}, "Reference 1: sets the size"),
        "two": Node("KontextReference", (COLUMN, 700), (WIDE, 220), {}, "Reference 2"),
        "sampler": _sampler(2 * COLUMN, 0, made.seeds[0]),
        "note": _note(
            2 * COLUMN,
            700,
            200,
            "## Two references",
            "References are chained: the result has the size of the first.",
            OWN,
        ),
        "decode": Node("KontextDecode", (3 * COLUMN, 0), (WIDE, 60)),
        "save": _save(3 * COLUMN, 140, "kontext_two_references"),
    }
    links = [
        "model.model > prompt.model",
        "model.model > one.model",
        "model.model > two.model",
        "first.image > one.image",
        "second.image > two.image",
        "one.references > two.references",
        "model.model > sampler.model",
        "prompt.prompt > sampler.prompt",
        "two.references > sampler.references",
        "model.model > decode.model",
        "sampler.latent > decode.latent",
        "decode.image > save.images",
    ]
    return Graph(nodes, links)


def three_turn_edit() -> Graph:
    """Three edits, each made to the result of the one before."""
    made = EXAMPLES["three_turn_edit"]
    nodes = {"model": _model(0, 0), "picture": _picture(0, 360, made.pictures[0])}
    links = ["picture.image > turn1.image"]
    groups: dict[str, tuple[str, ...]] = {"Model and picture": ("model", "picture", "note")}
    turns = zip(made.instructions, made.seeds, TURNS, strict=True)
    for number, (instruction, seed, what) in enumerate(turns, start=1):
        turn, save = f"turn{number}", f"save{number}"
        nodes[turn] = _edit(number * COLUMN, 0, instruction, seed, f"Turn {number}")
        nodes[save] = _save(number * COLUMN, 640, f"kontext_turn_{number}")
        links += [f"model.model > {turn}.model", f"{turn}.image > {save}.images"]
        if number > 1:
            links.append(f"turn{number - 1}.latent > {turn}.latent")
        groups[what] = (turn, save)
    nodes["note"] = _note(
        0,
        700,
        260,
        "## Three turns",
        "Each turn takes the **latent** of the turn before, so nothing is lost between them. "
        "Change the instruction of turn 3 and queue again: only turn 3 runs.",
        OWN,
    )
    return Graph(nodes, links, groups)


def five_turn_chain() -> Graph:
    """A chain: every turn shows its picture, and the PNG at its end remembers them all."""
    made = EXAMPLES["five_turn_chain"]
    nodes = {
        "model": _model(0, 0),
        "picture": _picture(0, 360, made.pictures[0]),
        "note": _note(
            0,
            700,
            280,
            "## Five turns",
            "A **Kontext Turn** hands on the chain of all turns so far. Change one, and only that turn and those behind it "
            "run again. Drop the PNG of **Kontext Save Chain** on the page and all of this is back.",
            OWN,
        ),
    }
    links = ["picture.image > turn1.image"]
    for number, (instruction, seed) in enumerate(zip(made.instructions, made.seeds, strict=True), start=1):
        column, row = (number - 1) % 3 + 1, (number - 1) // 3
        nodes[f"turn{number}"] = _turn(column * COLUMN, row * TURN_ROW, instruction, seed, f"Turn {number}")
        links.append(f"model.model > turn{number}.model")
        if number > 1:
            links.append(f"turn{number - 1}.chain > turn{number}.chain")
    nodes["sheet"] = Node("KontextChainSheet", (3 * COLUMN, TURN_ROW), (WIDE, 300))
    nodes["save"] = Node("KontextSaveChain", (3 * COLUMN, TURN_ROW + 360), (WIDE, 330))
    links += ["turn5.chain > sheet.chain", "turn5.chain > save.chain"]
    return Graph(nodes, links)


def branch_and_compare() -> Graph:
    """Two ways on from one turn, held against each other."""
    made = EXAMPLES["branch_and_compare"]
    first, second, branch = zip(made.instructions, made.seeds, strict=True)
    nodes = {
        "model": _model(0, 0),
        "picture": _picture(0, 360, made.pictures[0]),
        "note": _note(
            0,
            700,
            260,
            "## Two branches",
            "Two **Kontext Turn** on one chain are two branches. **Kontext Compare** shows both and says where they part; "
            "**Kontext Pick Turn** goes back to any turn.",
            OWN,
        ),
        "turn1": _turn(COLUMN, 0, *first, "Turn 1"),
        "turn2": _turn(2 * COLUMN, 0, *second, "Turn 2"),
        "branch": _turn(2 * COLUMN, TURN_ROW, *branch, "Turn 2, another way"),
        "compare": Node("KontextCompare", (3 * COLUMN, 0), (WIDE, 420), {"turn": -1, "other_turn": -1}),
        "pick": Node("KontextPickTurn", (COLUMN, TURN_ROW), (WIDE, 420), {"turn": 0}, "Back to the start"),
    }
    links = [
        "picture.image > turn1.image",
        "turn1.chain > turn2.chain",
        "turn1.chain > branch.chain",
        "turn2.chain > compare.chain",
        "branch.chain > compare.other",
        "turn1.chain > pick.chain",
        *(f"model.model > {turn}.model" for turn in ("turn1", "turn2", "branch")),
    ]
    return Graph(nodes, links)


def script() -> Graph:
    """Many turns in one box."""
    made = EXAMPLES["script"]
    widgets = {
        "script": "\n".join(made.instructions),
        "seed": made.seeds[0],
        "control_after_generate": "fixed",
        "seeds": "same",
        "steps": STEPS,
    }
    nodes = {
        "note": _note(
            0,
            0,
            300,
            "## A script",
            "Every line is a turn, made to the result of the line above.",
            WORLD,
            OWN,
        ),
        "model": _model(COLUMN, 0),
        "picture": _picture(COLUMN, 360, made.pictures[0]),
        "script": Node("KontextScript", (2 * COLUMN, 0), (WIDE, 760), widgets),
        "sheet": Node("KontextChainSheet", (3 * COLUMN, 0), (WIDE, 300)),
        "save": _save(3 * COLUMN, 360, "kontext_script"),
    }
    links = [
        "model.model > script.model",
        "picture.image > script.image",
        "script.chain > sheet.chain",
        "script.image > save.images",
    ]
    return Graph(nodes, links)


GRAPHS = {
    make.__name__: make
    for make in (
        text_to_image,
        single_edit,
        two_references,
        three_turn_edit,
        five_turn_chain,
        branch_and_compare,
        script,
    )
}


def _model(x: int, y: int) -> Node:
    return Node("KontextLoadModel", (x, y), (WIDE, 300))


def _picture(x: int, y: int, name: str, title: str | None = None) -> Node:
    return Node("KontextExample", (x, y), (WIDE, 280), {"picture": name}, title)


def _edit(x: int, y: int, instruction: str, seed: int, title: str | None = None) -> Node:
    widgets = {"instruction": instruction, "seed": seed, "control_after_generate": "fixed", "steps": STEPS}
    return Node("KontextEdit", (x, y), (WIDE, 560), widgets, title)


def _turn(x: int, y: int, instruction: str, seed: int, title: str) -> Node:
    widgets = {"instruction": instruction, "seed": seed, "control_after_generate": "fixed", "steps": STEPS}
    return Node("KontextTurn", (x, y), (WIDE, TURN_ROW - 80), widgets, title)


def _sampler(x: int, y: int, seed: int) -> Node:
    widgets = {"seed": seed, "control_after_generate": "fixed", "steps": STEPS}
    return Node("KontextSampler", (x, y), (WIDE, 600), widgets)


def _save(x: int, y: int, prefix: str) -> Node:
    return Node("SaveImage", (x, y), (WIDE, 320), {"filename_prefix": prefix})


def _note(x: int, y: int, height: int, *paragraphs: str) -> Node:
    return Node("MarkdownNote", (x, y), (WIDE, height), {"": "\n\n".join(paragraphs)}, "About this workflow")
