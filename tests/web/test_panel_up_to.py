"""The chain panel runs all of a workflow, or only what one turn needs."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from .editor import PATIENCE_MS, VALUE
from .panel import SEEDS, SUBGRAPH, Panel, three_turns

pytestmark = pytest.mark.comfy

# The turns that were made since then.
_RAN = """turns => turns.filter(id => seen.some(one => one.kind === 'executed' && one.node === id))"""


def ready(panel: Panel, *turns: str) -> None:
    """Nothing of it is in ComfyUI's cache, and what the rows say is noted."""
    panel.editor.set(turns[0], {"seed": next(SEEDS), "steps": 2})
    panel.page.evaluate("() => { window.seen.length = 0 }")
    panel.watch_states()


@pytest.mark.parametrize("way", ["button", "head", "key"])
def test_only_what_a_turn_needs_is_run(panel: Panel, way: str) -> None:
    """By mouse or by key; what comes behind it is neither run nor said to wait."""
    first, second, third = turns = three_turns(panel)
    page = panel.page
    ready(panel, first)
    panel.row(second).locator(".kontext-words").click()
    if way == "button":
        panel.press(second, "Run up to here")
    elif way == "head":
        page.get_by_role("button", name="Run up to Turn 2", exact=True).click()
    else:
        panel.row(second).focus()
        page.keyboard.press("Control+Enter")
    panel.editor.wait_for("execution_success")
    panel.wait_for_states({first: "finished", second: "finished", third: "new"})
    assert page.evaluate(_RAN, turns) == [first, second]
    assert panel.seen_states(third) <= {"new"}
    expect(page.locator(".kontext-heading")).to_have_text("Chain 1: 1 to run")

    page.evaluate("() => { window.seen.length = 0 }")
    page.get_by_role("toolbar", name="Run").get_by_role("button", name="Run", exact=True).click()
    panel.editor.wait_for("execution_success")
    panel.wait_for_states({third: "finished"})


def test_the_two_buttons_of_the_head_are_one_stop_of_the_tab_key(panel: Panel) -> None:
    turns = three_turns(panel)
    page = panel.page
    run, up_to = (page.locator(".kontext-toolbar button").nth(i) for i in range(2))
    panel.row(turns[0]).focus()
    page.keyboard.press("Shift+Tab")
    expect(run).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(up_to).to_be_focused()
    expect(up_to).to_have_text("Run up to Turn 1")
    page.keyboard.press("Tab")
    expect(panel.row(turns[0])).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(up_to).to_have_text("Run up to Turn 2")
    page.keyboard.press("Shift+Tab")
    expect(up_to).to_be_focused()


def test_a_turn_in_a_subgraph_is_run_up_to(panel: Panel) -> None:
    first, second, third = three_turns(panel)
    host = panel.page.evaluate(SUBGRAPH, [second])
    inner = f"{host}:{second}"
    turns = [first, inner, third]
    panel.wait_for(*turns)
    ready(panel, first)
    panel.press(inner, "Run up to here")
    panel.editor.wait_for("execution_success")
    panel.wait_for_states({first: "finished", inner: "finished", third: "new"})
    assert panel.page.evaluate(_RAN, turns) == [first, inner]


def test_a_turn_that_is_off_is_run_up_to_the_one_before_it(panel: Panel) -> None:
    first, second, third = turns = three_turns(panel)
    page = panel.page
    for id in (second, third):
        page.evaluate("id => { app.graph.getNodeById(id).mode = 4 }", id)
    panel.wait_for_states({second: "off", third: "off"})
    ready(panel, first)
    panel.press(third, "Run up to here")
    panel.editor.wait_for("execution_success")
    assert page.evaluate(_RAN, turns) == [first]
    page.evaluate("id => { app.graph.getNodeById(id).mode = 4 }", first)
    panel.wait_for_states({first: "off"})
    panel.press(first, "Run up to here")
    page.get_by_text("There is nothing to run").first.wait_for(timeout=PATIENCE_MS)
    expect(page.locator(".kontext-toolbar button").nth(1)).to_be_disabled()


def test_what_is_written_is_kept_and_run_by_one_key(panel: Panel) -> None:
    """Enter keeps it; Ctrl+Enter keeps it and runs up to it, and no more."""
    first, second, third = turns = three_turns(panel)
    page, editor = panel.page, panel.editor
    ready(panel, first)
    panel.row(second).focus()
    page.keyboard.press("F2")
    page.keyboard.type("make it night")
    page.keyboard.press("Enter")
    expect(panel.row(second)).to_be_focused(timeout=PATIENCE_MS)
    assert editor.value(second, "instruction") == "make it night"
    assert json.loads(page.evaluate("() => JSON.stringify(seen)")) == []
    page.keyboard.press("F2")
    page.keyboard.type("paint the blue circle red")
    page.keyboard.press("Control+Enter")
    expect(panel.row(second)).to_be_focused(timeout=PATIENCE_MS)
    editor.wait_for("execution_success")
    assert editor.value(second, "instruction") == "paint the blue circle red"
    panel.wait_for_states({first: "finished", second: "finished", third: "new"})
    assert page.evaluate(_RAN, turns) == [first, second]
    kept = f"([id, words]) => ({VALUE})([id, 'instruction']) === words"
    editor.undo_until(kept, [second, "make it night"])


def test_the_button_for_a_turn_opens_the_text_of_it(panel: Panel) -> None:
    turns = three_turns(panel)
    page, editor = panel.page, panel.editor
    for label in ("Add turn", "Branch here"):
        before = editor.ids("KontextTurn")
        panel.press(turns[1], label)
        new = panel.new_node("KontextTurn", *before)
        expect(panel.row(new).locator(".kontext-edit")).to_be_focused(timeout=PATIENCE_MS)
        page.keyboard.type("now it is night")
        page.keyboard.press("Enter")
        expect(panel.row(new)).to_be_focused(timeout=PATIENCE_MS)
        assert editor.value(new, "instruction") == "now it is night"


def test_rows_stay_where_they_are_whatever_the_chosen_turn_is_called(panel: Panel) -> None:
    """Else a button would go from under the pointer that presses it, since that chooses its row."""
    first, second, third = three_turns(panel)
    page = panel.page
    page.evaluate(
        "id => { app.graph.getNodeById(id).title = 'A turn with a name of many words in it' }", second
    )
    expect(panel.row(second).locator(".kontext-name")).to_have_text("A turn with a name of many words in it")
    list_ = page.locator(".kontext-list")
    places: list[object] = []
    for turn in (first, second, third):
        panel.row(turn).locator(".kontext-words").click()
        expect(panel.row(turn)).to_have_attribute("aria-selected", "true")
        places.append(list_.bounding_box())
    assert places[0] == places[1] == places[2]
    label = page.locator(".kontext-command-label")
    panel.row(second).locator(".kontext-words").click()
    expect(label.locator("..")).to_have_attribute("title", "Run up to A turn with a name of many words in it")
