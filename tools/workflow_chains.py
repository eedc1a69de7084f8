"""The shared workflows of several turns."""

from __future__ import annotations

from kontext_core.world.examples import EXAMPLES

from . import workflow_parts as parts
from .workflow_parts import (
    COLUMN,
    EDIT_ROW,
    MODEL_ROW,
    NARROW,
    OWN,
    PICTURE_ROW,
    TURN_ROW,
    WIDE,
    WORLD,
    Graph,
    Node,
)

TURNS = ("First turn", "Second turn", "Third turn")


def a_first_chain() -> Graph:
    """Three turns, all of whose words can be read on a small screen.

    The page shows a template at the scale at which it fills three quarters of the screen; at 1366 x 768
    that is one, if the nodes and their titles fill no more than 1004 x 556.
    """
    example = EXAMPLES["a_first_chain"]
    first, wide, gap, below = 260, 222, 24, 150
    nodes = {
        "note": parts.note(
            first + gap,
            0,
            90,
            "**Run** makes three edits, each of the result before it. Change an instruction and run again: "
            "only what follows from it is made anew.",
            OWN,
            wide=3 * wide + 2 * gap,
        ),
        "model": parts.model(0, 0, first),
        "picture": parts.picture(0, 340, example.pictures[0], wide=first, high=70),
    }
    links = ["picture.image > turn1.image"]
    for number, (instruction, seed) in enumerate(
        zip(example.instructions, example.seeds, strict=True), start=1
    ):
        turn, x = f"turn{number}", first + gap + (number - 1) * (wide + gap)
        nodes[turn] = parts.turn(x, below, instruction, seed, f"Turn {number}", wide)
        links.append(f"model.model > {turn}.model")
        if number > 1:
            links.append(f"turn{number - 1}.chain > {turn}.chain")
    return Graph(nodes, links)


def three_turn_edit() -> Graph:
    """Three edits, each made to the result of the one before."""
    example = EXAMPLES["three_turn_edit"]
    nodes = {"model": parts.model(0, 0), "picture": parts.picture(0, MODEL_ROW, example.pictures[0])}
    links = ["picture.image > turn1.image"]
    groups: dict[str, tuple[str, ...]] = {"Model and picture": ("model", "picture", "note")}
    turns = zip(example.instructions, example.seeds, TURNS, strict=True)
    for number, (instruction, seed, what) in enumerate(turns, start=1):
        turn, save = f"turn{number}", f"save{number}"
        nodes[turn] = parts.edit(number * COLUMN, 0, instruction, seed, f"Turn {number}")
        nodes[save] = parts.save(number * COLUMN, EDIT_ROW, f"kontext_turn_{number}")
        links += [f"model.model > {turn}.model", f"{turn}.image > {save}.images"]
        if number > 1:
            links.append(f"turn{number - 1}.latent > {turn}.latent")
        groups[what] = (turn, save)
    nodes["note"] = parts.note(
        0,
        MODEL_ROW + PICTURE_ROW,
        240,
        "## Three turns",
        "Each turn takes the **latent** of the turn before, so nothing is lost between them. "
        "Change the instruction of turn 3 and queue again: only turn 3 runs.",
        OWN,
    )
    return Graph(nodes, links, groups)


def five_turn_chain() -> Graph:
    """A chain: every turn shows its picture, and the PNG at its end remembers them all.

    Narrow, so that one page shows it.
    """
    example = EXAMPLES["five_turn_chain"]
    step, wide = NARROW + 30, 2 * NARROW + 30
    nodes = {
        "model": parts.model(0, 0, NARROW),
        "picture": parts.picture(0, MODEL_ROW, example.pictures[0], wide=NARROW),
        "note": parts.note(
            0,
            TURN_ROW,
            216,
            "## Five turns",
            "A **Kontext Turn** outputs the chain of all turns so far. If you change one, only that turn "
            "and those after it run again. Drop the PNG of **Kontext Save Chain** on the page to restore "
            "all of this.",
            OWN,
            wide=wide,
        ),
    }
    links = ["picture.image > turn1.image"]
    for number, (instruction, seed) in enumerate(
        zip(example.instructions, example.seeds, strict=True), start=1
    ):
        nodes[f"turn{number}"] = parts.turn(number * step, 0, instruction, seed, f"Turn {number}", NARROW)
        links.append(f"model.model > turn{number}.model")
        if number > 1:
            links.append(f"turn{number - 1}.chain > turn{number}.chain")
    nodes["sheet"] = Node("KontextChainSheet", (2 * step, TURN_ROW), (wide, 216))
    nodes["save"] = Node("KontextSaveChain", (4 * step, TURN_ROW), (wide, 140))
    links += ["turn5.chain > sheet.chain", "turn5.chain > save.chain"]
    return Graph(nodes, links)


