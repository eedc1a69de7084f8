"""Hundreds of actions in the chain panel leave nothing behind: no listener, and no element."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from playwright.sync_api import expect

from .editor import PATIENCE_MS
from .panel import REMOVE, SEEDS, Panel, three_turns

pytestmark = pytest.mark.comfy

BEGUN, ALL = 50, 200  # actions
# What may be there now and then: a tooltip of the page's, a picture that is being loaded.
MOST = {"JSEventListeners": 12, "Nodes": 60, "JSHeapUsedSize": 8 * 2**20}
OWN = 1.5  # of what the page itself leaves of fewer nodes
ROUNDS = 4
FIRST = "Unsaved Workflow"  # the page's own graph
_MODE = "([id, mode]) => String(app.graph.getNodeById(id)?.mode) === mode"
_SETTLED = "() => !app.extensionManager.workflow.activeWorkflow?.changeTracker?._restoringState"
_TURNS = "count => app.graph._nodes.filter(node => node.type === 'KontextTurn').length === count"
_STOCK = """() => {
  for (const i of [0, 1, 2]) {
    const node = LiteGraph.createNode('CLIPTextEncode')
    node.pos = [500 * i, 0]
    app.graph.add(node)
  }
  app.canvas.emitBeforeChange()
  app.canvas.emitAfterChange()
}"""
_NOTES = "() => app.graph._nodes.filter(node => node.type.endsWith('Note')).map(node => String(node.id))"


def heap(panel: Panel) -> dict[str, float]:
    """What the page holds once its garbage is collected, by Chromium's own numbers."""
    session = panel.page.context.new_cdp_session(panel.page)
    try:
        session.send("Performance.enable")
        for _ in range(4):
            session.send("HeapProfiler.collectGarbage")
        metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    finally:
        session.detach()
    return {name: metrics[name] for name in ("JSEventListeners", "Nodes", "JSHeapUsedSize")}


def undone(panel: Panel, node: str) -> list[Callable[[], None]]:
    """Undo that a node is off, redo it, and undo it again: the graph is loaded each time."""

    def step(keys: str, mode: str) -> None:
        panel.page.wait_for_function(_SETTLED, timeout=PATIENCE_MS)
        panel.page.keyboard.press(keys)
        panel.page.wait_for_function(_MODE, arg=[node, mode], timeout=PATIENCE_MS)

    undo, redo = partial(step, "Control+z", "0"), partial(step, "Control+y", "4")
    return [undo, redo, undo]


def actions(panel: Panel, turns: list[str]) -> list[Callable[[], None]]:
    """What is done again and again; each ends where it began, or the next one does."""
    page, editor = panel.page, panel.editor

    def opens(selector: str, *keys: str) -> None:
        page.locator(selector).wait_for(timeout=PATIENCE_MS)
        for key in keys:
            page.keyboard.press(key)
        page.keyboard.press("Escape")
        page.locator(selector).wait_for(state="detached", timeout=PATIENCE_MS)

    def select() -> None:
        panel.row(turns[0]).locator(".kontext-name").click()
        panel.row(turns[1]).locator(".kontext-name").click()

    def words() -> None:
        panel.row(turns[1]).focus()
        page.keyboard.press("F2")
        opens(".kontext-edit", "x", "y")

    def compare() -> None:
        page.get_by_role("button", name="Large view").click()
        opens(".kontext-large", "d", "s", "w", "ArrowRight")

    def draw() -> None:
        editor.select(turns[1])
        page.keyboard.press("Alt+d")
        opens("dialog.kontext-draw", "b", "Space")

    def menu() -> None:
        panel.press(turns[0], "More")
        opens(".kontext-menu", "ArrowDown")

    def candidate() -> None:
        panel.row(turns[1]).locator(".kontext-choice").nth(2).click(modifiers=["Shift"])

    def off() -> None:
        panel.row(turns[2]).focus()
        page.keyboard.press("Alt+o")
        page.wait_for_function(_MODE, arg=[turns[2], "4"], timeout=PATIENCE_MS)

    def leave() -> None:
        show(panel, other)
        page.wait_for_function(_TURNS, arg=0, timeout=PATIENCE_MS)

    def back() -> None:
        show(panel, own)
        panel.wait_for(*turns)

    own, other = name_of(panel), FIRST
    often = [select, words, compare, draw, menu, candidate]
    return [*often * 3, off, *undone(panel, turns[2]), leave, back, select]


def name_of(panel: Panel) -> str:
    """What the tab of the workflow that is shown says."""
    path = panel.page.evaluate("() => app.extensionManager.workflow.activeWorkflow.path")
    return path.removeprefix("workflows/").removesuffix(".json")


def show(panel: Panel, name: str) -> None:
    """Click the tab of a workflow."""
    panel.page.get_by_text(name, exact=True).first.click()
    panel.page.wait_for_function(
        "name => app.extensionManager.workflow.activeWorkflow.path === `workflows/${name}.json`",
        arg=name,
        timeout=PATIENCE_MS,
    )
    panel.page.wait_for_function(_SETTLED, timeout=PATIENCE_MS)


def growth(panel: Panel, work: Callable[[], None], times: int) -> dict[str, float]:
    """How much more the page holds once some work was done so often."""
    before = heap(panel)
    for _ in range(times):
        work()
    after = heap(panel)
    return {name: after[name] - before[name] for name in after}


def by_itself(panel: Panel) -> dict[str, float]:
    """What the page leaves behind of stock nodes: one goes off and on, and another workflow is shown."""
    page, editor = panel.page, panel.editor
    page.evaluate("() => app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    page.wait_for_function("() => !app.graph._nodes.length", timeout=PATIENCE_MS)
    page.evaluate(_STOCK)
    own, node = name_of(panel), editor.ids("CLIPTextEncode")[0]

    def round() -> None:
        editor.select(node)
        page.keyboard.press("Control+b")
        page.wait_for_function(_MODE, arg=[node, "4"], timeout=PATIENCE_MS)
        for step in undone(panel, node):
            step()
            editor.select(node)
        show(panel, FIRST)
        show(panel, own)

    round()
    return {name: max(more, 0) / ROUNDS for name, more in growth(panel, round, ROUNDS).items()}


def test_hundreds_of_actions_leave_no_listener_and_no_element(panel: Panel) -> None:
    page, editor = panel.page, panel.editor
    assert name_of(panel) == FIRST
    own = by_itself(panel)  # older front ends keep what was selected, and their tabs
    turns = three_turns(panel)
    page.evaluate(REMOVE, page.evaluate(_NOTES))  # which the page leaves in memory
    editor.set(turns[0], {"seed": next(SEEDS)})
    editor.run(1)
    panel.wait_for_states(dict.fromkeys(turns, "finished"))
    page.evaluate("() => { window.seen.length = 0 }")
    panel.press(turns[1], "4 more")
    editor.wait_for("execution_success")
    expect(panel.row(turns[1]).locator(".kontext-choice")).to_have_count(5, timeout=PATIENCE_MS)
    page.evaluate("() => window.dispatchEvent(new MouseEvent('mouseup', {bubbles: true}))")
    steps = actions(panel, turns)

    def cycle() -> None:
        for step in steps:
            step()

    for _ in range(BEGUN // len(steps)):
        cycle()
    cycles = (ALL - BEGUN) // len(steps)
    more = growth(panel, cycle, cycles)
    for name, most in MOST.items():
        assert more[name] <= most + OWN * cycles * own[name], (name, more, own)
