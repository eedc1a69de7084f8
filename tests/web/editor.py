"""ComfyUI's page as a person uses it, with mouse and keyboard."""

from __future__ import annotations

import base64
import urllib.request
from collections.abc import Mapping
from typing import Any

from playwright.sync_api import Page

from kontext_core.remote.client import Json
from kontext_core.remote.workflow import read_workflow
from tools.paths import ROOT

PATIENCE_MS = 120_000
QUIET: Json = {"Comfy.Minimap.Visible": False}  # it is drawn anew all the time

# Every message of the server about a run, in order, with what the node on the canvas shows at that time.
_RECORD = """() => {
  window.seen = []
  const note = (kind, data) => window.seen.push({kind, at: performance.now(), ...data})
  const on = (kind, read) => app.api.addEventListener(kind, ({detail}) => note(kind, read(detail ?? {})))
  on('progress', ({node, value, max}) => ({node: String(node), value, max}))
  on('progress_state', ({nodes}) => ({nodes: Object.keys(nodes)}))
  on('b_preview_with_metadata', ({nodeId, blob}) => ({node: String(nodeId), type: blob.type, size: blob.size}))
  on('executed', ({node, output}) => ({node: String(node), images: output?.images ?? []}))
  for (const kind of ['execution_success', 'execution_interrupted', 'execution_error']) on(kind, () => ({}))
}"""

# Where a slot lies on the screen.
_SLOT = """([id, side, name]) => {
  const node = app.graph.getNodeById(id)
  const index = node[side].findIndex(slot => slot.name === name)
  const [x, y] = node.getConnectionPos(side === 'inputs', index)
  const {ds, canvas} = app.canvas, box = canvas.getBoundingClientRect()
  return [box.left + (x + ds.offset[0]) * ds.scale, box.top + (y + ds.offset[1]) * ds.scale]
}"""

_SELECT = "id => { app.canvas.selectNode(app.graph.getNodeById(id)); app.canvas.canvas.focus() }"
_SELECTED = "() => Object.values(app.canvas.selected_nodes).map(node => String(node.id))"
_FED_BY = """([id, name]) => {
  const node = app.graph.getNodeById(id)
  const origin = node.getInputNode(node.inputs.findIndex(one => one.name === name))
  return origin && String(origin.id)
}"""
_BOXES = (
    "() => app.graph._nodes.map(({pos, size}) => [pos[0], pos[1] - 30, pos[0] + size[0], pos[1] + size[1]])"
)
VALUE = "([id, name]) => app.graph.getNodeById(id).widgets.find(one => one.name === name).value"

INFO = "id => app.graph.getNodeById(id).widgets?.find(one => one.name === 'kontext_text')?.value ?? ''"
STEPS = """steps => app.graph._nodes.forEach(node => node.widgets?.filter(one => one.name === 'steps')
  .forEach(one => { one.value = steps }))"""

# What makes up a graph, but for what the page adds while it is shown.
_GRAPH = """() => {
  const {nodes, links} = app.graph.serialize()
  const plain = value => JSON.parse(JSON.stringify(value))
  return {
    nodes: nodes.map(({id, type, title, pos, widgets_values}) =>
      plain({id: String(id), type, title, pos: [...pos].map(Math.round), values: widgets_values ?? []}))
      .sort((a, b) => a.id - b.id),
    links: links.map(link => plain(Array.isArray(link) ? link.slice(1).map(String) : link)).sort()
  }
}"""

# The page has put back what an undo brings back; a second one before that would be lost.
_TRACKER = "app.extensionManager.workflow.activeWorkflow?.changeTracker"
_SETTLED = f"() => !{_TRACKER}?._restoringState"
_STEPS_BACK = f"() => {_TRACKER}.undoQueue.length"

# A page that is loaded anew opens what it kept. Older front ends keep a change in the session at once, newer
# ones half a second after the last change in a draft, and not all of them when the page is left.
_KEPT = """() => {
  const values = ({nodes}) => JSON.stringify(
    nodes.map(({id, type, widgets_values}) => [Number(id), type, widgets_values ?? []]).sort(([a], [b]) => a - b))
  const kept = (store, prefix, read) => Object.keys(store).filter(key => key.startsWith(prefix))
    .map(key => values(JSON.parse(read(store.getItem(key)))))
  return [
    ...kept(sessionStorage, 'workflow:', text => text),
    ...kept(localStorage, 'Comfy.Workflow.Draft.v2:', text => JSON.parse(text).data)
  ].includes(values(app.graph.serialize()))
}"""

