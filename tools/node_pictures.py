"""`python -m tools.node_pictures`: the help's picture of every node, from the page after a real run."""

from __future__ import annotations

import argparse

from PIL import Image
from playwright.sync_api import Page

from kontext_core.remote.client import Client, RemoteError

from . import frontend
from .console import ToolError, run, say
from .graph_picture import NO_MINIMAP
from .make_workflows import build
from .page import open_browser, open_page, screenshot
from .panel_picture import VUE_NODES
from .paths import ROOT
from .server import Server
from .workflow_graphs import GRAPHS
from .workflow_parts import WIDE, Graph, Node

FOLDER = ROOT / "web" / "docs" / "images" / "nodes"
PATIENCE_MS = 600_000
PLACE_PX = (160, 180)  # on the page, beside its bars
SPACE_PX = 12
WIDTH_PX, HEIGHT_PX = 900, 1400

# The workflow that shows a node at work, by the node's id.
SHOWN_IN = {
    "KontextLoadModel": "text_to_image",
    "KontextEncodePrompt": "text_to_image",
    "KontextSampler": "text_to_image",
    "KontextDecode": "text_to_image",
    "KontextEdit": "single_edit",
    "KontextExample": "single_edit",
    "KontextVisualCue": "drawn_ellipse",
    "KontextReference": "two_references",
    "KontextReferenceGrid": "three_references",
    "KontextTurn": "branch_and_compare",
    "KontextPickTurn": "branch_and_compare",
    "KontextCompare": "branch_and_compare",
    "KontextChainSheet": "resume_from_png",
    "KontextLoadChain": "resume_from_png",
    "KontextSaveChain": "resume_from_png",
    "KontextScript": "script",
}
_TEMPLATE = {"target": "the car on the left", "change": "dark red", "keep": "the street and the light"}
# Those that no workflow has, with what they need.
OTHERS = Graph(
    {
        "lora": Node("KontextLora", (0, 0), (WIDE, 200)),
        "encode": Node("KontextEncode", (0, 400), (WIDE, 200)),
        "hosted": Node("KontextFromComfyUI", (0, 800), (WIDE, 200)),
        "to": Node("KontextToConditioning", (600, 0), (WIDE, 300)),
        "from": Node("KontextFromConditioning", (600, 500), (WIDE, 300)),
        "template": Node("KontextPromptTemplate", (600, 1000), (WIDE, 400), _TEMPLATE),
    },
    [],
)

_RAN = """() => {
  window.ended = ''
  for (const kind of ['execution_success', 'execution_error', 'execution_interrupted'])
    app.api.addEventListener(kind, () => { window.ended = kind })
  app.queuePrompt(0, 1)
}"""
_SHOW = """([id, x, y]) => {
  const node = app.graph._nodes.find(one => String(one.id) === id), {ds} = app.canvas
  ds.scale = 1
  ds.offset = [x - node.pos[0], y - node.pos[1]]
  app.canvas.deselectAll?.()
  app.canvas.setDirty(true, true)
}"""
_FIRST = (
    "kind => { const one = app.graph._nodes.find(node => node.type === kind); return one && String(one.id) }"
)


def shows(page: Page, kind: str) -> Image.Image:
    """One node of the open graph, by itself."""
    id = page.evaluate(_FIRST, kind)
    if id is None:
        raise ToolError(f"the graph has no {kind}: correct SHOWN_IN of {__name__}.")
    page.evaluate(_SHOW, [id, *PLACE_PX])
    node = page.locator(f'[data-node-id="{id}"]')
    node.wait_for(timeout=PATIENCE_MS)
    page.wait_for_timeout(1_500)  # its picture is drawn
    box = node.bounding_box()
    assert box is not None, "it is on the screen"
    left, top = box["x"] - SPACE_PX, box["y"] - SPACE_PX
    right, bottom = left + box["width"] + 2 * SPACE_PX, top + box["height"] + 2 * SPACE_PX
    whole = screenshot(page)
    return whole.crop((round(left), round(top), round(right), round(bottom)))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.node_pictures", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NODE", help="only these nodes, by their ids")
    chosen = parser.parse_args().names
    others = [node.type for node in OTHERS.nodes.values()]
    graphs = {name: (GRAPHS[name](), True) for name in dict.fromkeys(SHOWN_IN.values())}
    FOLDER.mkdir(exist_ok=True)
    with Server(front_end=frontend.get(frontend.NEWEST)) as server, open_browser() as browser:
        with Client(server.url) as client:
            client.settings({**NO_MINIMAP, **VUE_NODES})
        for name, (graph, runs) in {**graphs, "others": (OTHERS, False)}.items():
            kinds = [kind for kind, where in SHOWN_IN.items() if where == name] if runs else others
            kinds = [kind for kind in kinds if not chosen or kind in chosen]
            if not kinds:
                continue
            with open_page(browser, server.url) as page:
                page.set_viewport_size({"width": WIDTH_PX, "height": HEIGHT_PX})
                build(page, name, graph)
                if runs:
                    page.evaluate(_RAN)
                    page.wait_for_function("() => window.ended", timeout=PATIENCE_MS)
                    if (ended := page.evaluate("ended")) != "execution_success":
                        raise ToolError(f"{name} ended with {ended}.")
                for kind in kinds:
                    picture = shows(page, kind).quantize(128, dither=Image.Dither.NONE)
                    picture.save(FOLDER / f"{kind}.png", optimize=True)
                    say(f"wrote {FOLDER / kind}.png")


if __name__ == "__main__":
    run(main, RemoteError)
