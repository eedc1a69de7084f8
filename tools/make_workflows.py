"""`python -m tools.make_workflows`: writes workflows/*.json as the page saves them, and their thumbnails.

The graphs are built in the real page from the descriptions below, so that the files are what an artist's would be.
"""

from __future__ import annotations

import argparse
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from typing import Any

from PIL import Image
from playwright.sync_api import Page

from kontext_core.remote.client import Client, Json, RemoteError
from kontext_core.remote.run import as_prompt, execute
from kontext_core.world.examples import EXAMPLES, STEPS

from . import frontend
from .console import ToolError, run, say
from .page import open_browser, open_page
from .paths import ROOT
from .server import Server

FOLDER = ROOT / "workflows"
THUMBNAIL_PX = 256
VIEW_PX = (1600, 900)
SIDEBAR_PX = 80

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


_BUILD = """async ({id, nodes, links, groups, view}) => {
  const app = window.app
  await app.loadGraphData({version: 0.4, last_node_id: 0, last_link_id: 0, nodes: [], links: [], groups: []})
  const made = {}
  for (const [name, one] of Object.entries(nodes)) {
    const node = LiteGraph.createNode(one.type)
    if (!node) throw new Error(`there is no node ${one.type}`)
    node.pos = one.pos
    app.graph.add(node)
    if (one.title) node.title = one.title
    for (const [key, value] of Object.entries(one.widgets)) {
      const widget = key ? node.widgets.find((w) => w.name === key) : node.widgets[0]
      if (!widget) throw new Error(`${one.type} has no widget ${key}`)
      widget.value = value
    }
    const least = node.computeSize()
    if (least[0] > one.size[0] || least[1] > one.size[1]) throw new Error(`${name} needs ${least}`)
    node.setSize(one.size)
    made[name] = node
  }
  const slot = (slots, name, node) => {
    const found = slots.findIndex((one) => one.name === name)
    if (found < 0) throw new Error(`${node} has no ${name}, but ${slots.map((one) => one.name)}`)
    return found
  }
  for (const link of links) {
    const [[from, output], [to, input]] = link.split(' > ').map((end) => end.split('.'))
    const source = slot(made[from].outputs, output, from), target = slot(made[to].inputs, input, to)
    if (!made[from].connect(source, made[to], target)) throw new Error(`${link} cannot be wired`)
  }
  for (const [title, [x, y, width, height]] of Object.entries(groups)) {
    const group = new LiteGraph.LGraphGroup(title)
    app.graph.add(group)
    group.pos = [x, y]
    group.size = [width, height]
  }
  app.graph.extra.ds = view
  const {workflow} = await app.graphToPrompt()
  workflow.id = id
  workflow.extra = {ds: view, frontendVersion: workflow.extra.frontendVersion}
  return JSON.stringify(workflow, null, 2)
}"""


def build(page: Page, name: str) -> str:
    """Build a graph in the page and give the file that the page would save."""
    graph = GRAPHS[name]()
    parts: Json = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"kontext/workflows/{name}")),
        "nodes": {key: asdict(node) for key, node in graph.nodes.items()},
        "links": graph.links,
        "groups": {
            title: _around([graph.nodes[key] for key in keys]) for title, keys in graph.groups.items()
        },
        "view": _view(graph),
    }
    return page.evaluate(_BUILD, parts)


def _around(nodes: Sequence[Node]) -> tuple[int, int, int, int]:
    """Where a group of nodes lies: x, y, width, height; titles stand above nodes and group."""
    left, top = (min(node.pos[axis] for node in nodes) for axis in (0, 1))
    right, bottom = (max(node.pos[axis] + node.size[axis] for node in nodes) for axis in (0, 1))
    x, y = left - MARGIN, top - 2 * TITLE_PX - MARGIN
    return x, y, right + MARGIN - x, bottom + MARGIN - y


def _view(graph: Graph) -> Json:
    """Where the page looks when the workflow opens: at all of it."""
    right = max(node.pos[0] + node.size[0] for node in graph.nodes.values())
    bottom = max(node.pos[1] + node.size[1] for node in graph.nodes.values())
    space = (VIEW_PX[0] - SIDEBAR_PX - GAP, VIEW_PX[1] - TOP - GAP)
    scale = min(1.0, space[0] / (right + 2 * GAP), space[1] / (bottom + 2 * GAP))
    return {"scale": scale, "offset": [SIDEBAR_PX / scale + GAP, TOP / scale + GAP]}


def showing(prompt: Json) -> list[str]:
    """The nodes that show a workflow's results, in order: its turns, or where it has none, what it saves."""
    by_kind = {
        kind: sorted((id for id, node in prompt.items() if node["class_type"] == kind), key=int)
        for kind in ("KontextTurn", "SaveImage")
    }
    return by_kind["KontextTurn"] or by_kind["SaveImage"]


def thumbnail(client: Client, name: str) -> None:
    """Run one workflow and write what it made, side by side, as its thumbnail."""
    workflow = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    prompt = as_prompt(workflow, client.object_info())
    result = execute(client, prompt, workflow)
    pictures = [Image.open(BytesIO(client.view(one))) for id in showing(prompt) for one in result.images(id)]
    sheet = Image.new("RGB", (THUMBNAIL_PX * len(pictures), THUMBNAIL_PX))
    for i, picture in enumerate(pictures):
        sheet.paste(picture.resize((THUMBNAIL_PX, THUMBNAIL_PX)), (i * THUMBNAIL_PX, 0))
    sheet.save(FOLDER / f"{name}.jpg", quality=90)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.make_workflows", description=__doc__)
    parser.add_argument(
        "names", nargs="*", default=list(GRAPHS), help=f"only these of {', '.join(GRAPHS)}", metavar="NAME"
    )
    parser.add_argument("--no-thumbnails", action="store_true", help="only the JSON files")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in GRAPHS]:
        raise ToolError(f"There are no workflows {', '.join(unknown)}; there are {', '.join(GRAPHS)}.")
    FOLDER.mkdir(exist_ok=True)
    with Server(front_end=frontend.get(frontend.NEWEST)) as server:
        with open_browser() as browser, open_page(browser, server.url) as page:
            for name in options.names:
                (FOLDER / f"{name}.json").write_text(build(page, name) + "\n", encoding="utf-8")
                say(f"wrote {FOLDER / name}.json")
        with Client(server.url) as client:
            for name in [] if options.no_thumbnails else options.names:
                thumbnail(client, name)
                say(f"wrote {FOLDER / name}.jpg")


if __name__ == "__main__":
    run(main, RemoteError)
