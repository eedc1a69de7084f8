"""The chain panel of a graph of 300 nodes: its cost, and how little of it is redrawn."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
from playwright.sync_api import expect

from .editor import PATIENCE_MS
from .panel import Panel
from .profile import longest_ms

pytestmark = pytest.mark.comfy
# A graph of so many nodes: a model and turns, of which every tenth begins a branch.
_MANY = """count => {
  app.graph.clear()
  const model = LiteGraph.createNode('KontextLoadModel')
  app.graph.add(model)
  const turns = []
  for (let i = 0; i < count - 1; i++) {
    const turn = LiteGraph.createNode('KontextTurn')
    app.graph.add(turn)
    turn.pos = [500 + 420 * (i % 20), 700 * Math.floor(i / 20)]
    const input = name => turn.inputs.findIndex(one => one.name === name)
    model.connect(0, turn, input('model'))
    if (i) turns[i % 10 ? i - 1 : i - 7 > 0 ? i - 7 : 0].connect(0, turn, input('chain'))
    turns.push(turn)
  }
  app.canvas.ds.scale = 0.2
  app.canvas.ds.offset = [0, 0]
  app.graph.setDirtyCanvas(true, true)
}"""
# Beside them stacks of references, each with its layout picture, which every change of the graph may change.
_STACKS = """count => {
  let last = null
  for (let i = 0; i < count; i++) {
    const one = LiteGraph.createNode('KontextReference')
    app.graph.add(one)
    one.pos = [-1000 - 420 * (i % 8), 700 * Math.floor(i / 8)]
    if (i % 8) last.connect(0, one, one.inputs.findIndex(input => input.name === 'references'))
    last = one
  }
  app.api.dispatchCustomEvent('graphChanged', {})
}"""
_RENAME = """() => {
  const [one] = app.graph._nodes.filter(node => node.type === 'KontextReference')
  one.widgets.find(widget => widget.name === 'name').value = 'the hat'
  app.api.dispatchCustomEvent('graphChanged', {})
}"""
_RENAMED = (
    "() => [...document.querySelectorAll('.kontext-layout svg title')]"
    ".filter(one => one.textContent.includes('the hat')).length === 8"  # all of the first stack
)
# Notes how long each drawing of the panel takes, each change in it, and the time between frames.
_WATCH = """() => {
  window.drawings = []; window.changes = 0; window.frames = []; window.cost = 0
  new PerformanceObserver(list => drawings.push(...list.getEntries()
    .filter(one => one.name === 'kontext-chain-panel').map(one => one.duration))).observe({entryTypes: ['measure']})
  const panel = document.querySelector('.kontext-panel')
  if (panel) new MutationObserver(list => { window.changes += list.length }).observe(panel,
    {subtree: true, childList: true, attributes: true, characterData: true})
  let last = performance.now()
  const tick = now => { frames.push(now - last); last = now; requestAnimationFrame(tick) }
  requestAnimationFrame(tick)
}"""
# A run is under way: messages of progress as the server sends them, fifty a second.
_PROGRESS = """ids => {
  let step = 0
  window.messages = setInterval(() => {
    step += 1
    const nodes = Object.fromEntries(ids.map((id, i) => [id, i === Math.floor(step / 20)
      ? {node_id: id, state: 'running', value: step % 20, max: 20}
      : {node_id: id, state: i < step / 20 ? 'finished' : 'pending', value: 0, max: 1}]))
    app.api.dispatchCustomEvent('progress_state', {prompt_id: 'p', nodes})
  }, 20)
}"""
_WRITE = """([id, words]) => {
  const widget = app.graph.getNodeById(id).widgets.find(one => one.name === 'instruction')
  widget.value = words
  widget.callback?.(words)
  app.api.dispatchCustomEvent('graphChanged', {})
}"""
_WRITTEN = """([id, words]) =>
  document.querySelector(`.kontext-row[data-id='${id}'] .kontext-words`).textContent === words"""
_REMOVE_LAST = "id => app.graph.remove(app.graph.getNodeById(id))"
# The longest that a busy machine stops a plain loop, in ms.
_BUSY = """() => {
  let [longest, last] = [0, performance.now()]
  for (const end = last + 400; last < end; ) {
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
  }
  return longest
}"""
_SHORT_MS = 50
_OURS = "/extensions/kontext/"


@pytest.mark.parametrize("panel", [False], ids=["canvas"], indirect=True)
def test_three_hundred_nodes_stay_smooth(panel: Panel) -> None:
    page = panel.page

    def pan() -> None:
        box = page.locator("#graph-canvas").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.6
        before = page.evaluate("() => [...app.canvas.ds.offset]")
        page.mouse.move(x, y)
        page.mouse.down(button="middle")
        for i in range(10):
            page.mouse.move(x + 20 * i, y - 10 * i)
        page.mouse.up(button="middle")
        assert page.evaluate("() => [...app.canvas.ds.offset]") != before, "the canvas was moved"

    def drawings() -> list[float]:
        page.wait_for_timeout(300)
        return page.evaluate("() => drawings.splice(0)")

    def drawn(change: str, arg: Any, until: str) -> tuple[list[float], int]:
        """How long each piece of drawing took after a change, and how much it changed in the panel."""
        page.evaluate("() => { drawings.length = 0; window.changes = 0 }")
        page.evaluate(change, arg)
        page.wait_for_function(until, arg=arg, timeout=PATIENCE_MS)
        return drawings(), page.evaluate("() => changes")

    page.set_viewport_size({"width": 1000, "height": 700})  # what is slow there is the canvas, not the panel
    page.evaluate(_MANY, 300)
    page.wait_for_function(
        "() => document.querySelectorAll('.kontext-row').length === 299", timeout=PATIENCE_MS
    )
    pan()  # ComfyUI notes what the graph looks like
    page.evaluate(_WATCH)
    page.wait_for_timeout(500)
    turns = panel.editor.ids("KontextTurn")
    pieces: list[float] = []
    for number, id in enumerate((turns[5], turns[150], turns[290])):
        took, changes = drawn(_WRITE, [id, f"<img src=x onerror=window.ran={number}>"], _WRITTEN)
        pieces += took
        assert 0 < changes < 60, "a row is touched, and the few of the row that was chosen"
    assert page.evaluate("() => window.ran") is None, "what is written is shown as text"
    took, changes = drawn(_REMOVE_LAST, turns[-1], "id => !document.querySelector(`[data-id='${id}']`)")
    pieces += took
    assert 0 < changes < 120, "a turn at the end of a line leaves the others as they are"
    assert statistics.median(pieces) < _SHORT_MS, pieces  # other programs may stop one of them for long
    assert max(pieces) < _SHORT_MS + 10 * page.evaluate(_BUSY), "but for that, none is long"
    pan()
    while drawings():  # ComfyUI notes what the graph looks like now
        pass
    page.evaluate("() => { drawings.length = 0; window.changes = 0 }")
    pan()
    assert drawings() == []
    assert page.evaluate("() => changes") == 0, "panning alone is nothing to the panel"

    page.evaluate(_PROGRESS, turns[:-1])
    pan()
    page.evaluate("() => clearInterval(messages)")
    during = drawings()
    assert during, "it follows the run"
    assert statistics.median(during) < _SHORT_MS, during  # other programs may stop one of them for long

    panel.button().click()
    expect(page.locator(".kontext-panel")).to_have_count(0)
    page.evaluate(_PROGRESS, turns)
    pan()
    page.evaluate("() => clearInterval(messages)")
    assert drawings() == [], "a closed panel costs nothing"

    panel.open()
    page.evaluate(_STACKS, 24)
    page.wait_for_function(
        "() => document.querySelectorAll('.kontext-layout svg').length === 24", timeout=PATIENCE_MS
    )
    pan()
    longest, _ = longest_ms(page, _OURS, pan)
    assert longest < _SHORT_MS + 10 * page.evaluate(_BUSY), (
        "nothing of this pack stops the page while it moves"
    )

    def change() -> None:
        page.evaluate(_RENAME)
        page.wait_for_function(_RENAMED, timeout=PATIENCE_MS)

    longest, together = longest_ms(page, _OURS, change)
    assert together > 0, "the profile sees it"
    assert longest < _SHORT_MS + 10 * page.evaluate(_BUSY), "nor when a stack changes"
