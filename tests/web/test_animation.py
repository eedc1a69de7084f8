"""A line of turns is saved as an animation from the menu of its rows: a Kontext Chain Sheet writes it."""

from __future__ import annotations

import pytest
from PIL import Image
from playwright.sync_api import expect

from tools.server import Server

from .panel import REMOVE, SEEDS, Panel
from .test_row_menu import five_turns

pytestmark = pytest.mark.comfy


def save(panel: Panel, id: str, label: str) -> None:
    panel.press(id, "More")
    panel.page.get_by_role("menuitem", name="Save as animation", exact=True).click()
    menu = panel.page.get_by_role("menu", name="Save as animation")
    expect(menu.get_by_role("menuitem").first).to_be_focused()
    menu.get_by_role("menuitem", name=label, exact=True).click()
    expect(panel.page.get_by_role("menu")).to_have_count(0)


def sheet_of(panel: Panel, id: str) -> tuple[str | None, object, object]:
    editor = panel.editor
    return editor.fed_by(id, "chain"), editor.value(id, "animation"), editor.value(id, "first")


def test_the_sheet_at_the_end_of_the_line_writes_it(panel: Panel, server: Server) -> None:
    turns = five_turns(panel)
    editor = panel.editor
    (sheet,) = editor.ids("KontextChainSheet")
    panel.page.evaluate("id => { app.graph.getNodeById(id).mode = 4 }", sheet)
    save(panel, turns[1], "Chain as GIF")
    assert editor.ids("KontextChainSheet") == [sheet], "the one that is there"
    assert sheet_of(panel, sheet) == (turns[4], "gif", 0)
    assert editor.selected() == [sheet]
    assert panel.page.evaluate("id => app.graph.getNodeById(id).mode", sheet) == 0, "it is switched on"

    save(panel, turns[2], "Before and after as WebP")
    (pair,) = set(editor.ids("KontextChainSheet")) - {sheet}
    assert sheet_of(panel, pair) == (turns[2], "webp", -2)
    assert sheet_of(panel, sheet) == (turns[4], "gif", 0), "the other shows all as before"
    save(panel, turns[2], "Before and after as GIF")
    assert len(editor.ids("KontextChainSheet")) == 2
    assert sheet_of(panel, pair) == (turns[2], "gif", -2)

    editor.set(turns[0], {"seed": next(SEEDS)})
    folder = server.base / "output" / "kontext"
    known = set(folder.glob("*.gif"))
    editor.run()
    frames = []
    for file in set(folder.glob("*.gif")) - known:
        with Image.open(file) as picture:
            frames.append(getattr(picture, "n_frames", 1))
    assert sorted(frames) == [2, 6], "the turn before and after; the start and five turns"


def test_a_sheet_is_added_as_one_step(panel: Panel) -> None:
    turns = five_turns(panel)
    editor, page = panel.editor, panel.page
    page.evaluate(REMOVE, editor.ids("KontextChainSheet"))
    panel.wait_for(*turns)
    before = editor.graph()
    save(panel, turns[0], "Chain as WebP")
    sheet = panel.new_node("KontextChainSheet")
    assert sheet_of(panel, sheet) == (turns[4], "webp", 0)
    panel.undo_to(before)
    save(panel, turns[0], "Chain as WebP")
    sheet = panel.new_node("KontextChainSheet")
    panel.press(turns[0], "Add turn")
    new = panel.new_node("KontextTurn", *turns)
    assert editor.fed_by(sheet, "chain") == new, "it stays at the end"


def test_an_edit_has_no_chain_to_save(panel: Panel) -> None:
    panel.editor.open("three_turn_edit")
    first, *others = panel.editor.ids("KontextEdit")
    panel.wait_for(first, *others)
    panel.press(first, "More")
    item = panel.page.get_by_role("menuitem", name="Save as animation", exact=True)
    expect(item).to_have_attribute("aria-disabled", "true")