# A point of the canvas with nothing upon it, and nothing of the graph within 20 px of it.
_EMPTY = """() => {
  const canvas = document.querySelector('#graph-canvas'), {ds, graph} = app.canvas
  const box = canvas.getBoundingClientRect()
  const isFree = (x, y) => document.elementFromPoint(box.left + x, box.top + y) === canvas
    && !graph.getNodeOnPos(x / ds.scale - ds.offset[0], y / ds.scale - ds.offset[1], undefined, 20)
    && !graph.getGroupOnPos(x / ds.scale - ds.offset[0], y / ds.scale - ds.offset[1])
  const near = (x, y) => [-20, 0, 20].flatMap(dx => [-20, 0, 20].map(dy => [x + dx, y + dy]))
  for (let y = box.height - 60; y > 60; y -= 40)
    for (let x = box.width - 60; x > 60; x -= 40)
      if (near(x, y).every(([x, y]) => isFree(x, y))) return {x, y}
  return null
}"""

_DROP = """([data, name]) => {
  const bytes = Uint8Array.from(atob(data), one => one.charCodeAt(0))
  const dataTransfer = new DataTransfer()
  dataTransfer.items.add(new File([bytes], name, {type: 'image/png'}))
  const canvas = document.querySelector('#graph-canvas'), box = canvas.getBoundingClientRect()
  const at = {clientX: box.left + box.width / 2, clientY: box.top + box.height - 20}
  for (const kind of ['dragenter', 'dragover', 'drop'])
    canvas.dispatchEvent(new DragEvent(kind, {dataTransfer, bubbles: true, cancelable: true, ...at}))
}"""