def branch_and_compare() -> Graph:
    """Two ways on from one turn, held against each other."""
    example = EXAMPLES["branch_and_compare"]
    first, second, branch = zip(example.instructions, example.seeds, strict=True)
    step, wide = NARROW + 30, 2 * NARROW + 30
    nodes = {
        "model": parts.model(0, 0, NARROW),
        "picture": parts.picture(0, MODEL_ROW, example.pictures[0], wide=NARROW),
        "note": parts.note(
            0,
            TURN_ROW,
            216,
            "## Two branches",
            "Two **Kontext Turn** nodes on one chain are two branches. **Kontext Compare** shows both and "
            "says where they diverge; **Kontext Pick Turn** goes back to any turn.",
            OWN,
            wide=wide,
        ),
        "turn1": parts.turn(step, 0, *first, "Turn 1", NARROW),
        "turn2": parts.turn(2 * step, 0, *second, "Turn 2", NARROW),
        "branch": parts.turn(3 * step, 0, *branch, "Turn 2, another way", NARROW),
        "compare": Node("KontextCompare", (4 * step, 0), (wide, 140), {"turn": -1, "other_turn": -1}),
        "pick": Node(
            "KontextPickTurn", (2 * step, TURN_ROW), (NARROW, 100), {"turn": 0}, "Back to the start"
        ),
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
    example = EXAMPLES["script"]
    nodes = {
        "note": parts.note(
            0,
            0,
            300,
            "## A script",
            "Each line is a turn, applied to the result of the line above.",
            WORLD,
            OWN,
        ),
        "model": parts.model(COLUMN, 0),
        "picture": parts.picture(COLUMN, MODEL_ROW, example.pictures[0]),
        "script": parts.script(2 * COLUMN, 0, example),
        "sheet": Node("KontextChainSheet", (3 * COLUMN, 0), (WIDE, 260)),
        "save": parts.save(3 * COLUMN, 560, "kontext_script"),
    }
    links = [
        "model.model > script.model",
        "picture.image > script.image",
        "script.chain > sheet.chain",
        "script.image > save.images",
    ]
    return Graph(nodes, links)


def twenty_turns() -> Graph:
    """So many turns that a picture would show their wear, if it wore."""
    example = EXAMPLES["twenty_turns"]
    nodes = {
        "note": parts.note(
            0,
            0,
            260,
            "## Twenty turns",
            "With **keep_outside: auto**, what no line speaks of is still the first picture's own, bit for bit, after "
            "twenty turns. The sheet shows them all, and is saved as an animation too.",
            OWN,
        ),
        "model": parts.model(0, 340),
        "picture": parts.picture(COLUMN, 0, example.pictures[0]),
        "script": parts.script(2 * COLUMN, 0, example),
        "save": parts.save(COLUMN, PICTURE_ROW, "kontext_twenty_turns"),
        "sheet": Node("KontextChainSheet", (3 * COLUMN, 0), (WIDE, 600), {"animation": "webp"}),
    }
    links = [
        "model.model > script.model",
        "picture.image > script.image",
        "script.chain > sheet.chain",
        "script.image > save.images",
    ]
    return Graph(nodes, links)


def resume_from_png() -> Graph:
    """A chain out of a PNG, and one turn more."""
    example = EXAMPLES["resume_from_png"]
    turn = example.before + 1
    nodes = {
        "note": parts.note(
            0,
            0,
            300,
            "## Continue from a PNG",
            "**Kontext Save Chain** writes a PNG that remembers every turn; **Kontext Load Chain** loads it "
            "again, here an included example. Choose *upload* for another one. **Kontext Pick Turn** goes "
            "further back.",
            OWN,
        ),
        "model": parts.model(0, 380),
        "load": Node("KontextLoadChain", (COLUMN, 0), (WIDE, 140), {"file": "example (comes along)"}),
        "before": Node("KontextChainSheet", (COLUMN, 600), (WIDE, 260), title="What came before"),
        "turn": parts.turn(2 * COLUMN, 0, example.instructions[0], example.seeds[0], f"Turn {turn}"),
        "sheet": Node("KontextChainSheet", (3 * COLUMN, 0), (WIDE, 260)),
        "save": Node("KontextSaveChain", (3 * COLUMN, 440), (WIDE, 140)),
    }
    links = [
        "load.chain > before.chain",
        "model.model > turn.model",
        "load.chain > turn.chain",
        "turn.chain > sheet.chain",
        "turn.chain > save.chain",
    ]
    return Graph(nodes, links)
