"""Kontext Compare shows its two pictures with a line between them, on canvas nodes and Vue nodes."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from .editor import PATIENCE_MS
from .panel import ON_CANVAS_AND_VUE, SEEDS, Panel

pytestmark = pytest.mark.comfy

_STATE = """id => {
  const node = app.graph.getNodeById(id), picture = node.widgets.find(one => one.name === '$$canvas-image-preview')
  return {imgs: node.imgs?.length ?? 0, hidden: !picture || picture.hidden === true, height: node.size[1],
    pos: [...node.pos], needed: node.computeSize()[1], values: node.serialize().widgets_values.length}
}"""
_HAS_ITS_PICTURE = "id => app.graph.getNodeById(id).imgs?.length === 1"
_SHOW = """id => {
  const node = app.graph.getNodeById(id), {ds} = app.canvas
  ds.scale = 1
  ds.offset[0] = 700 - node.pos[0]
  ds.offset[1] = 150 - node.pos[1]
  app.canvas.setDirty(true, true)
}"""
_LOADED = """count => {
  const images = [...document.querySelectorAll('.kontext-wipe:not([hidden]) img')]
  return images.length === 2 * count && images.every(one => one.naturalWidth > 0)
}"""


def frame(panel: Panel) -> Locator:
    return panel.page.locator(".kontext-wipe:not([hidden]) .kontext-before-after")


def names(panel: Panel) -> list[str]:
    return panel.page.locator(".kontext-wipe .kontext-picture-name").all_inner_texts()


def value(panel: Panel) -> float:
    return float(frame(panel).get_by_role("slider").get_attribute("aria-valuenow") or "nan")


def compared(panel: Panel) -> str:
    """A Kontext Compare of two branches that has run, in view."""
    panel.editor.open("branch_and_compare")
    panel.button().click()  # the node has all of the page
    expect(panel.page.locator(".kontext-panel")).to_have_count(0)
    (node,) = panel.editor.ids("KontextCompare")
    assert panel.page.locator(".kontext-wipe").count() == 0, "no empty box"
    for id in panel.editor.ids("KontextTurn"):
        panel.editor.set(id, {"seed": next(SEEDS)})
    panel.editor.run()
    wait_until_shown(panel, node)
    return node


def wait_until_shown(panel: Panel, node: str) -> None:
    panel.page.evaluate(_SHOW, node)
    panel.page.wait_for_function(_LOADED, arg=1, timeout=PATIENCE_MS)
    expect(frame(panel)).to_be_visible()


@ON_CANVAS_AND_VUE
def test_a_line_is_moved_by_mouse_and_keys_and_a_double_click_shows_all(panel: Panel) -> None:
    node = compared(panel)
    page = panel.page
    assert names(panel) == ["First: turn 2", "Second: turn 2"]
    if not page.evaluate("() => LiteGraph.vueNodesMode"):  # it keeps its picture, once the page has drawn it
        page.wait_for_function(_HAS_ITS_PICTURE, arg=node, timeout=PATIENCE_MS)
    before = page.evaluate(_STATE, node)
    assert before["hidden"], "which is not shown twice"
    assert before["height"] >= before["needed"] - 1
    page.wait_for_timeout(300)
    assert page.evaluate(_STATE, node)["height"] == before["height"], "it does not grow on and on"
    expect(page.locator(f'.lg-node[data-node-id="{node}"] .image-preview:visible')).to_have_count(0)

    box = frame(panel).bounding_box()
    assert box is not None
    assert box["width"] == pytest.approx(box["height"], abs=2), "the pictures are square"
    middle = box["y"] + box["height"] / 3
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, middle, steps=4)
    page.mouse.up()
    assert value(panel) == pytest.approx(25, abs=1)
    slider = frame(panel).get_by_role("slider")
    expect(slider).to_be_focused()
    page.keyboard.press("ArrowRight")
    assert value(panel) == pytest.approx(27, abs=1)
    page.keyboard.press("Home")
    assert value(panel) == 0
    page.keyboard.press("PageUp")
    assert value(panel) == 10
    after = page.evaluate(_STATE, node)
    assert after["pos"] == before["pos"], "the node stays where it is"
    assert after["values"] == before["values"] == 2, "and nothing of it is saved"

    frame(panel).dblclick()
    dialog = page.get_by_role("dialog", name="First: turn 2 and Second: turn 2")
    expect(dialog).to_be_visible()
    page.wait_for_function("() => document.querySelector('.kontext-large-stage').dataset.view")
    for key, mode in (("s", "side"), ("d", "difference"), ("o", "one"), ("w", "wipe")):
        page.keyboard.press(key)
        assert page.locator(".kontext-large-stage").get_attribute("data-mode") == mode
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)

    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.wheel(0, -200)
    page.wait_for_function("() => app.canvas.ds.scale > 1", timeout=PATIENCE_MS)


@ON_CANVAS_AND_VUE
def test_it_is_there_whenever_the_page_keeps_pictures(panel: Panel) -> None:
    node = compared(panel)
    page, editor = panel.page, panel.editor
    shown = page.locator(".kontext-wipe img").first.get_attribute("src")
    editor.click_empty()
    turn = editor.ids("KontextTurn")[0]
    editor.change(turn, {"steps": 5})
    editor.undo_until(
        "([id]) => app.graph.getNodeById(id).widgets.find(one => one.name === 'steps').value !== 5", [turn]
    )
    wait_until_shown(panel, node)
    assert page.locator(".kontext-wipe img").first.get_attribute("src") == shown

    editor.set(node, {"turn": 0, "other_turn": -1})
    page.evaluate(
        "id => { const node = app.graph.getNodeById(id); node.disconnectInput(node.inputs.findIndex(one => one.name === 'other')) }",
        node,
    )
    editor.run()
    expect(page.locator(".kontext-wipe .kontext-picture-name").first).to_have_text(
        "Before: start", timeout=PATIENCE_MS
    )
    assert names(panel) == ["Before: start", "After: turn 2"]

    path = page.evaluate("() => app.extensionManager.workflow.activeWorkflow.path")
    page.evaluate("() => app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    page.wait_for_function("() => app.graph._nodes.length === 0", timeout=PATIENCE_MS)
    expect(page.locator(".kontext-wipe:visible")).to_have_count(0)
    page.get_by_text(path.removeprefix("workflows/").removesuffix(".json"), exact=True).first.click()
    page.wait_for_function("id => app.graph.getNodeById(id)", arg=node, timeout=PATIENCE_MS)
    wait_until_shown(panel, node)
    assert names(panel) == ["Before: start", "After: turn 2"]

    editor.wait_until_kept()
    page.reload()
    page.wait_for_function("id => window.app?.graph?.getNodeById(id)", arg=node, timeout=PATIENCE_MS)
    page.wait_for_timeout(500)
    kept = page.evaluate("id => Boolean(app.nodeOutputs[id]?.images?.length)", node)
    expect(page.locator(".kontext-wipe:visible")).to_have_count(int(kept), timeout=PATIENCE_MS)


@ON_CANVAS_AND_VUE
def test_where_its_pictures_are_gone_there_is_no_empty_box(panel: Panel) -> None:
    node = compared(panel)
    page = panel.page
    page.evaluate(
        """id => {
          const node = app.graph.getNodeById(id), output = JSON.parse(JSON.stringify(app.nodeOutputs[id]))
          output.kontext_compare[0].after.filename = 'not there.png'
          node.onExecuted(output)
        }""",
        node,
    )
    expect(page.locator(".kontext-wipe:visible")).to_have_count(0, timeout=PATIENCE_MS)
    page.wait_for_function(
        "id => { app.canvas.draw(true, true); const {widgets} = app.graph.getNodeById(id);"
        " const picture = widgets.find(one => one.name === '$$canvas-image-preview'); return !picture?.hidden }",
        arg=node,
        timeout=PATIENCE_MS,
    )
    assert page.evaluate("id => app.graph.getNodeById(id).hideOutputImages", node) is False