class Editor:
    """The page of one ComfyUI, as a person sees it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        page.evaluate(_RECORD)

    def open(self, name: str) -> None:
        """Show one of the pack's workflows."""
        workflow = read_workflow(ROOT / "workflows" / f"{name}.json")
        self.page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
        self.page.wait_for_function(
            "types => JSON.stringify(app.graph._nodes.map(node => node.type).sort()) === JSON.stringify(types)",
            arg=sorted(node["type"] for node in workflow["nodes"]),
            timeout=PATIENCE_MS,
        )

    def ids(self, kind: str) -> list[str]:
        """Ids of the nodes of one type, in order."""
        found = self.page.evaluate(
            "kind => app.graph._nodes.filter(node => node.type === kind).map(node => String(node.id))", kind
        )
        return sorted(found, key=int)

    def set(self, id: str, values: Mapping[str, Any]) -> None:
        """Give widgets of a node these values."""
        self.page.evaluate(
            """([id, values]) => {
              const {widgets} = app.graph.getNodeById(id)
              for (const [name, value] of Object.entries(values)) widgets.find(one => one.name === name).value = value
            }""",
            [id, dict(values)],
        )

    def change(self, id: str, values: Mapping[str, Any]) -> None:
        """The same as a person does it: the page hears of it."""
        self.set(id, values)
        self.page.evaluate("() => window.dispatchEvent(new MouseEvent('mouseup', {bubbles: true}))")

    def info(self, id: str) -> str:
        """What a node says, "" if nothing."""
        return self.page.evaluate(INFO, id)

    def wait_for_info(self, id: str, text: str) -> None:
        """Until a node says something with these words in it."""
        self.page.wait_for_function(
            f"([id, text]) => ({INFO})(id).includes(text)", arg=[id, text], timeout=PATIENCE_MS
        )

    def run(self, steps: int = 2) -> None:
        """Queue and wait for the end.

        Args:
            steps: of every node that has some.
        """
        self.page.evaluate(STEPS, steps)
        self.queue()
        self.wait_for("execution_success")

    def value(self, id: str, name: str) -> Any:
        """What a node's widget holds."""
        return self.page.evaluate(VALUE, [id, name])

    def fed_by(self, id: str, name: str) -> str | None:
        """The node that a node's input comes from."""
        return self.page.evaluate(_FED_BY, [id, name])

    def select(self, id: str) -> None:
        """Select a node, with the keyboard on the canvas."""
        self.page.evaluate(_SELECT, id)

    def selected(self) -> list[str]:
        """The nodes that are selected."""
        return self.page.evaluate(_SELECTED)

    def click_empty(self) -> None:
        """Click where nothing is, after which the page has noted what the graph looks like."""
        position = self.page.evaluate(_EMPTY)
        assert position is not None, "the graph leaves no room"
        self.page.locator("#graph-canvas").click(position=position)

    def boxes(self) -> list[list[float]]:
        """Left, top, right and bottom of every node with its title."""
        return self.page.evaluate(_BOXES)

    def slot(self, id: str, side: str, name: str) -> tuple[float, float]:
        """Where one of a node's "inputs" or "outputs" lies on the screen."""
        x, y = self.page.evaluate(_SLOT, [id, side, name])
        return x, y

    def wire(self, start: tuple[str, str], end: tuple[str, str]) -> None:
        """Drag by mouse from an output to an input, each (node, slot)."""
        mouse = self.page.mouse
        mouse.move(*self.slot(start[0], "outputs", start[1]))
        mouse.down()
        mouse.move(*self.slot(end[0], "inputs", end[1]), steps=8)
        mouse.up()

    def graph(self) -> Json:
        """Nodes with their widgets' values, and links."""
        return self.page.evaluate(_GRAPH)

    def dialogs(self) -> list[str]:
        """The text of every dialog that covers the page."""
        shown = self.page.locator(
            "[role=dialog], [role=alertdialog], .p-dialog, .p-dialog-mask, .comfy-modal"
        )
        return [one.inner_text() for one in shown.all() if one.is_visible()]

    def undo(self) -> None:
        """The keys for one step back, once the step before is done."""
        self.page.wait_for_function(_SETTLED, timeout=PATIENCE_MS)
        self.page.keyboard.press("Control+z")

    def undo_until(self, there: str, arg: Any) -> None:
        """Step back until something is so; that nodes have grown around their pictures
        may be a step of its own.

        Args:
            there: a JavaScript function that says whether it is arg: what that gets
        """
        while not self.page.evaluate(there, arg):
            steps = self.page.evaluate(_STEPS_BACK)
            assert steps, "it comes back at none of the steps"
            self.undo()
            self.page.wait_for_function(
                f"steps => ({_STEPS_BACK})() < steps && ({_SETTLED})()", arg=steps, timeout=PATIENCE_MS
            )

    def wait_until_kept(self) -> None:
        """Until the page, loaded anew, would open the graph with the values that it has now."""
        self.page.wait_for_function(_KEPT, timeout=PATIENCE_MS)

    def queue(self) -> None:
        """Press the button."""
        self.page.evaluate("() => { window.seen.length = 0 }")
        self.page.locator('[data-testid="queue-button"]').click()

    def seen(self, kind: str, node: str | None = None) -> list[Json]:
        """The server's messages of one kind since the last `queue`."""
        return self.page.evaluate(
            "([kind, node]) => seen.filter(one => one.kind === kind && (node === null || one.node === node))",
            [kind, node],
        )

    def wait_for(self, kind: str, node: str | None = None) -> None:
        """Until such a message has come."""
        self.page.wait_for_function(
            "([kind, node]) => seen.some(one => one.kind === kind && (node === null || one.node === node))",
            arg=[kind, node],
            timeout=PATIENCE_MS,
            polling=20,
        )

    def shown_picture(self, id: str) -> Json:
        """The picture that a node shows on the canvas, once it does: its width, height and address."""
        self.page.wait_for_function(
            "id => app.graph.getNodeById(id).imgs?.some(one => one.naturalWidth && one.src.includes('/view?'))",
            arg=id,
            timeout=PATIENCE_MS,
        )
        return self.page.evaluate(
            """id => {
              const [one] = app.graph.getNodeById(id).imgs
              return {width: one.naturalWidth, height: one.naturalHeight, src: one.src}
            }""",
            id,
        )

    def drop(self, data: bytes, name: str) -> None:
        """Drop a file on the canvas."""
        self.page.evaluate(_DROP, [base64.b64encode(data).decode(), name])


def forget(url: str) -> None:
    """ComfyUI keeps no result, so that all runs again."""
    body = b'{"unload_models": true, "free_memory": true}'
    request = urllib.request.Request(f"{url}/free", body, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        assert answer.status == 200
