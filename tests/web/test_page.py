"""What a person does on ComfyUI's page, with mouse and keyboard: open, add, wire, queue, watch, stop, take up again."""

from __future__ import annotations

import base64
import io
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from kontext_core.remote.client import Client, Json
from kontext_core.remote.workflow import read_workflow
from tools.page import SETTINGS, open_page
from tools.paths import ROOT
from tools.server import Server

pytestmark = pytest.mark.comfy
PATIENCE_MS = 120_000
QUIET: Json = {"Comfy.Minimap.Visible": False}  # it is drawn anew all the time
SEEDS = itertools.count(1000)  # a graph with a seed of its own is not in ComfyUI's cache

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


@pytest.fixture
def editor(browser: Browser, server: Server, tmp_path: Path) -> Iterator[Editor]:
    """ComfyUI's page in a fresh profile; what it looked like at the end lies in the test's temporary folder."""
    with Client(server.url) as client:
        client.settings(QUIET)
    with open_page(browser, server.url) as page:
        yield Editor(page, server.url)
        page.screenshot(path=tmp_path / "page.png")


def test_template_opens_without_dialogs(editor: Editor) -> None:
    workflow = read_workflow(ROOT / "workflows" / "three_turn_edit.json")
    page = editor.page
    with Client(editor.url) as client:
        client.settings({"Comfy.Workflow.ShowMissingNodesWarning": True})
        page.goto(f"{editor.url}/?template=three_turn_edit&source=kontext", wait_until="domcontentloaded")
        page.wait_for_function(
            "titles => titles.every(title => window.app?.graph?._nodes.some(node => node.title === title))",
            arg=["Turn 1", "Turn 2", "Turn 3"],
            timeout=PATIENCE_MS,
        )
        page.wait_for_timeout(500)
        client.settings(SETTINGS)
    assert editor.dialogs() == []
    opened = editor.graph()
    assert [(node["id"], node["type"]) for node in opened["nodes"]] == sorted(
        (str(node["id"]), node["type"]) for node in workflow["nodes"]
    )
    assert len(opened["links"]) == len(workflow["links"])
    values = {str(node["id"]): node.get("widgets_values") or [] for node in workflow["nodes"]}
    assert {node["id"]: node["values"] for node in opened["nodes"]} == values
    unknown = "() => app.graph._nodes.filter(node => !LiteGraph.registered_node_types[node.type] || node.has_errors)"
    assert page.evaluate(f"({unknown})().map(node => node.type)") == []
    # all of it is on the screen
    width, height = page.viewport_size["width"], page.viewport_size["height"]
    for turn in editor.ids("KontextEdit"):
        for x, y in (editor.slot(turn, "inputs", "model"), editor.slot(turn, "outputs", "image")):
            assert 0 < x < width
            assert 0 < y < height


def test_node_is_dragged_from_the_library_and_wired(editor: Editor) -> None:
    page = editor.page
    page.evaluate("() => { app.graph.clear(); app.canvas.ds.scale = 1; app.canvas.ds.offset = [0, 0] }")
    page.get_by_label("Node Library (n)").first.click()

    def drag(display_name: str, x: int, y: int, node: str) -> str:
        page.get_by_placeholder("Search Nodes...").first.fill(display_name)
        entry = page.locator("[draggable=true]:not(.workflow-tab)", has_text=display_name).first
        expect(entry).to_be_visible(timeout=PATIENCE_MS)
        entry.drag_to(page.locator("#graph-canvas"), target_position={"x": x, "y": y}, timeout=PATIENCE_MS)
        page.wait_for_function(
            "kind => app.graph._nodes.some(node => node.type === kind)", arg=node, timeout=PATIENCE_MS
        )
        (id,) = editor.ids(node)
        return id

    model = drag("Kontext Load Model", 560, 200, "KontextLoadModel")
    edit = drag("Kontext Edit", 1080, 200, "KontextEdit")
    left = editor.slot(model, "outputs", "model")
    assert 400 < left[0] < editor.slot(edit, "inputs", "model")[0], "they lie where they were dropped"
    editor.wire((model, "model"), (edit, "model"))
    links = editor.graph()["links"]
    assert [(link[0], link[2]) for link in links] == [(model, edit)]
    assert page.evaluate("id => app.graph.getNodeById(id).getInputNode(0)?.type", edit) == "KontextLoadModel"
    assert editor.dialogs() == []


