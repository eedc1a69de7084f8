"""Drawing on the picture, on the page: by mouse and by keyboard, stored in one step, run, and
equal to Python's drawing.

On the newest front end alone, for time; test_by_hand.py draws on both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from kontext_core.images.marks import Mark, draw_marks

from .drawing import (
    BUTTON,
    MARKS,
    NEWEST_ALONE,
    build,
    button,
    closed,
    command,
    differing,
    drag,
    executed,
    marks,
    opened,
    picture,
    shown,
)
from .editor import PATIENCE_MS, Editor

pytestmark = [pytest.mark.comfy, NEWEST_ALONE]
_PAINT = """async ([text, sizes]) => {
  const part = name => import(`/extensions/kontext/js/${name}.js`)
  const [{readMarks}, {loadFont, paint}] = [await part('marks/format'), await part('draw/canvas')]
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


@pytest.fixture(params=["canvas nodes", "vue nodes"])
def nodes(request: pytest.FixtureRequest, editor: Editor) -> Iterator[bool]:
    """Whether the page draws nodes with Vue: once not, once so."""
    set_to = "vue => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', vue)"
    vue = request.param == "vue nodes"
    editor.page.evaluate(set_to, vue)
    yield vue
    editor.page.evaluate(set_to, False)


def test_an_ellipse_by_mouse_is_stored_in_one_step_and_runs(editor: Editor, nodes: bool) -> None:
    page = editor.page
    _, cue, _ = build(editor, "KontextExample", "KontextVisualCue", "PreviewImage")
    plain = executed(editor, cue)
    before = editor.graph()
    if nodes:
        page.locator("button", has_text="Draw on the picture").first.click()
    else:
        page.mouse.click(*page.evaluate(BUTTON, cue))
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
    page.wait_for_function(f"id => ({MARKS})(id) === ''", arg=cue, timeout=PATIENCE_MS)
    after = editor.graph()
    for node in (*after["nodes"], *before["nodes"]) if nodes else ():
        del node["pos"]  # the older page moves Vue nodes when it loads a graph
    assert after == before


def test_every_tool_by_mouse_and_escape_leaves_all_as_it_was(editor: Editor) -> None:
    page = editor.page
    page.set_viewport_size({"width": 1440, "height": 900})
    _, cue = build(editor, "KontextExample", "KontextVisualCue")
    command(editor, cue)
    bar = page.locator(".kontext-draw-bar").bounding_box()
    assert bar is not None
    assert bar["height"] < 2 * 30, "the tools stand in one row on a laptop"
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


def test_words_are_wrapped_at_the_pictures_edge_or_it_is_said(editor: Editor) -> None:
    page = editor.page
    _, cue = build(editor, "KontextExample", "KontextVisualCue")
    command(editor, cue)
    page.keyboard.press("w")
    drag(editor, (0.5, 0.1))
    page.keyboard.type("the hat of the man on the left")
    assert page.get_by_text("lie outside the picture").count() == 0
    page.keyboard.press("Enter")
    drag(editor, (0.5, 0.6))
    page.keyboard.type("Donaudampfschifffahrt")
    page.get_by_text("lie outside the picture").wait_for(timeout=PATIENCE_MS)
    page.keyboard.press("Escape")  # not these
    page.keyboard.press("Control+Enter")
    closed(editor)
    (mark,) = marks(editor, cue)
    lines = mark.text.split("\n")
    assert len(lines) > 1
    assert " ".join(lines) == "the hat of the man on the left"
    sheet = torch.ones(1, 512, 512, 3)
    assert torch.equal(draw_marks(sheet, (mark,))[:, :, -1], sheet[:, :, -1]), "no letter is cut off"

    # Changed words are wrapped anew, and those that are moved over the edge are spoken of.
    command(editor, cue)
    page.keyboard.press("v")
    drag(editor, (0.52, 0.12), (0.52, 0.95))
    page.get_by_text("lie outside the picture").wait_for(timeout=PATIENCE_MS)
    page.keyboard.press("Escape")
    closed(editor)


def test_what_cannot_be_read_is_said_and_kept_until_something_is_drawn(editor: Editor) -> None:
    page = editor.page
    _, cue = build(editor, "KontextExample", "KontextVisualCue")
    editor.set(cue, {"marks": "<img src=x onerror=alert(1)>"})
    command(editor, cue)
    page.get_by_text("the marks are not JSON").wait_for(timeout=PATIENCE_MS)
    assert page.locator("dialog.kontext-draw img").count() == 0, "it is shown as text"
    page.keyboard.press("Enter")
    closed(editor)
    assert page.evaluate(MARKS, cue) == "<img src=x onerror=alert(1)>"


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
