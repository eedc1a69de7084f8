"""Drawing on the picture, on the page: by mouse and by keyboard, stored in one step, run, and equal to Python's drawing."""

from __future__ import annotations

import base64
import io
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from PIL import Image
from playwright.sync_api import Locator

from kontext_core.cues import Mark, draw_marks, parse_marks
from kontext_core.images import from_pil
from kontext_core.remote.client import Client
from tools import frontend
from tools.server import Server

from .editor import PATIENCE_MS, Editor

pytestmark = pytest.mark.comfy

_GRAPH = """types => {
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
_MARKS = "id => app.graph.getNodeById(id).widgets.find(one => one.name === 'marks').value"
_BUTTON = """id => {
  const node = app.graph.getNodeById(id), widget = node.widgets.find(one => one.type === 'button')
  const {ds, canvas} = app.canvas, box = canvas.getBoundingClientRect()
  const [x, y] = [node.pos[0] + node.size[0] / 2, node.pos[1] + (widget.last_y ?? widget.y) + 10]
  return [box.left + (x + ds.offset[0]) * ds.scale, box.top + (y + ds.offset[1]) * ds.scale]
}"""
_PAINT = """async ([text, sizes]) => {
  const part = name => import(`/extensions/kontext/js/${name}.js`)
  const [{readMarks}, {loadFont, paint}] = [await part('cue_format'), await part('draw_sheet')]
  const font = await loadFont()
  return sizes.map(([width, height]) => {
    const canvas = Object.assign(document.createElement('canvas'), {width, height})
    const picture = Object.assign(document.createElement('canvas'), {width, height})
    const context = picture.getContext('2d')
    context.fillStyle = '#8090a0'
    context.fillRect(0, 0, width, height)
    paint(canvas, picture, readMarks(text), font)
    return canvas.toDataURL('image/png')
  })
}"""
ALL_KINDS = (
    Mark(kind="ellipse", points=((0.2, 0.2), (0.7, 0.5))),
    Mark(kind="box", points=((0.9, 0.9), (0.1, 0.13)), width=0.01, colour="#0060ff"),
    Mark(kind="arrow", points=((0.1, 0.9), (0.43, 0.5)), width=0.05, colour="#ffffff"),
    Mark(kind="freehand", points=((0.1, 0.1), (0.2, 0.15), (0.3, 0.1), (-0.2, 0.6)), colour="#00b050"),
    Mark(kind="text", points=((0.1, 0.6),), text="Make it Blue, 123", width=0.09, colour="#ffd500"),
    Mark(kind="text", points=((0.71, 0.7),), text="cut\noff gy", width=0.15, colour="#000000"),
)


@pytest.fixture(scope="module", params=[frontend.NEWEST])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The newest front end alone, for time; test_by_hand.py draws on both."""
    with Server(front_end=frontend.get(request.param)) as server:
        yield server


@pytest.fixture(params=["canvas nodes", "vue nodes"])
def nodes(request: pytest.FixtureRequest, editor: Editor) -> Iterator[bool]:
    """Whether the page draws nodes with Vue: once not, once so."""
    set_to = "vue => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', vue)"
    vue = request.param == "vue nodes"
    editor.page.evaluate(set_to, vue)
    yield vue
    editor.page.evaluate(set_to, False)


def build(editor: Editor, *types: str) -> list[str]:
    """A row of nodes, the picture of each wired into the next; their ids."""
    editor.page.evaluate(_GRAPH, list(types))
    editor.page.wait_for_timeout(500)
    return [editor.ids(kind)[0] for kind in types]


def marks(editor: Editor, node: str) -> tuple[Mark, ...]:
    return parse_marks(editor.page.evaluate(_MARKS, node))


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
    return from_pil(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))


def differing(one: torch.Tensor, other: torch.Tensor) -> float:
    """The share of pixels that differ by more than 16 of 255 in any colour."""
    assert one.shape == other.shape
    return ((one - other).abs().amax(-1) > 16 / 255).float().mean().item()


