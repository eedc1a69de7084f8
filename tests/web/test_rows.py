"""Rows of the chain panel: several leave at once, all buttons have room, and lines go on behind walls."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from .editor import PATIENCE_MS
from .panel import SUBGRAPH, Panel
from .test_row_menu import five_turns

pytestmark = pytest.mark.comfy

WAYS = pytest.mark.parametrize("way", ["mouse", "keys"])
_NARROW = "width => { document.querySelector('.kontext-panel').style.width = `${width}px` }"
# Of every row: how many buttons are seen, and on how many lines; whether the last reaches out of it.
_BUTTONS = """() => [...document.querySelectorAll('.kontext-row')].map(row => {
  const boxes = [...row.querySelectorAll('.kontext-buttons > button')].map(one => one.getBoundingClientRect())
  const seen = boxes.filter(box => box.width)
  return {
    count: seen.length,
    lines: new Set(seen.map(box => Math.round(box.top))).size,
    out: seen.some(box => box.right > row.getBoundingClientRect().right),
  }
})"""
# What comes out of a subgraph, by the nodes inside it: the first wire into an output counts, as in a run.
_OUT = """host => app.graph.getNodeById(host).subgraph.outputNode.slots
  .flatMap(slot => slot.getLinks().slice(0, 1).map(link => String(link.origin_id)))"""
_INSIDE = "host => app.graph.getNodeById(host).subgraph.nodes.map(node => [String(node.id), node.type])"


def select(panel: Panel, *ids: str, modifier: Any = "Control") -> None:
    panel.row(ids[0]).locator(".kontext-name").click()
    for id in ids[1:]:
        panel.row(id).locator(".kontext-name").click(modifiers=[modifier])


@WAYS
@pytest.mark.parametrize("modifier", ["Control", "Shift"])
def test_all_selected_rows_leave_in_one_step(panel: Panel, way: str, modifier: Any) -> None:
    turns = five_turns(panel)
    editor, page = panel.editor, panel.page
    before = editor.graph()
    source = editor.fed_by(turns[0], "image")
    for gone in ([1, 2], [0, 3], [4, 1, 3]):
        ids = [turns[i] for i in gone]
        left = [id for id in turns if id not in ids]
        select(panel, *ids, modifier=modifier)
        if way == "mouse":
            panel.press(ids[-1], "More")
            page.get_by_role("menuitem", name=f"Remove {len(ids)} entries", exact=True).click()
        else:
            page.keyboard.press("Delete")
        panel.wait_for(*left)
        assert editor.fed_by(left[0], "image") == source
        assert [editor.fed_by(id, "chain") for id in left[1:]] == left[:-1]
        for kind in ("KontextSaveChain", "KontextChainSheet"):
            assert [editor.fed_by(id, "chain") for id in editor.ids(kind)] == [left[-1]]
        expect(page.locator(".kontext-row:focus")).to_have_count(1, timeout=PATIENCE_MS)
        panel.undo_to(before)
        panel.wait_for(*turns)


def test_a_row_that_is_not_selected_leaves_alone(panel: Panel) -> None:
    turns = five_turns(panel)
    select(panel, turns[0], turns[1])
    panel.row(turns[3]).focus()
    panel.page.keyboard.press("Delete")
    panel.wait_for(*turns[:3], turns[4])


def test_buttons_stay_in_one_line_and_the_menu_has_the_others(panel: Panel) -> None:
    turns = five_turns(panel)
    page = panel.page
    page.evaluate(_NARROW, 310)
    assert page.evaluate(_BUTTONS) == [{"count": 8, "lines": 1, "out": False}] * 5
    page.evaluate(_NARROW, 200)
    buttons = page.evaluate(_BUTTONS)
    count = buttons[0]["count"]
    assert 3 <= count < 8
    assert buttons == [{"count": count, "lines": 1, "out": False}] * 5
    panel.press(turns[1], "More")
    labels = page.get_by_role("menuitem").locator(".kontext-menu-label").all_inner_texts()
    assert labels[: 8 - count] == ["4 more", "Compare", "Edit the instruction"][count - 8 :]
    page.get_by_role("menuitem", name="Edit the instruction").click()
    expect(panel.row(turns[1]).locator(".kontext-edit")).to_be_focused(timeout=PATIENCE_MS)
    page.keyboard.press("Escape")
    for parent in (turns[0], turns[0], turns[0]):
        known = panel.editor.ids("KontextTurn")
        panel.press(parent, "Branch here")
        panel.new_node("KontextTurn", *known)
        page.keyboard.press("Escape")
    page.evaluate(_NARROW, 310)
    for row in page.evaluate(_BUTTONS):
        assert (row["lines"], row["out"]) == (1, False), "beside the lines of branches too"


def test_add_turn_follows_the_line_out_of_a_subgraph(panel: Panel) -> None:
    turns = five_turns(panel)
    editor, page = panel.editor, panel.page
    host = page.evaluate(SUBGRAPH, turns[1:3])
    inner = [f"{host}:{id}" for id in turns[1:3]]
    panel.wait_for(turns[0], *inner, *turns[3:])
    for start in (inner[1], turns[0]):
        known = editor.ids("KontextTurn")
        panel.press(start, "Add turn")
        new = panel.new_node("KontextTurn", *known)
        expect(panel.row(new).locator(".kontext-edit")).to_be_focused(timeout=PATIENCE_MS)
        page.keyboard.press("Escape")
        assert editor.fed_by(new, "chain") == sorted(known, key=int)[-1], "behind the last of all"
        assert editor.fed_by(new, "model") == editor.fed_by(turns[4], "model")
        for kind in ("KontextSaveChain", "KontextChainSheet"):
            assert [editor.fed_by(id, "chain") for id in editor.ids(kind)] == [new]


def test_add_turn_at_the_end_of_a_line_inside_a_subgraph_goes_out_of_it(panel: Panel) -> None:
    turns = five_turns(panel)
    editor, page = panel.editor, panel.page
    host = page.evaluate(SUBGRAPH, turns[3:])
    inner = [f"{host}:{id}" for id in turns[3:]]
    panel.wait_for(*turns[:3], *inner)
    nodes = page.evaluate(_INSIDE, host)
    for start in (inner[1], turns[0]):
        panel.press(start, "Add turn")
        page.wait_for_function(
            f"([host, count]) => ({_INSIDE})(host).length === count + 1",
            arg=[host, len(nodes)],
            timeout=PATIENCE_MS,
        )
        known, nodes = nodes, page.evaluate(_INSIDE, host)
        ((new, kind),) = [node for node in nodes if node not in known]
        assert kind == "KontextTurn"
        inner.append(f"{host}:{new}")
        assert page.evaluate(_OUT, host) == [new], "it is what comes out"
        panel.wait_for(*turns[:3], *inner)
        expect(panel.row(inner[-1]).locator(".kontext-edit")).to_be_focused(timeout=PATIENCE_MS)
        page.keyboard.press("Escape")
        page.evaluate("() => app.canvas.setGraph(app.graph.rootGraph ?? app.graph)")
    for kind in ("KontextSaveChain", "KontextChainSheet"):
        assert [editor.fed_by(id, "chain") for id in editor.ids(kind)] == [host], (
            "what saves all of it has them"
        )
