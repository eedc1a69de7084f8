"""The chain panel as a person sees it, for all its tests."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from kontext_core.remote.client import Json

from .editor import PATIENCE_MS, Editor

SEEDS = itertools.count(5000)  # a graph with a seed of its own is not in ComfyUI's cache
LOCALE, VUE, THUMBNAILS = "Comfy.Locale", "Comfy.VueNodes.Enabled", "Kontext.ChainPanel.Thumbnails"
# A test of the fixture "panel" with nodes on the canvas, and with nodes of Vue where the page has them.
VUE_NODES = pytest.param(True, marks=pytest.mark.since_front_end("1.32"), id="vue")
ON_CANVAS_AND_VUE = pytest.mark.parametrize(
    "panel", [pytest.param(False, id="canvas"), VUE_NODES], indirect=True
)
ROWS = """() => [...document.querySelectorAll('.kontext-row')].map(row => ({
  id: row.dataset.id,
  name: row.querySelector('.kontext-name').textContent,
  words: row.querySelector('.kontext-words, .kontext-edit')?.textContent,
  level: row.getAttribute('aria-level'),
  selected: row.getAttribute('aria-selected') === 'true',
}))"""
OFF_CENTRE = """id => {
  const {pos, size} = app.graph.getNodeById(id), {ds, canvas} = app.canvas, box = canvas.getBoundingClientRect()
  const at = [0, 1].map(i => (pos[i] + size[i] / 2 + ds.offset[i]) * ds.scale)
  return Math.hypot(at[0] - box.width / 2, at[1] - box.height / 2)
}"""

# As one step of undo, as if by a person.
REMOVE = """ids => {
  app.canvas.emitBeforeChange()
  ids.forEach(id => app.graph.remove(app.graph.getNodeById(id)))
  app.canvas.emitAfterChange()
}"""
# Makes a subgraph of these nodes, by their ids; the id of the node that shows it.
SUBGRAPH = """ids => {
  const { node } = app.graph.convertToSubgraph(new Set(ids.map(id => app.graph.getNodeById(id))))
  return String(node.id)
}"""


# What each row said since then, in the order in which it was seen.
_WATCH_STATES = """() => {
  window.states = []
  const note = () => document.querySelectorAll('.kontext-row').forEach(row =>
    states.push([row.dataset.id, row.querySelector('.kontext-state').textContent]))
  new MutationObserver(note).observe(document.querySelector('.kontext-list'),
    {subtree: true, childList: true, characterData: true})
}"""


class Panel:
    """The chain panel, as a person sees it."""

    def __init__(self, editor: Editor) -> None:
        self.editor = editor
        self.page = editor.page

    def button(self) -> Locator:
        """Its button in the sidebar."""
        return self.page.get_by_role("button", name="Turns of this graph").first

    def open(self) -> None:
        """Press its button in the sidebar."""
        self.button().click()
        expect(self.page.locator(".kontext-panel")).to_be_visible(timeout=PATIENCE_MS)

    def rows(self) -> list[dict[str, Any]]:
        return self.page.evaluate(ROWS)

    def wait_for(self, *ids: str) -> list[dict[str, Any]]:
        """Until its rows are those of these nodes, in this order."""
        self.page.wait_for_function(
            f"ids => JSON.stringify(({ROWS})().map(row => row.id)) === JSON.stringify(ids)",
            arg=list(ids),
            timeout=PATIENCE_MS,
        )
        return self.rows()

    def row(self, id: str) -> Locator:
        return self.page.locator(f'.kontext-row[data-id="{id}"]')

    def wait_for_states(self, states: Mapping[str, str]) -> None:
        """Until the rows of these nodes say how far they are so."""
        for id, state in states.items():
            expect(self.row(id).locator(".kontext-state")).to_have_text(state, timeout=PATIENCE_MS)

    def watch_states(self) -> None:
        """Note from now on what the rows say."""
        self.page.evaluate(_WATCH_STATES)

    def seen_states(self, id: str) -> set[str]:
        """What a row has said since then."""
        return {state for row, state in self.page.evaluate("() => states") if row == id}

    def press(self, id: str, label: str) -> None:
        """One of the buttons of a row."""
        self.row(id).get_by_role("button", name=label, exact=True).click()

    def undo_to(self, before: Json) -> None:
        """One step back, after which the graph is this one."""
        self.editor.undo()
        for _ in range(PATIENCE_MS // 100):
            if self.editor.graph() == before:
                break
            self.page.wait_for_timeout(100)
        assert self.editor.graph() == before

    def new_node(self, kind: str, *others: str) -> str:
        """The node of one type that is not among these, once it is there."""
        self.page.wait_for_function(
            "([kind, count]) => app.graph._nodes.filter(node => node.type === kind).length === count + 1",
            arg=[kind, len(others)],
            timeout=PATIENCE_MS,
        )
        (id,) = set(self.editor.ids(kind)) - set(others)
        return id


def turns_with_a_branch(panel: Panel, at: int) -> list[str]:
    """A chain of three turns, and as the fourth a branch behind one of them."""
    turns = three_turns(panel)
    panel.press(turns[at], "Branch here")
    branch = panel.new_node("KontextTurn", *turns)
    panel.wait_for(*turns, branch)
    panel.page.keyboard.press("Escape")
    return [*turns, branch]


def three_turns(panel: Panel) -> list[str]:
    """A chain of three turns."""
    panel.editor.open("five_turn_chain")
    turns = panel.editor.ids("KontextTurn")
    panel.wait_for(*turns)
    panel.page.evaluate(REMOVE, [turns[4], turns[3]])
    panel.wait_for(*turns[:3])
    panel.page.locator("#graph-canvas").focus()
    return turns[:3]
