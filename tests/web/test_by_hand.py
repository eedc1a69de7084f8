"""From an empty canvas to a saved chain and back, by mouse and keyboard alone."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image

from kontext_core.images.marks import parse_marks
from kontext_core.remote.client import Client, Json

from .editor import PATIENCE_MS, Editor, forget

pytestmark = pytest.mark.comfy

_ON_SCREEN = """([id, x, y]) => {
  const {pos, size} = app.graph.getNodeById(id), {ds, canvas} = app.canvas, box = canvas.getBoundingClientRect()
  const at = [pos[0] + size[0] * x, pos[1] + y]
  return [box.left + (at[0] + ds.offset[0]) * ds.scale, box.top + (at[1] + ds.offset[1]) * ds.scale]
}"""
# It flies to what it shows, and begins some frames later: there once it has stood still
# for a third of a second.
_LANDED = """() => new Promise(done => {
  const place = () => [...app.canvas.ds.offset, app.canvas.ds.scale].join()
  let before = place(), since = performance.now()
  const wait = () => {
    const now = place()
    if (now !== before) [before, since] = [now, performance.now()]
    else if (performance.now() - since > 350) return done()
    requestAnimationFrame(wait)
  }
  requestAnimationFrame(wait)
})"""
_SCALE = "() => app.canvas.ds.scale"
FREE = (1450, 780)  # where no node lies
_COUNT = "([kind, count]) => app.graph._nodes.filter(one => one.type === kind).length === count"


def empty(editor: Editor) -> None:
    """Nothing on the canvas, all of it seen from a little further away."""
    page = editor.page
    while page.evaluate("() => app.graph._nodes.length"):  # a page that is still busy may miss a key
        page.mouse.click(*FREE)
        page.keyboard.press("Control+a")
        page.keyboard.press("Delete")
        page.wait_for_timeout(200)
    page.mouse.move(800, 450)
    while page.evaluate(_SCALE) > 0.55:
        page.mouse.wheel(0, 120)
        page.wait_for_timeout(50)


def add(editor: Editor, kind: str, name: str, x: float, y: float) -> str:
    """A node by double click and its name, put where the mouse was; its id."""
    page = editor.page
    before = set(editor.ids(kind))
    while not page.evaluate("() => document.activeElement instanceof HTMLInputElement"):
        page.wait_for_timeout(600)  # else a click of before counts as one of these two
        page.mouse.dblclick(x, y)
        page.wait_for_timeout(600)
    search = page.locator(":focus")
    while search.input_value() != name:
        search.fill(name)
        page.wait_for_timeout(200)
    found = page.get_by_role("option").filter(has_text=re.compile(rf"^\s*{name}\b"))
    found.or_(page.get_by_role("dialog").get_by_text(name, exact=True)).first.click(timeout=PATIENCE_MS)
    page.wait_for_function(_COUNT, arg=[kind, len(before) + 1], timeout=PATIENCE_MS)
    page.mouse.move(x + 8, y + 8)  # newer pages let it hang on the mouse until the next click
    page.wait_for_timeout(400)
    page.mouse.click(x + 8, y + 8)
    page.wait_for_timeout(400)
    (new,) = set(editor.ids(kind)) - before
    return new


def select(editor: Editor, id: str) -> None:
    """Click on a node's title."""
    editor.page.mouse.click(*editor.page.evaluate(_ON_SCREEN, [id, 0.6, -14]))


def write(editor: Editor, id: str, words: str) -> None:
    """Look at a turn from near, click into its box, type, and look at all of the graph again."""
    page = editor.page
    select(editor, id)
    look(editor)
    page.mouse.click(*page.evaluate(_ON_SCREEN, [id, 0.5, _box_middle(editor, id)]))
    page.keyboard.press("Control+a")
    page.keyboard.type(words)
    assert editor.value(id, "instruction") == words
    page.mouse.click(*FREE)
    look(editor)


def look(editor: Editor) -> None:
    """The key that shows the selected nodes, or all, in full."""
    editor.page.keyboard.press(".")
    editor.page.evaluate(_LANDED)


