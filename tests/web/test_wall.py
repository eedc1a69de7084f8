"""Settings of a turn that the subgraph around it shows: a run takes them from there, and so do
the panel and its buttons.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from .editor import PATIENCE_MS, Editor
from .panel import Panel, three_turns

pytestmark = pytest.mark.comfy

# Newer pages show seeds by themselves.
_SHOW = """names => {
  const graph = app.graph.nodes.find(one => one.isSubgraphNode?.()).subgraph
  const turn = graph.nodes.find(one => one.type === 'KontextTurn')
  for (const name of names) {
    const input = turn.inputs.find(one => one.name === name)
    if (input.link == null) graph.inputNode.emptySlot.connect(input, turn)
  }
}"""
_QUEUED = (
    "id => app.graphToPrompt().then(({output}) => [output[id].inputs.seed, output[id].inputs.instruction])"
)
_OWN = """names => {
  const turn = app.graph.nodes.find(one => one.isSubgraphNode?.()).subgraph.nodes.find(one => one.type === 'KontextTurn')
  return names.map(name => turn.widgets.find(one => one.name === name).value)
}"""


def enclosed(panel: Panel, *turns: str) -> list[str]:
    """Make a subgraph of turns; their ids in it."""
    page = panel.page
    page.evaluate(
        "ids => { app.canvas.graph.convertToSubgraph(new Set(ids.map(id => app.graph.getNodeById(id)))) }",
        list(turns),
    )
    page.wait_for_function(
        "count => document.querySelectorAll('.kontext-row[data-id*=\":\"]').length === count",
        arg=len(turns),
        timeout=PATIENCE_MS,
    )
    return [row["id"] for row in panel.rows() if ":" in row["id"]]


def queued(editor: Editor, id: str) -> list[object]:
    """Seed and instruction as the next run has them."""
    return editor.page.evaluate(_QUEUED, id)


def test_what_the_subgraph_shows_is_set_there(panel: Panel) -> None:
    page, editor = panel.page, panel.editor
    turns = three_turns(panel)
    inner, _ = enclosed(panel, *turns[:2])
    page.evaluate(_SHOW, ["seed", "instruction"])
    words = editor.page.evaluate(_OWN, ["instruction"])
    expect(panel.row(inner).locator(".kontext-words")).to_have_text(words[0])
    editor.run()
    panel.wait_for_states({inner: "finished", turns[2]: "finished"})

    panel.press(inner, "Re-roll")
    panel.wait_for_states({inner: "out of date", turns[2]: "out of date"})
    seed, instruction = queued(editor, inner)
    assert (seed != 0, instruction) == (True, words[0])
    expect(panel.row(inner).locator(".kontext-seed")).to_have_text(f"seed {seed}")
    panel.press(inner, "Edit the instruction")
    page.keyboard.type("paint it red")
    page.keyboard.press("Enter")
    expect(panel.row(inner).locator(".kontext-words")).to_have_text("paint it red")
    assert queued(editor, inner) == [seed, "paint it red"]
    editor.run()
    panel.wait_for_states({inner: "finished", turns[2]: "finished"})
    expect(panel.row(inner).locator(".kontext-made")).to_have_text("")


def test_a_subgraph_around_turns_changes_none_of_those_behind_it(panel: Panel) -> None:
    turns = three_turns(panel)
    panel.editor.run()
    panel.wait_for_states(dict.fromkeys(turns, "finished"))
    inner = enclosed(panel, *turns[:2])
    panel.wait_for_states({inner[0]: "new", inner[1]: "new", turns[2]: "finished"})


def test_a_seed_that_comes_by_a_wire_is_not_rolled_here(panel: Panel) -> None:
    page, editor = panel.page, panel.editor
    first, *_ = three_turns(panel)
    page.evaluate(
        """id => {
          const seed = LiteGraph.createNode('PrimitiveInt')
          app.graph.add(seed)
          const turn = app.graph.getNodeById(id)
          seed.connect(0, turn, turn.inputs.findIndex(one => one.name === 'seed'))
        }""",
        first,
    )
    before = editor.value(first, "seed")
    expect(panel.row(first).locator(".kontext-seed")).to_have_text("", timeout=PATIENCE_MS)
    panel.press(first, "Re-roll")
    page.get_by_text("The seed comes from another node").first.wait_for(timeout=PATIENCE_MS)
    assert editor.value(first, "seed") == before
