"""A note and a colour of a turn: seen in its row and its node, kept in the workflow."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from .editor import PATIENCE_MS
from .panel import Panel, three_turns

pytestmark = pytest.mark.comfy

_NOTE = "([id, note]) => app.graph.getNodeById(id).properties['Kontext.note'] === note"
_COLOURS = (
    "id => { const {color, bgcolor} = app.graph.getNodeById(id); return [color ?? null, bgcolor ?? null] }"
)
_IS = f"([id, colours]) => JSON.stringify(({_COLOURS})(id)) === JSON.stringify(colours)"
_LOAD_ANEW = "() => app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize())))"
_PAINT = """([id, colour]) => {
  const node = app.graph.getNodeById(id)
  node.setColorOption(app.canvas.constructor.node_colors[colour])
  app.api.dispatchCustomEvent('graphChanged', {})
}"""


def write_note(panel: Panel, id: str, text: str) -> None:
    """By keyboard alone, from the row on."""
    page = panel.page
    panel.row(id).focus()
    page.keyboard.press("ContextMenu")
    page.get_by_role("menu").wait_for()
    for _ in range(20):
        if "note" in page.evaluate("() => document.activeElement.textContent"):
            break
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(panel.row(id).get_by_role("textbox", name="Note")).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type(text)


def test_a_note_is_written_seen_and_saved_with_the_workflow(panel: Panel) -> None:
    first, second, third = three_turns(panel)
    page = panel.page
    panel.press(second, "More")
    page.get_by_role("menuitem", name="Write a note").click()
    page.keyboard.type("the client likes this one")
    page.keyboard.press("Enter")
    line = panel.row(second).locator(".kontext-note")
    expect(line).to_have_text("the client likes this one")
    expect(line).to_have_attribute("title", "the client likes this one")
    expect(panel.row(second)).to_have_attribute("aria-label", re.compile("the client likes this one"))
    expect(panel.row(second)).to_be_focused()
    assert page.evaluate(_NOTE, [second, "the client likes this one"])
    assert panel.editor.value(second, "instruction") == "paint the blue circle black"

    page.evaluate(_LOAD_ANEW)
    panel.wait_for(first, second, third)
    expect(line).to_have_text("the client likes this one")

    write_note(panel, second, "not this")
    page.keyboard.press("Escape")
    expect(line).to_have_text("the client likes this one")
    write_note(panel, second, "nor this")
    page.keyboard.press("Enter")
    expect(line).to_have_text("nor this")
    panel.editor.undo()
    page.wait_for_function(_NOTE, arg=[second, "the client likes this one"], timeout=PATIENCE_MS)
    expect(line).to_have_text("the client likes this one")
    write_note(panel, second, " ")
    page.keyboard.press("Enter")
    expect(line).to_be_hidden()
    assert page.evaluate("id => 'Kontext.note' in app.graph.getNodeById(id).properties", second) is False


def test_a_colour_is_that_of_row_and_node(panel: Panel) -> None:
    first, second, third = three_turns(panel)
    page = panel.page
    panel.press(second, "More")
    page.get_by_role("menuitemradio", name="Purple").click()
    page.wait_for_function(_IS, arg=[second, ["#323", "#535"]])
    body = panel.row(second).locator(".kontext-body")
    expect(body).to_have_css("border-left-color", "rgb(161, 48, 155)")
    expect(panel.row(second)).to_have_attribute("aria-label", re.compile("Purple"))
    expect(panel.row(first).locator(".kontext-body")).to_have_css("border-left-width", "0px")
    panel.press(second, "More")
    group = page.get_by_role("group", name="Colour")
    expect(group.get_by_role("menuitemradio", checked=True)).to_have_accessible_name("Purple")
    page.keyboard.press("Escape")
    page.evaluate(_LOAD_ANEW)
    panel.wait_for(first, second, third)
    expect(body).to_have_css("border-left-color", "rgb(161, 48, 155)")

    panel.row(second).focus()
    page.keyboard.press("Control+d")
    copy = panel.new_node("KontextTurn", first, second, third)
    assert page.evaluate(_COLOURS, copy) == ["#323", "#535"]
    panel.wait_for(first, second, copy, third)
    panel.press(second, "More")
    page.get_by_role("menuitemradio", name="No colour").click()
    page.wait_for_function(_IS, arg=[second, [None, None]])
    expect(body).to_have_css("border-left-width", "0px")
    panel.editor.undo()
    page.wait_for_function(_IS, arg=[second, ["#323", "#535"]])
    page.evaluate(_PAINT, [third, "green"])
    expect(panel.row(third).locator(".kontext-body")).to_have_css("border-left-color", "rgb(136, 170, 136)")