def executed(editor: Editor, node: str, kind: str = "images") -> torch.Tensor:
    """Run the graph; the picture that a node made of it."""
    editor.queue()
    editor.wait_for("execution_success")
    wanted = "([id, kind]) => app.nodeOutputs[id]?.[kind]?.[0]"
    editor.page.wait_for_function(
        wanted, arg=[node, kind], timeout=PATIENCE_MS
    )  # newer pages are not so quick
    file = editor.page.evaluate(wanted, [node, kind])
    editor.page.wait_for_timeout(500)  # the nodes have their places with their pictures
    with Client(editor.url) as client:
        return from_pil(Image.open(io.BytesIO(client.view(file))).convert("RGB"))


def test_an_ellipse_by_mouse_is_stored_in_one_step_and_runs(editor: Editor, nodes: bool) -> None:
    page = editor.page
    _, cue, _ = build(editor, "KontextExample", "KontextVisualCue", "PreviewImage")
    plain = executed(editor, cue)
    before = editor.graph()
    if nodes:
        page.locator("button", has_text="Draw on the picture").first.click()
    else:
        page.mouse.click(*page.evaluate(_BUTTON, cue))
    opened(editor)
    assert differing(shown(editor), plain) == 0, "it is drawn upon the picture that comes in"
    drag(editor, (0.25, 0.25), (0.75, 0.625))
    seen = shown(editor)
    button(editor, "Done").click()
    closed(editor)
    (mark,) = marks(editor, cue)
    assert mark.kind == "ellipse"
    for point, wanted in zip(mark.points, ((0.25, 0.25), (0.75, 0.625)), strict=True):
        assert point == pytest.approx(wanted, abs=0.005)
    drawn = executed(editor, cue)
    assert differing(drawn, plain) > 0.02, "the picture that ran has the ellipse"
    assert differing(drawn, draw_marks(plain, (mark,))) == 0
    assert differing(drawn, seen) < 0.01, "and it is what was seen in the editor"
    assert differing(executed(editor, cue, "beneath"), plain) == 0
    editor.select(cue)
    page.keyboard.press("Control+z")
    page.wait_for_function(f"id => ({_MARKS})(id) === ''", arg=cue, timeout=PATIENCE_MS)
    after = editor.graph()
    for node in (*after["nodes"], *before["nodes"]) if nodes else ():
        del node["pos"]  # the older page moves Vue nodes when it loads a graph
    assert after == before


def test_every_tool_by_mouse_and_escape_leaves_all_as_it_was(editor: Editor) -> None:
    page = editor.page
    _, cue = build(editor, "KontextExample", "KontextVisualCue")
    command(editor, cue)
    page.locator("dialog.kontext-draw").get_by_label("Box").check(force=True)
    drag(editor, (0.1, 0.1), (0.3, 0.3))
    page.keyboard.press("a")
    drag(editor, (0.1, 0.9), (0.4, 0.6))
    page.keyboard.press("f")
    drag(editor, (0.6, 0.1), (0.7, 0.3), (0.9, 0.1))
    page.keyboard.press("w")
    drag(editor, (0.2, 0.5))
    page.keyboard.type("vast, webbed")  # letters are tools' keys too
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    closed(editor)
    found = marks(editor, cue)
    assert [mark.kind for mark in found] == ["box", "arrow", "freehand", "text"]
    assert found[3].text == "vast, webbed"
    assert 3 <= len(found[2].points) < 20
    graph = editor.graph()
    command(editor, cue)
    assert differing(shown(editor), draw_marks(torch.ones(1, 1024, 1024, 3), found)) < 0.01, (
        "they are there again"
    )
    button(editor, "Clear").click()
    page.keyboard.press("Escape")
    closed(editor)
    assert editor.graph() == graph


def test_marks_are_selected_moved_reshaped_coloured_and_deleted(editor: Editor) -> None:
    page = editor.page
    _, cue = build(editor, "KontextExample", "KontextVisualCue")
    command(editor, cue)
    drag(editor, (0.2, 0.2), (0.4, 0.4))
    page.keyboard.press("b")
    drag(editor, (0.6, 0.6), (0.8, 0.8))
    page.keyboard.press("v")
    drag(editor, (0.2, 0.3), (0.3, 0.3))  # the ellipse, by its left end
    drag(editor, (0.5, 0.4), (0.5, 0.5))  # its lower right grip
    page.locator("dialog.kontext-draw").get_by_label("Colour").fill("#0060ff")
    page.keyboard.press("Control+Enter")
    closed(editor)
    ellipse, box = marks(editor, cue)
    assert ellipse.points[0] == pytest.approx((0.3, 0.2), abs=0.01)
    assert ellipse.points[1] == pytest.approx((0.5, 0.5), abs=0.01)
    assert (ellipse.colour, box.colour) == ("#0060ff", "#ee0d14")
    command(editor, cue)
    page.keyboard.press("v")
    drag(editor, (0.6, 0.7))
    page.keyboard.press("Delete")
    page.keyboard.press("Enter")
    closed(editor)
    assert marks(editor, cue) == (ellipse,)


