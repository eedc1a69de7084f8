"""The chain panel by keyboard and with several turns at once: typing writes a turn, Ctrl and
Shift add to what is selected.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from .editor import PATIENCE_MS
from .panel import SEEDS, Panel, three_turns

pytestmark = pytest.mark.comfy
_STOPS = """() => [...document.querySelectorAll('.kontext-panel *')]
  .filter(one => one.tabIndex >= 0 && one.offsetParent).length"""


def selected(panel: Panel) -> list[str]:
    return [row["id"] for row in panel.rows() if row["selected"]]


def typed(page: Page) -> tuple[str, str]:
    """The class of what has the focus, and what stands in it."""
    name, value = page.evaluate(
        "() => [document.activeElement.className, document.activeElement.value ?? '']"
    )
    return name, value


@pytest.mark.parametrize("modifier", ["Control", "Shift"])
def test_two_turns_are_selected_and_compared(panel: Panel, modifier: str) -> None:
    first, second, third = three_turns(panel)
    panel.row(third).locator(".kontext-words").click()
    panel.row(first).locator(".kontext-words").click(modifiers=[modifier])
    assert sorted(panel.editor.selected()) == sorted([first, third])
    assert selected(panel) == [first, third]
    panel.page.keyboard.press("Alt+k")
    compare = panel.new_node("KontextCompare")
    assert (panel.editor.fed_by(compare, "chain"), panel.editor.fed_by(compare, "other")) == (first, third)

    panel.row(second).locator(".kontext-words").click()
    assert selected(panel) == [second]
    panel.row(third).locator(".kontext-words").click(modifiers=[modifier])
    panel.row(third).locator(".kontext-words").click(modifiers=[modifier])
    assert panel.editor.selected() == [second], "once more takes it back"
    panel.row(second).focus()
    panel.page.keyboard.press("Shift+ArrowDown")
    assert selected(panel) == [second, third]
    panel.press(third, "Compare")
    other = panel.new_node("KontextCompare", compare)
    assert (panel.editor.fed_by(other, "chain"), panel.editor.fed_by(other, "other")) == (second, third)


def test_what_is_typed_behind_a_new_turns_key_is_its_instruction(panel: Panel) -> None:
    turns = three_turns(panel)
    page, editor = panel.page, panel.editor
    panel.row(turns[0]).locator(".kontext-words").click()
    for keys, parent in (("Alt+t", turns[2]), ("Alt+b", turns[0])):
        before = editor.ids("KontextTurn")
        panel.row(turns[0]).focus()
        page.keyboard.press(keys)
        new = panel.new_node("KontextTurn", *before)
        expect(panel.row(new).locator(".kontext-edit")).to_be_focused(timeout=PATIENCE_MS)
        page.keyboard.type("now it is night")  # n opens the node library elsewhere
        page.keyboard.press("Enter")
        expect(panel.row(new)).to_be_focused(timeout=PATIENCE_MS)
        assert editor.value(new, "instruction") == "now it is night"
        assert editor.fed_by(new, "chain") == parent
    before = editor.ids("KontextTurn")
    page.keyboard.press("Alt+t")
    new = panel.new_node("KontextTurn", *before)
    expect(panel.row(new).locator(".kontext-edit")).to_be_focused(timeout=PATIENCE_MS)
    page.keyboard.press("Control+z")  # nothing is written: the turn is what is taken back
    expect(panel.row(new)).to_have_count(0, timeout=PATIENCE_MS)
    assert editor.ids("KontextTurn") == before


def test_letters_on_a_row_are_words_and_no_shortcuts(panel: Panel) -> None:
    first, second, _ = three_turns(panel)
    page, editor = panel.page, panel.editor
    panel.row(first).focus()
    page.keyboard.press("n")
    assert typed(page) == ("kontext-edit", "n")
    page.keyboard.type("ow it is r w q")
    page.keyboard.press("Enter")
    assert editor.value(first, "instruction") == "now it is r w q"
    panel.row(second).focus()
    page.keyboard.press("w")
    page.keyboard.press("Escape")  # what came up, then the text
    page.keyboard.press("Escape")
    expect(panel.row(second)).to_be_focused(timeout=PATIENCE_MS)
    assert editor.value(second, "instruction") == "paint the blue circle black"
    page.get_by_role("slider", name="Before and after").or_(
        panel.row(second).get_by_role("button").first
    ).last.focus()
    page.keyboard.press("n")
    expect(page.locator(".kontext-panel")).to_be_visible()


def test_few_stops_of_the_tab_key_and_what_is_new_is_said(panel: Panel) -> None:
    page, editor = panel.page, panel.editor
    editor.open("five_turn_chain")
    turns = editor.ids("KontextTurn")
    panel.wait_for(*turns)
    assert page.evaluate(_STOPS) <= 10, (
        "the head, the current row, its buttons, and the line between the pictures"
    )
    panel.row(turns[3]).focus()
    expect(panel.row(turns[3]).get_by_role("button").first).to_have_attribute("tabindex", "0")
    expect(panel.row(turns[0]).get_by_role("button").first).to_have_attribute("tabindex", "-1")
    live = page.locator(".kontext-news")
    assert live.get_attribute("aria-live") == "polite"
    page.evaluate(
        """() => {
          window.said = []
          const news = document.querySelector('.kontext-news')
          new MutationObserver(() => said.push(news.textContent)).observe(news, {childList: true, characterData: true, subtree: true})
        }"""
    )
    editor.set(turns[0], {"seed": next(SEEDS)})
    editor.run()
    panel.wait_for_states(dict.fromkeys(turns, "finished"))
    said = "; ".join(page.evaluate("() => said"))
    assert all(f"Turn {number}, finished" in said for number in range(1, 6)), said


def test_a_new_name_is_seen_at_once(panel: Panel) -> None:
    first, second, _ = three_turns(panel)
    panel.page.evaluate("id => { app.graph.getNodeById(id).title = 'the hat' }", first)
    expect(panel.row(first).locator(".kontext-name")).to_have_text("the hat", timeout=PATIENCE_MS)
    panel.page.evaluate("id => { app.graph.getNodeById(id).mode = 4 }", first)
    panel.wait_for_states({first: "off"})
    expect(panel.row(second).locator(".kontext-name")).to_have_text("Turn 1")


def test_edits_are_followed_as_turns_are(panel: Panel) -> None:
    """A new one's words are written in the panel, and its node's selection, name and
    mode are seen there at once.
    """
    page, editor = panel.page, panel.editor
    editor.open("single_edit")
    (first,) = editor.ids("KontextEdit")
    panel.wait_for(first)
    before = editor.value(first, "instruction")
    panel.press(first, "Add turn")
    second = panel.new_node("KontextEdit", first)
    panel.wait_for(first, second)
    expect(panel.row(second).locator(".kontext-edit")).to_be_focused(timeout=PATIENCE_MS)
    page.keyboard.type("make it blue")
    page.keyboard.press("Enter")
    assert (editor.value(first, "instruction"), editor.value(second, "instruction")) == (
        before,
        "make it blue",
    )
    editor.select(first)
    expect(panel.row(first)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Alt+t")
    third = panel.new_node("KontextEdit", first, second)
    expect(panel.row(third).locator(".kontext-edit")).to_be_focused(timeout=PATIENCE_MS)
    page.keyboard.press("Escape")
    page.evaluate("id => { app.graph.getNodeById(id).title = 'mine' }", second)
    expect(panel.row(second).locator(".kontext-name")).to_have_text("mine")
    page.evaluate("id => { app.graph.getNodeById(id).mode = 4 }", second)
    panel.wait_for_states({second: "off"})


def test_a_text_that_is_left_for_another_does_not_take_the_focus_back(panel: Panel) -> None:
    first, second, _ = three_turns(panel)
    page, editor = panel.page, panel.editor
    for left, entered in ((first, second), (second, first)):
        panel.press(left, "Edit the instruction")
        page.keyboard.type(f"words of {left}")
        panel.press(entered, "Edit the instruction")
        expect(panel.row(left).locator(".kontext-words")).to_have_text(f"words of {left}")
        page.wait_for_timeout(300)  # all is drawn that was asked for
        expect(panel.row(entered).locator(".kontext-edit")).to_be_focused()
        page.keyboard.type(f"more of {entered}")
        page.keyboard.press("Enter")
        assert editor.value(entered, "instruction") == f"more of {entered}"
        expect(panel.row(entered)).to_be_focused(timeout=PATIENCE_MS)
