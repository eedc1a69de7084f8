"""Failures and data of removed nodes are not kept: requests are repeated, copies leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from kontext_core.remote.client import Client
from tools.server import Server

from .drawing import build, button, closed, command, drag, marks, opened
from .editor import PATIENCE_MS, Editor
from .layout import by_number, references, wait_until_it_says
from .panel import LOCALE, Panel

pytestmark = pytest.mark.comfy

_FONT, _PLAN, _WORDS = "**/Aileron*", "**/kontext/plan*", "**/api/i18n"
_CHANGE = "() => app.api.dispatchCustomEvent('graphChanged', {})"

# Every element that the page makes from now on; a reference holds none of them alive.
_WATCH_ELEMENTS = """() => {
  window.made = []
  const {createElement} = document
  document.createElement = function (...given) {
    const element = createElement.apply(this, given)
    window.made.push(new WeakRef(element))
    return element
  }
}"""
_ALIVE = "() => made.filter(one => one.deref()?.className === 'kontext-layout').length"
# Counted at once, for behind it what nothing holds may be collected.
_COPY = f"""count => {{
  const node = LiteGraph.createNode('KontextReference')
  app.graph.add(node)
  app.canvas.selectNode(node)
  for (let i = 0; i < count; i++) app.canvas.copyToClipboard()
  return ({_ALIVE})()
}}"""
_LOADED = """name => {
  app.graph.clear()
  const [load, node] = ['LoadImage', 'KontextReference'].map(type => LiteGraph.createNode(type))
  for (const one of [load, node]) app.graph.add(one)
  load.widgets.find(one => one.name === 'image').value = name
  node.widgets.find(one => one.name === 'fit').value = 'none'
  load.connect(0, node, node.inputs.findIndex(one => one.name === 'image'))
  return String(node.id)
}"""
_REMOVE = "id => app.graph.remove(app.graph.getNodeById(id))"
_GONE = "is no longer in this workflow"


@contextmanager
def away(page: Page, address: str) -> Iterator[None]:
    """What lies at this address cannot be had meanwhile."""
    page.route(address, lambda route: route.abort())
    yield
    page.unroute(address)


def test_the_font_is_asked_for_again(editor: Editor) -> None:
    _, cue = build(editor, "KontextExample", "KontextVisualCue")
    with away(editor.page, _FONT):
        editor.select(cue)
        editor.page.keyboard.press("Alt+d")
        editor.page.get_by_text("The font could not be loaded").first.wait_for(timeout=PATIENCE_MS)
    command(editor, cue)
    editor.page.keyboard.press("Escape")
    closed(editor)


def test_the_layout_is_asked_for_again_with_the_next_change(editor: Editor) -> None:
    page = editor.page
    with away(page, _PLAN):
        editor.open("two_references")
        _, second = references(editor)
        wait_until_it_says(page, second, "ComfyUI is not responding")
    page.evaluate(_CHANGE)
    wait_until_it_says(page, second, "= 224 tokens")


def test_without_translations_the_page_speaks_english_until_they_are_there(panel: Panel) -> None:
    page = panel.page
    with Client(panel.editor.url) as client:
        client.settings({LOCALE: "fr"})
        try:
            with away(page, _WORDS):
                page.reload(wait_until="domcontentloaded")
                ready = "() => window.app?.graph && window.app?.extensionManager"
                page.wait_for_function(ready, timeout=PATIENCE_MS)
                page.get_by_role("button", name="Turns of this graph").first.click(timeout=PATIENCE_MS)
                expect(page.locator(".kontext-panel")).to_be_visible(timeout=PATIENCE_MS)
            panel.editor.open("two_references")
            _, second = references(panel.editor)
            wait_until_it_says(page, second, "résultat")
        finally:
            client.settings({LOCALE: "en"})


def test_copies_for_the_clipboard_leave_no_picture_behind(editor: Editor) -> None:
    page = editor.page
    session = page.context.new_cdp_session(page)
    editor.open("text_to_image")
    page.evaluate(_WATCH_ELEMENTS)
    assert page.evaluate(_COPY, 30) == 31, "a picture for the node and for each of its copies"
    page.evaluate("() => app.graph.clear()")
    left = 31
    for _ in range(20):  # what the canvas was about to draw holds a node a little longer
        session.send("HeapProfiler.collectGarbage")
        left = page.evaluate(_ALIVE)
        if left <= 1:
            break
        page.evaluate("() => new Promise(requestAnimationFrame)")
    assert left <= 1


def test_a_picture_that_was_missing_or_is_overwritten_has_its_own_size(
    editor: Editor, server: Server
) -> None:
    page = editor.page
    path = server.base / "input" / "changes.png"
    path.unlink(missing_ok=True)
    node = page.evaluate(_LOADED, path.name)
    shown = wait_until_it_says(page, node, "≈ 4096 + text")
    assert not by_number(shown)[1]["known"]
    for size, tokens in (((256, 64), 64), ((96, 96), 36)):
        Image.new("RGB", size).save(path)
        page.evaluate(_CHANGE)
        assert by_number(wait_until_it_says(page, node, f"1: {tokens} +"))[1]["known"]
    path.unlink()


def test_a_node_that_goes_while_its_picture_loads_is_not_drawn_for(editor: Editor) -> None:
    page = editor.page
    _, cue = build(editor, "KontextExample", "KontextVisualCue")
    held: list[Route] = []
    page.route(_FONT, lambda route: held.append(route))
    editor.select(cue)
    with page.expect_request(_FONT):
        page.keyboard.press("Alt+d")
    page.evaluate(_REMOVE, cue)
    while not held:
        page.evaluate("() => 0")  # lets the message of the held request through
    held[0].continue_()
    page.get_by_text(_GONE).first.wait_for(timeout=PATIENCE_MS)
    assert page.locator("dialog.kontext-draw").count() == 0


def test_marks_go_to_the_node_they_were_drawn_for_or_nowhere(editor: Editor) -> None:
    """Another workflow has a node of the same number and type; an undo has made the node itself anew."""
    page = editor.page
    (cue,) = build(editor, "KontextVisualCue")
    command(editor, cue)
    drag(editor, (0.2, 0.2), (0.6, 0.6))
    page.evaluate(
        "() => app.loadGraphData(app.graph.serialize(), false, false, app.extensionManager.workflow.activeWorkflow)"
    )
    button(editor, "Done").click()
    closed(editor)
    assert [mark.kind for mark in marks(editor, cue)] == ["ellipse"]
    before = editor.graph()
    command(editor, cue)
    drag(editor, (0.7, 0.7), (0.9, 0.9))
    page.evaluate("() => app.loadGraphData(app.graph.serialize())")
    button(editor, "Done").click()
    page.get_by_text(_GONE).first.wait_for(timeout=PATIENCE_MS)
    assert editor.graph()["nodes"] == before["nodes"]


def test_a_drawing_that_the_page_closes_can_be_opened_again(editor: Editor) -> None:
    _, cue = build(editor, "KontextExample", "KontextVisualCue")
    command(editor, cue)
    editor.page.evaluate("() => document.querySelectorAll('dialog').forEach(one => one.close())")
    closed(editor)
    command(editor, cue)
    opened(editor)
    editor.page.keyboard.press("Escape")
    closed(editor)