def test_by_keyboard_alone_with_undo_that_leaves_the_graph_alone(editor: Editor) -> None:
    page = editor.page
    _, cue = build(editor, "KontextExample", "KontextVisualCue")
    graph = editor.graph()
    command(editor, cue)
    for keys in ("b", "Space", "ArrowRight", "ArrowRight", "Shift+ArrowDown", "a", "Space"):
        page.keyboard.press(keys)
    for keys in ("Control+z", "Control+z", "Control+y", "Control+z", "Control+y"):
        page.keyboard.press(keys)
    button(editor, "Undo").focus()
    page.keyboard.press("Control+z")  # also while a button has the focus
    page.keyboard.press("Control+Shift+z")
    page.wait_for_timeout(300)
    assert editor.graph() == graph
    page.keyboard.press("Control+Enter")
    closed(editor)
    (mark,) = marks(editor, cue)
    assert mark.kind == "box"
    assert mark.points == ((0.37, 0.35), (0.67, 0.66))


def test_wheel_and_buttons_zoom_and_the_middle_button_moves(editor: Editor) -> None:
    page = editor.page
    _, cue = build(editor, "KontextExample", "KontextVisualCue")
    command(editor, cue)
    canvas = page.locator("dialog.kontext-draw canvas")
    first = canvas.bounding_box()
    assert first is not None
    x, y = first["x"] + first["width"] / 4, first["y"] + first["height"] / 4
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    page.wait_for_timeout(200)
    near = canvas.bounding_box()
    assert near is not None
    assert near["width"] > 1.5 * first["width"]
    assert near["x"] + near["width"] / 4 == pytest.approx(x, abs=1), "the point under the pointer stays"
    page.mouse.down(button="middle")
    page.mouse.move(x + 50, y + 20, steps=3)
    page.mouse.up(button="middle")
    page.wait_for_timeout(200)
    moved = canvas.bounding_box()
    assert moved is not None
    assert (moved["x"] - near["x"], moved["y"] - near["y"]) == pytest.approx((50, 20), abs=1)
    drag(editor, (0.3, 0.3), (0.4, 0.4))
    button(editor, "Fit").click()
    page.wait_for_timeout(200)
    assert canvas.bounding_box() == pytest.approx(first)
    button(editor, "Done").click()
    closed(editor)
    assert marks(editor, cue)[0].points[1] == pytest.approx((0.4, 0.4), abs=0.01), (
        "zoomed in, it is the same place"
    )


@pytest.mark.parametrize("kind", ["KontextEdit", "KontextReference"])
def test_on_another_node_a_cue_is_put_before_its_picture(editor: Editor, kind: str) -> None:
    page = editor.page
    example, node = build(editor, "KontextExample", kind)
    before = editor.graph()
    command(editor, node)
    drag(editor, (0.2, 0.2), (0.6, 0.6))
    page.keyboard.press("Enter")
    closed(editor)
    (cue,) = editor.ids("KontextVisualCue")
    assert editor.fed_by(node, "image") == cue
    assert editor.fed_by(cue, "image") == example
    assert [mark.kind for mark in marks(editor, cue)] == ["ellipse"]
    for a, b in itertools.combinations(editor.boxes(), 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], "nothing overlaps"
    command(editor, node)  # the second time it is the same cue
    drag(editor, (0.7, 0.7), (0.9, 0.9))
    page.keyboard.press("Enter")
    closed(editor)
    assert editor.ids("KontextVisualCue") == [cue]
    assert len(marks(editor, cue)) == 2
    for left in (1, 0):
        editor.select(node)
        page.keyboard.press("Control+z")
        page.wait_for_function(
            """count => {
              const cues = app.graph._nodes.filter(node => node.type === 'KontextVisualCue')
              return cues.length === count && !(count && cues[0].widgets[0].value.match(/kind/g).length > 1)
            }""",
            arg=left,
            timeout=PATIENCE_MS,
        )
    assert editor.graph() == before


