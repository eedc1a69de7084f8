"""Drawing and adding turns inside a subgraph, whose pictures, chain and model come through its wall."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from kontext_core.images.marks import parse_marks
from kontext_core.remote.client import Client
from tools import frontend
from tools.server import Server

from .drawing import closed, differing, drag, opened, picture_of, shown
from .editor import PATIENCE_MS, Editor
from .panel import VUE

pytestmark = pytest.mark.comfy
SEEDS = itertools.count(7000)  # a graph with a seed of its own is not in ComfyUI's cache

# A turn outside; a second one with a reference to the same picture in a subgraph, which is then shown.
_GRAPH = """seed => {
  app.graph.clear()
  const add = (type, x, y) => {
    const node = LiteGraph.createNode(type)
    node.pos = [x, y]
    app.graph.add(node)
    return node
  }
  const wire = (from, type, to, name) => from.connect(from.outputs.findIndex(one => one.type === type), to,
    to.inputs.findIndex(one => one.name === name))
  const [model, example] = [add('KontextLoadModel', 0, 100), add('KontextExample', 0, 500)]
  const first = add('KontextTurn', 450, 100)
  const [reference, second] = [add('KontextReference', 900, 600), add('KontextTurn', 900, 100)]
  for (const turn of [first, second]) {
    wire(model, 'KONTEXT_MODEL', turn, 'model')
    const values = {steps: 1, seed, control_after_generate: 'fixed'}
    for (const [name, value] of Object.entries(values)) turn.widgets.find(one => one.name === name).value = value
  }
  wire(example, 'IMAGE', first, 'image')
  wire(example, 'IMAGE', reference, 'image')
  wire(first, 'KONTEXT_CHAIN', second, 'chain')
  wire(reference, 'KONTEXT_REFERENCES', second, 'references')
  const {node, subgraph} = app.graph.convertToSubgraph(new Set([reference, second]))
  app.canvas.openSubgraph(subgraph, node)
  return Object.fromEntries(Object.entries({example, first, host: node, reference, second})
    .map(([name, one]) => [name, String(one.id)]))
}"""
# Every node inside, with where what is no widget comes from: through the wall, or from a node.
_WIRES = """host => {
  const {subgraph} = app.graph.getNodeById(host)
  return Object.fromEntries(subgraph.nodes.map(node => [String(node.id), Object.fromEntries(
    node.inputs.filter(one => one.link != null && !one.widget).map(one => {
      const {origin_id} = subgraph.getLink(one.link)
      return [one.name, String(origin_id) === String(subgraph.inputNode.id) ? 'wall' : String(origin_id)]
    }))]))
}"""
_MARKS = """([host, id]) => app.graph.getNodeById(host).subgraph.getNodeById(id)
  .widgets.find(one => one.name === 'marks').value"""
_SELECT = "id => { app.canvas.selectNode(app.canvas.graph.getNodeById(id)); app.canvas.canvas.focus() }"
_COUNT = "([host, count]) => app.graph.getNodeById(host)?.subgraph.nodes.length === count"


def press(editor: Editor, keys: str, node: str) -> None:
    editor.page.evaluate(_SELECT, node)
    editor.page.keyboard.press(keys)


def wires(editor: Editor, host: str, count: int) -> dict[str, dict[str, str]]:
    """What `_WIRES` gives once so many nodes are inside."""
    editor.page.wait_for_function(_COUNT, arg=[host, count], timeout=PATIENCE_MS)
    return editor.page.evaluate(_WIRES, host)


def test_what_comes_through_the_wall_is_found_and_stays_wired(
    editor: Editor, server: Server, request: pytest.FixtureRequest
) -> None:
    page = editor.page
    vue = request.node.callspec.params["server"] == frontend.NEWEST
    page.evaluate("([id, vue]) => app.extensionManager.setting.set(id, vue)", [VUE, vue])
    ids = page.evaluate(_GRAPH, next(SEEDS))
    host = ids["host"]
    plain = wires(editor, host, 2)
    assert plain[ids["second"]] == {"model": "wall", "chain": "wall", "references": ids["reference"]}
    assert plain[ids["reference"]] == {"image": "wall"}
    made = executed(editor)

    press(editor, "Alt+d", ids["second"])
    opened(editor)
    assert differing(shown(editor), made[ids["first"]]) == 0, "the last picture of the chain outside"
    page.keyboard.press("Escape")
    closed(editor)

    press(editor, "Alt+d", ids["reference"])
    opened(editor)
    assert differing(shown(editor), made[ids["example"]]) == 0, "the picture outside"
    drag(editor, (0.2, 0.2), (0.6, 0.6))
    page.keyboard.press("Enter")
    closed(editor)
    drawn = wires(editor, host, 3)
    (cue,) = set(drawn) - set(plain)
    assert drawn[cue] == {"image": "wall"}
    assert drawn[ids["reference"]] == {"image": cue}
    again = executed(editor)
    assert differing(again[f"{host}:{cue}"], made[ids["example"]]) > 0.02, "what is drawn is run"

    press(editor, "Alt+d", ids["second"])
    opened(editor)
    page.keyboard.press("m")
    drag(editor, (0.6, 0.5), (0.9, 0.5))
    page.keyboard.press("Enter")
    closed(editor)
    area = parse_marks(page.evaluate(_MARKS, [host, ids["second"]]))
    assert [(mark.kind, mark.mask) for mark in area] == [("brush", True)]
    made = executed(editor)
    before, after = made[ids["first"]], made[f"{host}:{ids['second']}"]
    far = torch.ones_like(before, dtype=torch.bool)
    far[:, before.shape[1] // 5 : -before.shape[1] // 5] = False  # beyond its stroke and its feather
    assert torch.equal(before[far], after[far])
    assert not torch.equal(before, after), "it reaches as far as its area"

    press(editor, "Alt+t", ids["second"])
    added = wires(editor, host, 4)
    (turn,) = set(added) - set(drawn)
    assert added[turn] == {"model": "wall", "chain": ids["second"]}
    for count, wanted in ((3, drawn), (2, plain)):
        editor.undo_until(_COUNT, [host, count])
        assert wires(editor, host, count) == wanted


def executed(editor: Editor) -> dict[str, Any]:
    """Run the graph; the picture of each node that shows one, by the server's name for it."""
    editor.queue()
    editor.wait_for("execution_success")
    with Client(editor.url) as client:
        return {
            one["node"]: picture_of(client.view(one["images"][0]))
            for one in editor.seen("executed")
            if one["images"]
        }