def _box_middle(editor: Editor, id: str) -> float:
    """How far below a node's top its box of words has its middle."""
    return editor.page.evaluate(
        """id => {
          const widget = app.graph.getNodeById(id).widgets.find(one => one.name === 'instruction')
          return (widget.last_y ?? widget.y) + (widget.computedHeight ?? 60) / 2
        }""",
        id,
    )


def press(editor: Editor, keys: str, id: str, kind: str = "KontextTurn") -> str:
    """A node's command by keyboard; the id of the node that it adds."""
    before = set(editor.ids(kind))
    select(editor, id)
    editor.page.keyboard.press(keys)
    editor.page.wait_for_function(_COUNT, arg=[kind, len(before) + 1], timeout=PATIENCE_MS)
    (new,) = set(editor.ids(kind)) - before
    return new


def run(editor: Editor) -> dict[str, Json]:
    """Queue; what each node showed at last."""
    editor.queue()
    editor.wait_for("execution_success")
    return {one["node"]: one["images"][0] for one in editor.seen("executed") if one["images"]}


def pixels(client: Client, listed: Json) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(client.view(listed))).convert("RGB"))


@pytest.mark.since_front_end("1.32")  # whose search this person knows
def test_a_branched_chain_from_nothing_and_back_from_its_picture(editor: Editor) -> None:
    """Three turns and a branch, an ellipse on the picture, compared, saved; dropped on an
    empty page it is all back.
    """
    page = editor.page
    empty(editor)
    model = add(editor, "KontextLoadModel", "Kontext Load Model", 400, 160)
    picture = add(editor, "KontextExample", "Kontext Example Picture", 400, 420)
    first = add(editor, "KontextTurn", "Kontext Turn", 700, 160)
    editor.wire((model, "model"), (first, "model"))
    editor.wire((picture, "image"), (first, "image"))

    select(editor, first)
    page.keyboard.press("Alt+d")
    page.locator("dialog.kontext-draw[open]").wait_for(timeout=PATIENCE_MS)
    page.wait_for_timeout(300)
    box = page.locator("dialog.kontext-draw canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.1 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.4 * box["height"], steps=6)
    page.mouse.up()
    page.locator("dialog.kontext-draw").get_by_role("button", name="Done", exact=True).click()
    page.locator("dialog.kontext-draw").wait_for(state="detached", timeout=PATIENCE_MS)
    (mark,) = parse_marks(editor.value(first, "marks"))
    assert mark.kind == "ellipse"

    write(editor, first, "remove the thing in the red ellipse")
    second = press(editor, "Alt+t", first)
    write(editor, second, "make the background sand")
    third = press(editor, "Alt+t", second)
    write(editor, third, "remove the blue circle")
    branch = press(editor, "Alt+b", first)
    write(editor, branch, "make the background snow")
    select(editor, third)
    page.keyboard.down("Shift")
    select(editor, branch)
    page.keyboard.up("Shift")
    page.keyboard.press("Alt+k")
    page.wait_for_function(_COUNT, arg=["KontextCompare", 1], timeout=PATIENCE_MS)
    (compare,) = editor.ids("KontextCompare")
    page.mouse.click(*FREE)
    look(editor)
    save = add(editor, "KontextSaveChain", "Kontext Save Chain", *FREE)
    editor.wire((third, "chain"), (save, "chain"))

    built = run(editor)
    assert {first, second, third, branch, compare, save} <= set(built)
    with Client(editor.url) as client:
        before = {id: pixels(client, built[id]) for id in (first, second, third, branch, compare)}
        assert not np.array_equal(before[third], before[branch])
        saved = client.view(built[save])
        empty(editor)
        editor.drop(saved, "chain.png")
        page.wait_for_function(_COUNT, arg=["KontextTurn", 4], timeout=PATIENCE_MS)
        assert editor.value(third, "instruction") == "remove the blue circle"
        forget(editor.url)
        again = run(editor)
        for id, was in before.items():
            assert np.array_equal(pixels(client, again[id]), was), id