def test_a_turn_of_a_chain_is_drawn_for_in_its_chain(editor: Editor) -> None:
    """Upon the picture that it goes on from; as one step of undo; and what runs has seen it."""
    page = editor.page
    editor.open("five_turn_chain")
    turns = editor.ids("KontextTurn")
    first, second = turns[:2]
    page.evaluate("ids => ids.forEach(id => app.graph.remove(app.graph.getNodeById(id)))", turns[2:])
    page.wait_for_timeout(500)
    for id in (first, second):
        editor.set(id, {"steps": 2})
    before = editor.graph()
    command(editor, second)
    page.get_by_text("The picture is not known yet").wait_for(timeout=PATIENCE_MS)
    page.keyboard.press("Escape")
    closed(editor)
    assert editor.graph() == before
    start, plain = executed(editor, first), executed(editor, second)
    command(editor, second)
    assert differing(shown(editor), start) == 0, "it is drawn upon the last picture of its chain"
    drag(editor, (0.2, 0.2), (0.6, 0.6))
    page.keyboard.press("Enter")
    closed(editor)
    (mark,) = marks(editor, second)
    assert mark.kind == "ellipse"
    assert "\n" not in page.evaluate(_MARKS, second)
    assert editor.fed_by(second, "chain") == first
    assert editor.ids("KontextVisualCue") == []
    drawn = executed(editor, second)
    assert not torch.equal(drawn, plain)
    text = page.evaluate("id => app.nodeOutputs[id].text", second)
    assert text == ["turn 2, 1 mark drawn for it"]
    command(editor, second)
    assert differing(shown(editor), draw_marks(start, (mark,))) < 0.01, "it is there again"
    page.keyboard.press("Escape")
    closed(editor)
    editor.select(second)
    page.keyboard.press("Control+z")
    page.wait_for_function(f"id => ({_MARKS})(id) === ''", arg=second, timeout=PATIENCE_MS)


def test_without_a_fitting_node_it_says_what_to_do(editor: Editor) -> None:
    (example,) = build(editor, "KontextExample")
    editor.select(example)
    editor.page.keyboard.press("Alt+d")
    editor.page.get_by_text("Select a Kontext Visual Cue").first.wait_for(timeout=PATIENCE_MS)
    assert editor.page.locator("dialog.kontext-draw").count() == 0


def test_what_cannot_be_read_is_said_and_kept_until_something_is_drawn(editor: Editor) -> None:
    page = editor.page
    _, cue = build(editor, "KontextExample", "KontextVisualCue")
    editor.set(cue, {"marks": "<img src=x onerror=alert(1)>"})
    command(editor, cue)
    page.get_by_text("the marks are not JSON").wait_for(timeout=PATIENCE_MS)
    assert page.locator("dialog.kontext-draw img").count() == 0, "it is shown as text"
    page.keyboard.press("Enter")
    closed(editor)
    assert page.evaluate(_MARKS, cue) == "<img src=x onerror=alert(1)>"


def test_the_canvas_agrees_with_python_at_every_size(editor: Editor) -> None:
    """Fewer than one pixel in a hundred differs by more than 16 of 255, in any colour."""
    sizes = [(128, 128), (320, 200), (1024, 1024), (880, 1184)]
    text = json.dumps({"version": 1, "marks": [vars(mark) for mark in ALL_KINDS]})
    pages: list[Any] = editor.page.evaluate(_PAINT, [text, sizes])
    for (width, height), url in zip(sizes, pages, strict=True):
        sheet = (torch.tensor([0x80, 0x90, 0xA0]) / 255).expand(1, height, width, 3)
        wanted = draw_marks(sheet, ALL_KINDS)
        share = differing(picture(url), wanted)
        assert share < 0.01, f"{width} x {height}: {share:.2%}"
        assert differing(wanted, sheet.clone()) > 0.05, "there is something to compare"
