"""The drawing editor as a person uses it, for all its tests."""

from __future__ import annotations

import base64

import pytest
import torch
from playwright.sync_api import Locator

from kontext_core.images.marks import Mark, parse_marks
from kontext_core.images.picture_files import from_bytes
from kontext_core.remote.client import Client
from tools import frontend

from .editor import PATIENCE_MS, Editor

NEWEST_ALONE = pytest.mark.parametrize("server", [frontend.NEWEST], indirect=True)  # for time
ROW = """types => {
  app.graph.clear()
  app.canvas.ds.scale = 1
  app.canvas.ds.offset = [0, 0]
  let before = null
  types.forEach((type, i) => {
    const node = LiteGraph.createNode(type)
    node.pos = [[120, 480, 1000][i], 140]
    app.graph.add(node)
    const slot = (node.inputs ?? []).findIndex(one => one.type === 'IMAGE')
    if (before) before.connect(before.outputs.findIndex(one => one.type === 'IMAGE'), node, slot)
    before = node
  })
  app.canvas.emitBeforeChange()
  app.canvas.emitAfterChange()  // what is there is where undo comes back to
  app.canvas.setDirty(true, true)
}"""
# Where the button of a node lies on the screen.
BUTTON = """id => {
  const node = app.graph.getNodeById(id), widget = node.widgets.find(one => one.type === 'button')
  const {ds, canvas} = app.canvas, box = canvas.getBoundingClientRect()
  const [x, y] = [node.pos[0] + node.size[0] / 2, node.pos[1] + (widget.last_y ?? widget.y) + 10]
  return [box.left + (x + ds.offset[0]) * ds.scale, box.top + (y + ds.offset[1]) * ds.scale]
}"""
MARKS = "id => app.graph.getNodeById(id).widgets.find(one => one.name === 'marks').value"


def build(editor: Editor, *types: str) -> list[str]:
    """A row of nodes, the picture of each wired into the next; their ids."""
    editor.page.evaluate(ROW, list(types))
    editor.page.wait_for_timeout(500)
    return [editor.ids(kind)[0] for kind in types]


def marks(editor: Editor, node: str) -> tuple[Mark, ...]:
    return parse_marks(editor.page.evaluate(MARKS, node))


def command(editor: Editor, node: str) -> None:
    """Alt+D on a node, until the editor is there."""
    editor.select(node)
    editor.page.keyboard.press("Alt+d")
    opened(editor)


def opened(editor: Editor) -> None:
    editor.page.locator("dialog.kontext-draw[open]").wait_for(timeout=PATIENCE_MS)
    editor.page.wait_for_timeout(200)  # it has its place


def closed(editor: Editor) -> None:
    editor.page.locator("dialog.kontext-draw").wait_for(state="detached", timeout=PATIENCE_MS)


def button(editor: Editor, name: str) -> Locator:
    """One of the editor's buttons."""
    return editor.page.locator("dialog.kontext-draw").get_by_role("button", name=name, exact=True)


def drag(editor: Editor, *points: tuple[float, float]) -> None:
    """Press, move and let go, at fractions of the picture."""
    box = editor.page.locator("dialog.kontext-draw canvas").bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    editor.page.mouse.move(*places[0])
    editor.page.mouse.down()
    for place in places[1:]:
        editor.page.mouse.move(*place, steps=6)
    editor.page.mouse.up()


def shown(editor: Editor) -> torch.Tensor:
    """The editor's canvas, (1, H, W, 3)."""
    editor.page.wait_for_timeout(200)
    return picture(
        editor.page.evaluate("() => document.querySelector('dialog.kontext-draw canvas').toDataURL()")
    )


def picture(url: str) -> torch.Tensor:
    return picture_of(base64.b64decode(url.partition(",")[2]))


def picture_of(data: bytes) -> torch.Tensor:
    """A picture file's pixels, (1, H, W, 3)."""
    return from_bytes(data, "a picture of the page")


def differing(one: torch.Tensor, other: torch.Tensor) -> float:
    """The share of pixels that differ by more than 16 of 255 in any colour."""
    assert one.shape == other.shape
    return ((one - other).abs().amax(-1) > 16 / 255).float().mean().item()


def executed(editor: Editor, node: str, kind: str = "images") -> torch.Tensor:
    """Run the graph; the picture that a node made of it."""
    editor.queue()
    editor.wait_for("execution_success")
    wanted = "([id, kind]) => app.nodeOutputs[id]?.[kind]?.[0]"
    # Newer pages are not so quick.
    editor.page.wait_for_function(wanted, arg=[node, kind], timeout=PATIENCE_MS)
    file = editor.page.evaluate(wanted, [node, kind])
    editor.page.wait_for_timeout(500)  # the nodes have their places with their pictures
    with Client(editor.url) as client:
        return picture_of(client.view(file))
