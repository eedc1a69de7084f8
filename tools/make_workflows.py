"""`python -m tools.make_workflows`: writes workflows/*.json as the page saves them, and their thumbnails.

The graphs are built in the real page from the descriptions in workflow_graphs.py, so that the files are what
an artist's would be.
"""

from __future__ import annotations

import argparse
import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict

from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Page

from kontext_core.images.picture_files import from_bytes, to_pil
from kontext_core.remote.client import Client, Json, RemoteError
from kontext_core.remote.run import as_prompt, execute
from kontext_core.world.examples import EXAMPLES, Example
from kontext_core.world.examples import picture as example_picture

from . import frontend
from .console import ToolError, run, say
from .page import open_browser, open_page
from .paths import ROOT
from .server import Server
from .workflow_graphs import GRAPHS
from .workflow_parts import GAP, MARGIN, TITLE_PX, TOP, Graph, Node

FOLDER = ROOT / "workflows"
THUMBNAIL_PX = 256
STRIP_PX = 40  # of words
BETWEEN_PX = 6
LARGEST_TEXT_PX, LEAST_TEXT_PX = 26, 12
# What a workflow begins with where that is not its first example picture: that of the chain in the PNG.
FIRST_PICTURES = {"resume_from_png": EXAMPLES["three_turn_edit"].pictures}
VIEW_PX = (1366, 768)  # a small laptop's screen
SIDEBAR_PX = 80
LEAST_SCALE = 0.7  # below it texts are hard to read, and from 0.6 on the page leaves them out

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


def build(page: Page, name: str, graph: Graph) -> str:
    """Build a graph in the page, which then shows it, and give the file that the page would save."""
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
    """Where the page looks first: at the whole workflow, or, if that is too small, at its beginning."""
    right = max(node.pos[0] + node.size[0] for node in graph.nodes.values())
    bottom = max(node.pos[1] + node.size[1] for node in graph.nodes.values())
    space = (VIEW_PX[0] - SIDEBAR_PX - GAP, VIEW_PX[1] - TOP - GAP)
    scale = max(min(1.0, space[0] / (right + 2 * GAP), space[1] / (bottom + 2 * GAP)), LEAST_SCALE)
    return {"scale": scale, "offset": [SIDEBAR_PX / scale + GAP, TOP / scale + GAP]}


def showing(prompt: Json) -> list[str]:
    """The nodes that show a workflow's results, in order: its turns, or where it has none, what it saves."""
    by_kind = {
        kind: sorted((id for id, node in prompt.items() if node["class_type"] == kind), key=int)
        for kind in ("KontextTurn", "SaveImage")
    }
    return by_kind["KontextTurn"] or by_kind["SaveImage"]


def thumbnail(client: Client, name: str) -> None:
    """Run one workflow and write its thumbnail: what it begins with and what it ends with, captioned."""
    workflow = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    prompt = as_prompt(workflow, client.object_info())
    result = execute(client, prompt, workflow)
    example = EXAMPLES[name]
    last = result.images(showing(prompt)[-1])[-1]
    after = to_pil(from_bytes(client.view(last), f"the result of {name}"))
    begin = FIRST_PICTURES.get(name, example.pictures[:1])
    before = [to_pil(example_picture(picture)) for picture in begin]
    count = example.before + len(example.instructions)
    caption = example.instructions[0] if count == 1 else f"{count} turns"
    if example.starts != Example.starts:
        caption = "two branches"
    if not before:
        caption = "from words alone"
    captioned(before, after, caption).save(FOLDER / f"{name}.jpg", quality=90)


def captioned(before: Sequence[Image.Image], after: Image.Image, caption: str) -> Image.Image:
    """Pictures side by side, with "before" and "after" above and a caption below.

    Args:
        before: none where a picture is made from words alone.
    """
    pictures = [*before, after]
    size = (len(pictures) * (THUMBNAIL_PX + BETWEEN_PX) - BETWEEN_PX, THUMBNAIL_PX + 2 * STRIP_PX)
    sheet = Image.new("RGB", size, "#202020")
    pen = ImageDraw.Draw(sheet)
    words = ["before"] * len(before) + ["after" if before else ""]
    for i, (picture, word) in enumerate(zip(pictures, words, strict=True)):
        left = i * (THUMBNAIL_PX + BETWEEN_PX)
        sheet.paste(picture.resize((THUMBNAIL_PX, THUMBNAIL_PX)), (left, STRIP_PX))
        pen.text(
            (left + THUMBNAIL_PX // 2, STRIP_PX // 2), word, "white", _font(pen, word, THUMBNAIL_PX), "mm"
        )
    middle = (size[0] // 2, size[1] - STRIP_PX // 2)
    pen.text(middle, caption, "white", _font(pen, caption, size[0]), "mm")
    return sheet


def _font(pen: ImageDraw.ImageDraw, text: str, width: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Choose the largest size of letters at which a text fits into a width."""
    for size in range(LARGEST_TEXT_PX, LEAST_TEXT_PX, -1):
        font = ImageFont.load_default(size)
        if pen.textlength(text, font) <= width - MARGIN:
            return font
    return ImageFont.load_default(LEAST_TEXT_PX)


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
                (FOLDER / f"{name}.json").write_text(
                    build(page, name, GRAPHS[name]()) + "\n", encoding="utf-8"
                )
                say(f"wrote {FOLDER / name}.json")
        with Client(server.url) as client:
            for name in [] if options.no_thumbnails else options.names:
                thumbnail(client, name)
                say(f"wrote {FOLDER / name}.jpg")


if __name__ == "__main__":
    run(main, RemoteError)
