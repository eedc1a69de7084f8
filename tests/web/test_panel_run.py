"""The chain panel while a graph runs, and for turns inside a subgraph."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from .editor import PATIENCE_MS
from .panel import REMOVE, SEEDS, SUBGRAPH, THUMBNAILS, Panel, three_turns

pytestmark = pytest.mark.comfy


def test_pictures_and_states_of_a_run_and_before_and_after(panel: Panel) -> None:
    first, second, third = three_turns(panel)
    page = panel.page
    assert page.locator(".kontext-thumbnail img").count() == 0
    expect(page.get_by_text("Run the graph to see this turn before and after.")).to_be_visible()
    panel.watch_states()
    panel.editor.set(first, {"seed": next(SEEDS), "steps": 4})
    panel.editor.queue()
    panel.editor.wait_for("execution_success")
    for id in (first, second, third):
        expect(panel.row(id).locator(".kontext-state")).to_have_text("finished", timeout=PATIENCE_MS)
        page.wait_for_function(
            "id => document.querySelector(`.kontext-row[data-id='${id}'] .kontext-thumbnail img`)?.naturalWidth > 0",
            arg=id,
            timeout=PATIENCE_MS,
        )
        (image,) = panel.editor.seen("executed", id)[0]["images"]
        assert image["filename"] in (
            panel.row(id).locator(".kontext-thumbnail img").first.get_attribute("src") or ""
        )
        assert panel.editor.seen("b_preview_with_metadata", id), "something was seen while it was made"
        expect_result_alone(panel, id, image["filename"])
    seen = panel.seen_states(first)
    assert any(state.startswith("running, ") for state in seen), seen

    panel.row(second).click()
    sources = page.locator(".kontext-before-after img").evaluate_all("all => all.map(one => one.src)")
    for source, id in zip(sources, (second, first), strict=True):  # the result lies under what came before
        assert panel.editor.seen("executed", id)[0]["images"][0]["filename"] in source
    slider = page.get_by_role("slider", name="Before and after")
    box = page.locator(".kontext-before-after").bounding_box()
    assert box is not None
    assert slider.get_attribute("aria-valuenow") == "50"
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 40, steps=4)
    page.mouse.up()
    assert abs(int(slider.get_attribute("aria-valuenow") or "") - 25) <= 1
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 40)
    assert abs(int(slider.get_attribute("aria-valuenow") or "") - 25) <= 1, "it was let go"
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("PageUp")
    assert slider.get_attribute("aria-valuenow") == "12"
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuenow") == "100"
    clip = page.locator(".kontext-before").evaluate("one => getComputedStyle(one).clipPath")
    assert clip in {"inset(0px)", "inset(0px 0% 0px 0px)", "inset(0px calc(0%) 0px 0px)"}, (
        "all of it is before"
    )

    page.evaluate("id => app.graph.getNodeById(id).disconnectInput('image')", first)
    panel.row(first).click()
    expect(slider).to_be_hidden(timeout=PATIENCE_MS)
    expect(page.locator(".kontext-after")).to_be_visible()

    page.evaluate("id => app.extensionManager.setting.set(id, false)", THUMBNAILS)
    expect(page.locator(".kontext-thumbnail img")).to_have_count(0, timeout=PATIENCE_MS)


def expect_result_alone(panel: Panel, id: str, filename: str) -> None:
    """A node shows what came of it, once, and no longer what was seen of it while it was made."""
    panel.page.wait_for_function(
        """([id, filename]) => {
          const vue = document.querySelectorAll(`[data-node-id="${id}"] img`)
          const shown = vue.length ? [...vue] : (app.graph.getNodeById(id).imgs ?? [])
          return shown.length === 1 && shown[0].src.includes(filename)
        }""",
        arg=[id, filename],
        timeout=PATIENCE_MS,
    )


_SHOWN = """() => [app.canvas.graph === app.graph,
  ...Object.values(app.canvas.selected_nodes).map(node => String(node.id))]"""
# Not the distance from the centre: where the node is drawn for the first time, it grows for
# its picture behind the jump.
_IN_THE_MIDDLE = """id => {
  const {pos, size} = app.canvas.graph.getNodeById(id), {ds, canvas} = app.canvas, box = canvas.getBoundingClientRect()
  return [box.width, box.height].every((length, i) => {
    const middle = length / 2 / ds.scale - ds.offset[i]
    return pos[i] < middle && middle < pos[i] + size[i]
  })
}"""


def test_turns_in_a_subgraph_are_shown_run_and_jumped_to_as_all_others(panel: Panel) -> None:
    page = panel.page
    first, second, third = three_turns(panel)
    for id in (first, second, third):
        panel.editor.set(id, {"seed": next(SEEDS), "steps": 4})
    host = page.evaluate(SUBGRAPH, [second])
    inner = f"{host}:{second}"
    rows = panel.wait_for(first, inner, third)
    assert [row["name"] for row in rows] == ["Turn 1", "Turn 2", "Turn 3"], (
        "one chain, through the wall and out"
    )
    panel.editor.queue()
    panel.editor.wait_for("execution_success")
    for id in (first, inner, third):
        expect(panel.row(id).locator(".kontext-state")).to_have_text("finished", timeout=PATIENCE_MS)
    assert any(inner in one["nodes"] for one in panel.editor.seen("progress_state"))
    page.evaluate(
        """id => app.api.dispatchCustomEvent('progress_state',
          {nodes: {[id]: {node_id: id, state: 'running', value: 3, max: 12}}})""",
        inner,
    )
    expect(panel.row(inner).locator(".kontext-state")).to_have_text("running, 25 %", timeout=PATIENCE_MS)
    expect(panel.row(inner).locator(".kontext-thumbnail img").first).to_have_attribute(
        "src", re.compile("/view"), timeout=PATIENCE_MS
    )

    panel.row(inner).locator(".kontext-words").click()
    page.wait_for_function(f"id => JSON.stringify(({_SHOWN})()) === JSON.stringify([false, id])", arg=second)
    page.wait_for_timeout(500)
    assert page.evaluate(_IN_THE_MIDDLE, second)
    sources = page.locator(".kontext-before-after img").evaluate_all("all => all.map(one => one.src)")
    assert all("/view" in source for source in sources), "before it is what came in through the wall"
    panel.row(third).locator(".kontext-words").click()
    page.wait_for_function(f"id => JSON.stringify(({_SHOWN})()) === JSON.stringify([true, id])", arg=third)

    page.evaluate("id => app.api.dispatchCustomEvent('execution_error', {node_id: id})", inner)
    expect(panel.row(inner).locator(".kontext-state")).to_have_text("failed", timeout=PATIENCE_MS)

    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    panel.editor.set(first, {"seed": next(SEEDS), "steps": 20})
    panel.editor.queue()
    panel.editor.wait_for("executed", first)
    page.evaluate(REMOVE, [host])  # in the middle of the chain, while it is made
    panel.wait_for(first, third)
    panel.editor.wait_for("execution_success")
    state = panel.row(third).locator(".kontext-state")  # its picture is that of a chain that is gone
    expect(state).to_have_text("out of date", timeout=PATIENCE_MS)
    own = "Subgraph not found"  # front end 1.27 by itself, of events of a node that is gone
    assert [error for error in errors if not error.startswith(own)] == []
