"""Drawing where an edit may reach: by mouse, pen and keyboard, on both front ends; run, as Python has it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from playwright.sync_api import expect

from kontext_core.images.marks import Mark, marks_to, mask_of

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
from .panel import Panel

pytestmark = pytest.mark.comfy
_MASK = """async ([text, sizes]) => {
  const part = name => import(`/extensions/kontext/js/${name}.js`)
  const [{readMarks}, {loadFont, paintedMask}] = [await part('marks/format'), await part('draw/canvas')]
  const font = await loadFont()
  return sizes.map(([width, height]) => paintedMask({width, height}, readMarks(text), font).toDataURL('image/png'))
}"""
_LABEL = "id => app.graph.getNodeById(id).widgets.find(one => one.type === 'button').label"
# The menu's item that wires a node with the text.
_WIRE = """id => {
  const node = app.graph.getNodeById(id)
  const items = app.extensions.flatMap(one => one.getNodeMenuItems?.(node) ?? [])
  items.find(one => one?.content === 'Kontext: Take the marks from a text').callback()
}"""
_VUE = "vue => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', vue)"
AREAS = (
    Mark(kind="ellipse", points=((0.2, 0.2), (0.7, 0.5)), mask=True),
    Mark(kind="box", points=((0.9, 0.9), (0.55, 0.43)), mask=True),
    Mark(kind="freehand", points=((0.1, 0.5), (0.3, 0.55), (0.3, 1.2), (-0.2, 0.6)), mask=True),
    Mark(kind="brush", points=((0.1, 0.1), (0.6, 0.6)), width=0.1, mask=True),
    Mark(kind="brush", points=((0.4, 0.3), (0.7, 0.7), (0.8, 0.3)), width=0.07, mask=True, erase=True),
    Mark(kind="brush", points=((0.65, 0.6),), width=0.05, mask=True),
)


def document(*drawn: Mark) -> str:
    version = 2 if any(mark.mask for mark in drawn) else 1
    return json.dumps({"version": version, "marks": marks_to(drawn)})


def mode(editor: Editor, name: str) -> None:
    """Choose one of the switch's two sides."""
    editor.page.locator("dialog.kontext-draw").get_by_label(name, exact=True).check(force=True)