def test_queue_shows_progress_preview_and_picture(editor: Editor) -> None:
    editor.open("single_edit")
    (edit,), (save,) = editor.ids("KontextEdit"), editor.ids("SaveImage")
    editor.set(edit, {"seed": next(SEEDS), "steps": 20})
    (loader,) = editor.ids("KontextLoadModel")
    editor.set(loader, {"device": "cpu"})  # no other test does: it runs, and is not taken from the cache
    editor.queue()
    editor.wait_for("b_preview_with_metadata", edit)
    editor.wait_for("execution_success")
    assert editor.seen("execution_error") == []
    steps = editor.seen("progress", edit)
    assert [step["value"] for step in steps] == list(range(1, 21))
    assert {step["max"] for step in steps} == {20}
    assert any(edit in state["nodes"] for state in editor.seen("progress_state"))
    previews = editor.seen("b_preview_with_metadata", edit)
    assert {preview["type"] for preview in previews} == {"image/jpeg"}
    assert previews[0]["at"] < editor.seen("executed", save)[0]["at"]
    picture = editor.shown_picture(save)
    assert (picture["width"], picture["height"]) == (128, 128)
    (image,) = editor.seen("executed", save)[0]["images"]
    assert image["filename"] in picture["src"]
    text = editor.page.evaluate(
        "id => app.graph._nodes.find(node => String(node.id) === String(id))"
        ".widgets.find(widget => widget.name === 'kontext_text')?.value",
        loader,
    )
    assert "float32 on cpu" in text, "the loader says in the node what is loaded, after the run too"
    assert editor.dialogs() == []


def test_saved_picture_restores_the_graph(editor: Editor) -> None:
    editor.open("single_edit")
    (edit,), (save,) = editor.ids("KontextEdit"), editor.ids("SaveImage")
    editor.set(
        edit, {"seed": next(SEEDS), "steps": 3, "guidance": 3.5, "instruction": "make it “green”, please"}
    )
    drawn = editor.graph()
    editor.queue()
    editor.wait_for("execution_success")
    (image,) = editor.seen("executed", save)[0]["images"]
    with Client(editor.url) as client:
        saved = client.view(image)
    assert "workflow" in Image.open(io.BytesIO(saved)).info
    editor.open("text_to_image")
    assert editor.graph() != drawn
    editor.drop(saved, image["filename"])
    editor.page.wait_for_function(
        "kind => app.graph._nodes.some(node => node.type === kind)", arg="KontextEdit", timeout=PATIENCE_MS
    )
    restored = editor.graph()
    assert restored == drawn, json.dumps([restored, drawn], indent=1)
    assert editor.dialogs() == []


def test_interrupt_stops_within_a_step_and_the_next_run_works(editor: Editor) -> None:
    editor.open("text_to_image")
    (sampler,), (save,) = editor.ids("KontextSampler"), editor.ids("SaveImage")
    steps = 200
    editor.set(sampler, {"seed": next(SEEDS), "steps": steps, "width": 512, "height": 512})
    page = editor.page
    editor.queue()
    editor.wait_for("progress", sampler)
    with page.expect_response(lambda response: response.url.endswith("/interrupt")):
        page.get_by_label("Cancel current run").click()
    at_answer = page.evaluate("() => seen.filter(one => one.kind === 'progress').at(-1).value")
    editor.wait_for("execution_interrupted")
    last = editor.seen("progress", sampler)[-1]["value"]
    assert last <= at_answer + 1
    assert last < steps
    assert editor.seen("executed", save) == []

    editor.set(sampler, {"steps": 2, "width": 128, "height": 128})
    editor.queue()
    editor.wait_for("execution_success")
    assert [step["value"] for step in editor.seen("progress", sampler)] == [1, 2]
    assert editor.shown_picture(save)["width"] == 128
    assert editor.dialogs() == []
