"""A person's actions on ComfyUI's page, with mouse and keyboard: open, add, connect, queue, watch, stop,
resume.
"""

from __future__ import annotations

import io
import itertools
import json
import re

import pytest
import torch
from PIL import Image
from playwright.sync_api import expect

from kontext_core.chain import Chain, Turn, save_chain
from kontext_core.remote.client import Client
from kontext_core.remote.workflow import read_workflow
from tools.page import SETTINGS
from tools.paths import ROOT
from tools.server import Server

from .editor import PATIENCE_MS, Editor

pytestmark = pytest.mark.comfy
SEEDS = itertools.count(1000)  # a graph with a seed of its own is not in ComfyUI's cache


@pytest.mark.since_front_end("1.32")  # the first one tried that opens an address with a template
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
        page.get_by_placeholder(re.compile(r"^Search( Nodes)?\.\.\.$")).first.fill(display_name)
        entry = page.locator("[draggable=true]:not(.workflow-tab)", has_text=display_name).first
        expect(entry).to_be_visible(timeout=PATIENCE_MS)
        entry.drag_to(page.locator("#graph-canvas"), target_position={"x": x, "y": y}, timeout=PATIENCE_MS)
        page.wait_for_function(
            "kind => app.graph._nodes.some(node => node.type === kind)", arg=node, timeout=PATIENCE_MS
        )
        (id,) = editor.ids(node)
        return id

    model = drag("Kontext Load Model", 760, 300, "KontextLoadModel")
    edit = drag("Kontext Edit", 1180, 300, "KontextEdit")
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
    values = [step["value"] for step in steps]
    assert (values[0], values[-1]) == (1, 20)
    assert values == sorted(set(values)), "those between may be passed over"
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


def test_words_of_a_chain_from_a_file_are_text_and_its_picture_has_room(
    editor: Editor, server: Server
) -> None:
    """A friend's file with markup in its words runs nothing; a node that was made small
    grows around its picture.
    """
    words = "<img src=x onerror=window.ran=1> make it blue <script>window.ran=2</script>"
    start, turn = (Turn(torch.full((1, 64, 64, 3), 0.5), instruction=one, seed=2) for one in ("", words))
    save_chain(Chain((start, turn)), server.base / "input" / "friend.png", latents=False)
    page = editor.page
    picks = page.evaluate(
        """async () => {
          await app.loadGraphData({version: 0.4, last_node_id: 0, last_link_id: 0, nodes: [], links: [], groups: []})
          const load = LiteGraph.createNode('KontextLoadChain')
          app.graph.add(load)
          load.pos = [400, 100]
          load.widgets.find(one => one.name === 'file').value = 'friend.png'
          return [0, 1, 2].map(i => {
            const pick = LiteGraph.createNode('KontextPickTurn')
            app.graph.add(pick)
            pick.pos = [800 + 240 * i, 100]
            pick.setSize([200, pick.computeSize()[1]])
            pick.widgets.find(one => one.name === 'turn').value = -1
            load.connect(0, pick, 0)
            return String(pick.id)
          })
        }"""
    )
    editor.queue()
    editor.wait_for("execution_success")
    for pick in picks:
        assert editor.shown_picture(pick)["width"] == 64
        assert words in editor.value(pick, "kontext_text")
        page.wait_for_function(
            """id => {
              const node = app.graph.getNodeById(id)
              const shown = node.widgets.find(one => one.name === '$$canvas-image-preview')
              return shown && shown.computedHeight >= 200 && shown.y + shown.computedHeight <= node.size[1] + 1
            }""",
            arg=pick,
            timeout=15_000,
        )
    assert page.evaluate("() => window.ran") is None


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