def test_every_tool_draws_the_area_of_a_later_turn_and_nothing_else_changes(panel: Panel) -> None:
    editor, page = panel.editor, panel.editor.page
    page.set_viewport_size({"width": 1440, "height": 900})
    editor.open("five_turn_chain")
    turns = editor.ids("KontextTurn")
    page.evaluate("ids => ids.forEach(id => app.graph.remove(app.graph.getNodeById(id)))", turns[3:])
    second, third = turns[1:3]
    for id in turns[:3]:
        editor.set(id, {"steps": 2})
    editor.set(third, {"feather": 0})
    before = executed(editor, second)
    command(editor, third)
    drag(editor, (0.05, 0.05), (0.15, 0.15))
    assert differing(shown(editor), before) > 0.005
    page.keyboard.press("m")
    bar = page.locator(".kontext-draw-bar").bounding_box()
    assert bar is not None
    assert bar["height"] < 2 * 30, "the tools stand in one row on a laptop"
    for name in ("Arrow", "Words", "Colour"):
        expect(page.locator("dialog.kontext-draw").get_by_label(name, exact=False).first).to_be_hidden()
    page.keyboard.press("e")
    drag(editor, (0.5, 0.1), (0.9, 0.4))
    drawn = shown(editor)
    light, dark = drawn[0, drawn.shape[1] // 4, int(0.7 * drawn.shape[2])], drawn[0, -2, -2]
    assert dark.mean() < 0.6 * before[0, -2, -2].mean(), "what may not change is darker"
    assert light.mean() > dark.mean()
    page.keyboard.press("b")
    drag(editor, (0.5, 0.5), (0.7, 0.7))
    page.keyboard.press("f")
    drag(editor, (0.8, 0.6), (0.95, 0.65), (0.9, 0.95), (0.75, 0.9))
    page.keyboard.press("p")
    drag(editor, (0.4, 0.8), (0.6, 0.9))
    page.keyboard.press("r")
    page.keyboard.press("[")
    drag(editor, (0.6, 0.6))
    button(editor, "Done").click()
    closed(editor)
    found = marks(editor, third)
    assert [(mark.kind, mark.mask, mark.erase) for mark in found] == [
        ("ellipse", False, False),
        ("ellipse", True, False),
        ("box", True, False),
        ("freehand", True, False),
        ("brush", True, False),
        ("brush", True, True),
    ]
    assert found[5].points[0] == pytest.approx((0.6, 0.6), abs=0.005)
    assert found[4].width == pytest.approx(0.08)
    assert found[5].width == pytest.approx(0.064)
    assert "\n" not in page.evaluate(MARKS, third)
    assert page.evaluate(_LABEL, third) == "1 mark, area drawn"
    made = executed(editor, third)
    (text,) = page.evaluate("id => app.nodeOutputs[id].text", third)
    assert text.splitlines()[0] == "turn 3, 1 mark drawn for it, area drawn"
    mask = mask_of(found, *made.shape[1:3])
    changed = (made != before).any(-1)[0]
    assert not changed[mask == 0].any(), "outside every pixel is as it was"
    assert changed[mask > 0].float().mean() > 0.3
    outline = panel.row(third).locator(".kontext-thumbnail svg.kontext-area mask path")
    expect(outline).to_have_count(5)
    expect(panel.row(second).locator("svg.kontext-area")).to_have_count(0)
    editor.change(third, {"marks": ""})
    expect(outline).to_have_count(0)
    page.wait_for_function(f"id => ({_LABEL})(id) === 'Draw on the picture'", arg=third, timeout=PATIENCE_MS)


def test_marks_and_areas_are_changed_in_their_own_mode(editor: Editor) -> None:
    page = editor.page
    _, cue = build(editor, "KontextExample", "KontextVisualCue")
    command(editor, cue)
    drag(editor, (0.2, 0.2), (0.4, 0.4))
    mode(editor, "Only change inside")
    page.keyboard.press("b")
    drag(editor, (0.1, 0.1), (0.6, 0.6))
    page.keyboard.press("e")
    drag(editor, (0.7, 0.7), (0.9, 0.9))
    page.keyboard.press("v")
    drag(editor, (0.3, 0.5), (0.4, 0.6))  # within the box, which is moved; the ellipse of the marks stays
    drag(editor, (0.8, 0.8))
    page.keyboard.press("Delete")
    button(editor, "Done").click()
    closed(editor)
    ellipse, box = marks(editor, cue)
    assert (ellipse.mask, box.mask) == (False, True)
    assert box.points[0] == pytest.approx((0.2, 0.2), abs=0.005)
    assert box.points[1] == pytest.approx((0.7, 0.7), abs=0.005)
    command(editor, cue)
    page.keyboard.press("v")
    drag(editor, (0.2, 0.3), (0.3, 0.3))
    button(editor, "Clear").click()
    button(editor, "Done").click()
    closed(editor)
    assert marks(editor, cue) == (box,), "Clear takes what is of the mode"
    command(editor, cue)  # nothing but an area: it begins in its mode
    expect(page.locator("dialog.kontext-draw").get_by_label("Only change inside")).to_be_checked()
    button(editor, "Clear").click()
    button(editor, "Undo").click()
    button(editor, "Clear").click()
    expect(button(editor, "Clear")).to_be_disabled()  # the focus has gone back to the picture
    page.keyboard.press("Enter")
    closed(editor)
    assert page.evaluate(MARKS, cue) == ""


def test_by_keyboard_alone(editor: Editor) -> None:
    page = editor.page
    _, cue = build(editor, "KontextExample", "KontextVisualCue")
    command(editor, cue)
    for keys in ("m", "p", "Space", "ArrowRight", "]", "]", "r", "Space", "[", "PageUp", "ArrowDown"):
        page.keyboard.press(keys)
    for keys in ("Control+z", "Control+y", "e", "Space", "Delete", "Control+z"):
        page.keyboard.press(keys)
    page.keyboard.press("Control+Enter")
    closed(editor)
    brush, eraser, ellipse = marks(editor, cue)
    assert (brush.kind, brush.erase, eraser.erase, ellipse.kind) == ("brush", False, True, "ellipse")
    assert brush.points == ((0.51, 0.51),)
    assert brush.width == pytest.approx(0.08 * 1.25**2)
    assert eraser.width == pytest.approx(0.08 * 1.25)
    assert all(mark.mask for mark in (brush, eraser, ellipse))


def test_a_pen_paints(editor: Editor) -> None:
    page = editor.page
    _, cue = build(editor, "KontextExample", "KontextVisualCue")
    command(editor, cue)
    page.keyboard.press("m")
    box = page.locator("dialog.kontext-draw canvas").bounding_box()
    assert box is not None
    session = page.context.new_cdp_session(page)
    steps = (("mousePressed", 0.3), ("mouseMoved", 0.5), ("mouseMoved", 0.7), ("mouseReleased", 0.7))
    for kind, share in steps:
        place = {"x": box["x"] + share * box["width"], "y": box["y"] + box["height"] / 2}
        session.send(
            "Input.dispatchMouseEvent",
            {"type": kind, **place, "button": "left", "buttons": 1, "clickCount": 1, "pointerType": "pen"},
        )
    page.keyboard.press("Enter")
    closed(editor)
    (stroke,) = marks(editor, cue)
    assert (stroke.kind, stroke.mask) == ("brush", True)
    assert stroke.points[0] == pytest.approx((0.3, 0.5), abs=0.005)
    assert stroke.points[-1] == pytest.approx((0.7, 0.5), abs=0.005)


@NEWEST_ALONE
def test_the_area_of_an_edit_goes_to_its_mask(editor: Editor) -> None:
    page = editor.page
    _, edit = build(editor, "KontextExample", "KontextEdit")
    command(editor, edit)
    page.keyboard.press("m")
    drag(editor, (0.5, 0.5), (0.7, 0.5))
    page.keyboard.press("Enter")
    closed(editor)
    (cue,) = editor.ids("KontextVisualCue")
    assert editor.fed_by(edit, "image") == cue
    assert editor.fed_by(edit, "mask") == cue
    command(editor, edit)
    drag(editor, (0.2, 0.2), (0.3, 0.2))
    page.keyboard.press("Enter")
    closed(editor)
    assert len(marks(editor, cue)) == 2, "the second time it is the same cue"
    editor.undo_until("() => app.graph._nodes.every(node => node.type !== 'KontextVisualCue')", None)
    assert editor.fed_by(edit, "mask") is None


def test_the_marks_are_saved_and_not_shown(editor: Editor) -> None:
    page = editor.page
    for vue in (False, True):
        page.evaluate(_VUE, vue)
        _, cue = build(editor, "KontextExample", "KontextVisualCue")
        text = document(AREAS[0], Mark(kind="box", points=((0.1, 0.1), (0.4, 0.4))))
        editor.change(cue, {"marks": text})
        page.wait_for_function(f"id => ({_LABEL})(id) === '1 mark, area drawn'", arg=cue, timeout=PATIENCE_MS)
        if vue:
            expect(page.locator("button", has_text="1 mark, area drawn")).to_be_visible()
        else:
            page.mouse.click(*page.evaluate(BUTTON, cue))
            opened(editor)
            page.keyboard.press("Escape")
            closed(editor)
        for field in page.locator("textarea").all():
            assert not field.is_visible() or '"marks"' not in field.input_value()
        saved = page.evaluate("() => JSON.stringify(app.graph.serialize())")
        (node,) = [one for one in json.loads(saved)["nodes"] if str(one["id"]) == cue]
        assert text in node["widgets_values"]
        page.evaluate("saved => app.loadGraphData(JSON.parse(saved))", saved)
        page.wait_for_function(f"id => ({_LABEL})(id) === '1 mark, area drawn'", arg=cue, timeout=PATIENCE_MS)
        assert page.evaluate(MARKS, cue) == text
        prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
        assert prompt[cue]["inputs"]["marks"] == text
        page.evaluate(_WIRE, cue)
        source = editor.fed_by(cue, "marks")
        assert source is not None
        prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
        assert prompt[cue]["inputs"]["marks"] == [source, 0], "they can come by a wire"
        assert prompt[source]["inputs"]["value"] == text
        page.wait_for_function(
            f"id => ({_LABEL})(id) === 'Draw on the picture'", arg=cue, timeout=PATIENCE_MS
        )


def test_the_page_masks_what_python_masks(editor: Editor) -> None:
    """Fewer than one pixel in a hundred differs by more than 16 of 255."""
    sizes = [(128, 128), (320, 200), (1024, 1024), (880, 1184)]
    pages: list[Any] = editor.page.evaluate(_MASK, [document(*AREAS), sizes])
    for (width, height), url in zip(sizes, pages, strict=True):
        wanted = mask_of(AREAS, height, width)[None, ..., None].expand(-1, -1, -1, 3)
        share = differing(picture(url), wanted)
        assert share < 0.01, f"{width} x {height}: {share:.2%}"
        assert 0.2 < wanted.mean() < 0.8, "there is something to compare"
    assert torch.equal(mask_of(AREAS[4:5], 64, 64), torch.zeros(64, 64)), "an eraser alone leaves nothing"
