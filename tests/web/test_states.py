"""The rows of the chain panel are up to date: whether the picture matches the graph, and what waits, runs or
failed.
"""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
from playwright.sync_api import expect

from .editor import PATIENCE_MS, STEPS, VALUE, Editor
from .panel import REMOVE, SEEDS, Panel, three_turns

pytestmark = pytest.mark.comfy

_READY = "() => window.app?.graph && window.app?.extensionManager"
_HEADING = ".kontext-heading"
# Every picture that a node shows, whoever draws it; those that were seen while it was made are blobs.
_SHOWN = """id => {
  const vue = [...document.querySelectorAll(`[data-node-id="${id}"] img`)]
  return (vue.length ? vue : app.graph.getNodeById(id).imgs ?? []).map(one => one.src)
}"""
_RENAME = """() => {
  const {workflow} = app.extensionManager
  return workflow.renameWorkflow(workflow.activeWorkflow, 'workflows/renamed.json')
}"""
_PASTE_AS = """([id, number]) => {
  app.canvas.selectNode(app.graph.getNodeById(id))
  app.canvas.copyToClipboard()
  app.graph.last_node_id = Number(number) - 1
  app.canvas.pasteFromClipboard()
}"""


def post(url: str, body: dict[str, Any]) -> None:
    """Tell the server something."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        assert answer.status == 200


def states(panel: Panel, ids: list[str], *said: str) -> None:
    panel.wait_for_states(dict(zip(ids, said, strict=True)))


def tab(editor: Editor, back: int) -> None:
    """Show the workflow of another tab.

    Args:
        back: 1 for the last.
    """
    tabs = editor.page.locator(".workflow-tab")
    tabs.nth(tabs.count() - back).click()


def test_all_that_depends_on_a_change_is_out_of_date_until_it_is_taken_back(panel: Panel) -> None:
    turns = three_turns(panel)
    page, editor = panel.page, panel.editor
    states(panel, turns, "new", "new", "new")
    expect(page.locator(_HEADING)).to_have_text("Chain 1: 3 to run")
    editor.set(turns[0], {"seed": next(SEEDS)})
    editor.run()
    states(panel, turns, "finished", "finished", "finished")
    expect(page.locator(_HEADING)).to_have_text("Chain 1")

    panel.row(turns[1]).click()
    page.keyboard.press("F2")
    page.keyboard.type("something else")
    page.keyboard.press("Enter")
    states(panel, turns, "finished", "out of date", "out of date")
    expect(page.locator(_HEADING)).to_have_text("Chain 1: 2 to run")
    made = panel.row(turns[1]).locator(".kontext-made")
    expect(made).to_have_text("picture of seed 0: paint the blue circle black")
    editor.undo()
    states(panel, turns, "finished", "finished", "finished")
    expect(made).to_have_text("")

    marks = '{"version": 1, "marks": [{"kind": "box", "points": [[0.1, 0.1], [0.4, 0.4]]}]}'
    for values in ({"marks": marks}, {"steps": 3}, {"feather": 3}):
        before = {name: editor.value(turns[2], name) for name in values}
        editor.change(turns[2], values)
        states(panel, turns, "finished", "finished", "out of date")
        editor.change(turns[2], before)
        states(panel, turns, "finished", "finished", "finished")
    (example,) = editor.ids("KontextExample")
    before = editor.value(example, "picture")
    editor.change(example, {"picture": "square and circle"})
    states(panel, turns, "out of date", "out of date", "out of date")
    editor.change(example, {"picture": before})
    states(panel, turns, "finished", "finished", "finished")


def test_the_picture_of_another_seed_says_so_through_undo(panel: Panel) -> None:
    turns = three_turns(panel)
    page, editor = panel.page, panel.editor
    editor.set(turns[0], {"seed": next(SEEDS)})
    editor.run()
    states(panel, turns, "finished", "finished", "finished")
    page.wait_for_function(f"id => ({_SHOWN})(id).length === 1", arg=turns[2], timeout=PATIENCE_MS)
    first = page.evaluate(f"id => new URL(({_SHOWN})(id)[0]).searchParams.get('filename')", turns[2])
    panel.press(turns[2], "Re-roll")
    states(panel, turns, "finished", "finished", "out of date")
    row = panel.row(turns[2])
    expect(row.locator(".kontext-made")).to_have_text("picture of seed 1")
    rolled = editor.value(turns[2], "seed")
    editor.run()
    states(panel, turns, "finished", "finished", "finished")
    page.locator("#graph-canvas").focus()
    editor.undo_until(f"([id, seed]) => ({VALUE})([id, 'seed']) !== seed", [turns[2], rolled])
    assert editor.value(turns[2], "seed") == 1
    states(panel, turns, "finished", "finished", "finished")  # with the picture of then
    expect(row.locator(".kontext-seed")).to_have_text("seed 1")
    expect(row.locator(".kontext-made")).to_have_text("")
    shown = f"([id, name]) => ({_SHOWN})(id).every(src => src.includes(name))"
    page.wait_for_function(shown, arg=[turns[2], first], timeout=PATIENCE_MS)


def test_a_run_marks_the_nodes_of_its_own_workflow_alone(panel: Panel) -> None:
    page, editor = panel.page, panel.editor
    turns = three_turns(panel)
    editor.set(turns[0], {"seed": next(SEEDS)})
    page.evaluate(
        "() => app.graph._nodes.forEach(one => one.widgets?.filter(w => w.name === 'steps').forEach(w => { w.value = 40 }))"
    )
    editor.queue()
    editor.wait_for("b_preview_with_metadata", turns[0])
    expect(panel.row(turns[0]).locator(".kontext-state")).to_contain_text("running", timeout=PATIENCE_MS)
    states(panel, turns[1:], "waiting", "waiting")
    editor.open("five_turn_chain")  # its nodes have the same numbers
    others = editor.ids("KontextTurn")
    assert others[:3] == turns
    panel.wait_for(*others)
    editor.wait_for("execution_success")
    assert len(editor.seen("executed")) >= 3
    states(panel, others, *["new"] * 5)
    assert page.locator(".kontext-thumbnail img").count() == 0
    assert [editor.info(id) for id in others] == [""] * 5
    assert [page.evaluate(_SHOWN, id) for id in others] == [[]] * 5
    tab(editor, 2)
    panel.wait_for(*turns)
    states(panel, turns, "finished", "finished", "finished")
    editor.wait_for_info(turns[2], "turn 3")
    for id in turns:
        (image,) = editor.seen("executed", id)[0]["images"]
        assert image["filename"] in (
            panel.row(id).locator(".kontext-thumbnail img").first.get_attribute("src") or ""
        )
    tab(editor, 1)
    panel.wait_for(*others)
    states(panel, others, *["new"] * 5)


def test_a_pasted_turn_has_nothing_of_the_one_whose_number_it_has(panel: Panel) -> None:
    page, editor = panel.page, panel.editor
    turns = three_turns(panel)
    editor.run()
    states(panel, turns, "finished", "finished", "finished")
    page.evaluate(REMOVE, [turns[2]])
    panel.wait_for(*turns[:2])
    page.evaluate(_PASTE_AS, [turns[1], turns[2]])
    (pasted,) = set(editor.ids("KontextTurn")) - set(turns[:2])  # some front ends give no number twice
    panel.wait_for(*turns[:2], pasted)
    states(panel, [*turns[:2], pasted], "finished", "finished", "new")
    assert panel.row(pasted).locator("img").count() == 0
    page.wait_for_function(f"id => ({_SHOWN})(id).length === 0", arg=pasted, timeout=PATIENCE_MS)


def test_what_was_seen_of_a_turn_ends_with_its_run_when_that_is_cancelled(panel: Panel) -> None:
    page, editor = panel.page, panel.editor
    turns = three_turns(panel)
    editor.set(turns[0], {"seed": next(SEEDS)})
    editor.run()
    states(panel, turns, "finished", "finished", "finished")
    (before,) = editor.seen("executed", turns[0])[0]["images"]
    editor.set(turns[0], {"seed": next(SEEDS)})
    page.evaluate(
        "id => { app.graph.getNodeById(id).widgets.find(one => one.name === 'steps').value = 300 }", turns[0]
    )
    editor.queue()
    editor.wait_for("b_preview_with_metadata", turns[0])
    page.wait_for_function(
        f"id => ({_SHOWN})(id).some(one => one.startsWith('blob:'))", arg=turns[0], timeout=PATIENCE_MS
    )
    page.get_by_label("Cancel current run").click()
    editor.wait_for("execution_interrupted")
    page.wait_for_function(
        f"([id, name]) => {{ const all = ({_SHOWN})(id); return all.length === 1 && all[0].includes(name) }}",
        arg=[turns[0], before["filename"]],
        timeout=PATIENCE_MS,
    )
    states(panel, turns, "out of date", "out of date", "out of date")


def test_why_something_failed_is_said_in_node_and_row_until_it_is_mended(panel: Panel) -> None:
    page, editor = panel.page, panel.editor
    turns = three_turns(panel)
    (example,) = editor.ids("KontextExample")
    page.evaluate("id => app.graph.getNodeById(id).disconnectInput('image')", turns[0])
    editor.queue()
    editor.wait_for("execution_error")
    states(panel, turns, "failed", "new", "new")
    row = panel.row(turns[0])
    expect(row.locator(".kontext-why")).to_contain_text("a turn needs a picture")
    editor.wait_for_info(turns[0], "Failed: a turn needs a picture")
    expect(page.locator(".kontext-news")).to_contain_text("Turn 1, failed, a turn needs a picture")
    page.evaluate(
        "([from, to]) => { app.graph.getNodeById(from).connect(0, app.graph.getNodeById(to), 'image') }",
        [example, turns[0]],
    )
    states(panel, turns, "new", "new", "new")

    page.reload(wait_until="domcontentloaded")  # older pages show a dialog, which lies over the button
    page.wait_for_function(_READY, timeout=PATIENCE_MS)
    panel = Panel(Editor(page, editor.url))
    if page.locator(".kontext-panel").count() == 0:
        panel.open()
    turns, editor = three_turns(panel), panel.editor
    editor.set(turns[1], {"marks": "{no marks"})
    editor.queue()
    states(panel, turns[:2], "finished", "failed")
    expect(panel.row(turns[1]).locator(".kontext-why")).to_contain_text("the marks are not JSON")
    editor.wait_for_info(turns[1], "Failed: the marks are not JSON")
    expect(page.locator(".kontext-news")).to_contain_text("Turn 2, failed, the marks are not JSON")
    editor.change(turns[1], {"marks": ""})
    states(panel, turns[1:2], "new")


def test_what_is_taken_out_of_the_queue_waits_no_more(panel: Panel) -> None:
    editor = panel.editor
    turns = three_turns(panel)
    editor.set(turns[0], {"seed": next(SEEDS), "steps": 300})
    editor.queue()
    editor.wait_for("progress", turns[0])
    editor.open("five_turn_chain")
    others = editor.ids("KontextTurn")
    panel.wait_for(*others)
    editor.queue()
    states(panel, others, *["waiting"] * 5)
    post(f"{editor.url}/queue", {"clear": True})
    states(panel, others, *["new"] * 5)
    tab(editor, 2)
    panel.wait_for(*turns)
    expect(panel.row(turns[0]).locator(".kontext-state")).to_contain_text("running", timeout=PATIENCE_MS)
    post(f"{editor.url}/interrupt", {})
    states(panel, turns, "new", "new", "new")


def test_a_job_goes_on_while_the_page_is_loaded_anew(panel: Panel) -> None:
    page, editor = panel.page, panel.editor
    editor.open("text_to_image")  # what keeps the server busy meanwhile
    (sampler,) = editor.ids("KontextSampler")
    editor.set(sampler, {"seed": next(SEEDS), "steps": 1000, "width": 1024, "height": 1024})
    editor.queue()
    editor.wait_for("progress_state")
    turns = three_turns(panel)
    seed = next(SEEDS)
    editor.set(turns[0], {"seed": seed})
    page.evaluate(STEPS, 2)
    editor.queue()
    states(panel, turns, "waiting", "waiting", "waiting")
    page.evaluate(_RENAME)
    editor.wait_until_kept()
    for _ in range(2):  # and once more, before the server says anything of it
        page.reload(wait_until="domcontentloaded")
        page.wait_for_function(_READY, timeout=PATIENCE_MS)
        page.wait_for_function(
            "([id, seed]) => app.graph.getNodeById(id)?.widgets?.find(one => one.name === 'seed')?.value === seed",
            arg=[turns[0], seed],
            timeout=PATIENCE_MS,
        )
    again = Panel(Editor(page, editor.url))
    if page.locator(".kontext-panel").count() == 0:
        again.open()
    again.wait_for(*turns)
    again.editor.wait_for("progress_state")  # of the other workflow, whose nodes have the same numbers
    again.editor.change(turns[1], {"seed": 77})  # not what was queued
    states(again, turns, "new", "new", "new")
    post(f"{editor.url}/interrupt", {})
    states(again, turns, "finished", "out of date", "out of date")
    again.editor.change(turns[1], {"seed": 0})
    states(again, turns, "finished", "finished", "finished")
