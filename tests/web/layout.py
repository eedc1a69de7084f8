"""The layout picture in a node as a person sees it, for all its tests."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import ElementHandle, Page

from .editor import PATIENCE_MS, Editor

# What the picture in a node shows: lines of text, and its boxes by number.
SHOWN = """id => {
  const node = app.graph.getNodeById(id)
  const {element} = node.widgets.find(one => one.name === 'kontext_layout')
  const boxes = [...element.querySelectorAll('g[data-number]')].map(group => {
    const {x, y, width, height} = group.querySelector('rect').getBBox()
    const words = [...group.querySelectorAll('text')].map(one => one.textContent)
    return {number: Number(group.dataset.number), plane: Number(group.parentNode.dataset.plane), words,
      tokens: Number(group.dataset.tokens), known: group.dataset.known === 'true', x, y, width, height}
  })
  return {lines: [...element.querySelectorAll('.kontext-layout-line')].map(one => one.textContent), boxes}
}"""
_SAYS = f"([id, text]) => ({SHOWN})(id).lines.some(line => line.includes(text))"

_ELEMENT = "id => app.graph.getNodeById(id).widgets.find(one => one.name === 'kontext_layout').element"

# As a person does who picks a value: the widget changes, its callback is called, and the
# mouse button goes up.
_PICK = """([id, values]) => {
  const node = app.graph.getNodeById(id)
  for (const [name, value] of Object.entries(values)) {
    const widget = node.widgets.find(one => one.name === name)
    widget.value = value
    widget.callback?.(value, app.canvas, node)
  }
  app.canvas.setDirty(true, true)
  window.dispatchEvent(new MouseEvent('mouseup', {bubbles: true}))
}"""


_SHOW = """id => {
  const {pos, size} = app.graph.getNodeById(id), {ds, canvas} = app.canvas, box = canvas.getBoundingClientRect()
  ds.scale = 1
  ds.offset = [box.width / 2 - pos[0] - size[0] / 2, box.height / 2 - pos[1] - size[1] / 2]
  app.canvas.setDirty(true, true)
}"""


def wait_until_it_says(page: Page, node: str, text: str) -> dict[str, Any]:
    page.wait_for_function(_SAYS, arg=[node, text], timeout=PATIENCE_MS)
    return page.evaluate(SHOWN, node)


def pick(editor: Editor, node: str, **values: Any) -> None:
    editor.page.evaluate(_PICK, [node, values])


def references(editor: Editor) -> tuple[str, str]:
    first, second = editor.ids("KontextReference")
    return first, second


def by_number(shown: dict[str, Any]) -> dict[int, dict[str, Any]]:
    return {box["number"]: box for box in shown["boxes"]}


def element(editor: Editor, node: str) -> ElementHandle:
    """The picture in a node."""
    found = editor.page.evaluate_handle(_ELEMENT, node).as_element()
    assert found is not None
    return found


def wait_for_names(editor: Editor, node: str, *names: str) -> None:
    """Until the references in a node's picture have these names, in this order."""
    editor.page.wait_for_function(
        f"([id, names]) => JSON.stringify(({SHOWN})(id).boxes.slice(1).map(box => box.words.at(-2)))"
        " === JSON.stringify(names)",
        arg=[node, list(names)],
        timeout=PATIENCE_MS,
    )


def press(editor: Editor, node: str, name: str) -> None:
    """Click on a button in a node's picture, also on one that cannot be pressed."""
    button = element(editor, node).wait_for_selector(f'button[aria-label="{name}"]', timeout=PATIENCE_MS)
    box = button.bounding_box() if button else None
    assert box is not None
    editor.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def show(editor: Editor, node: str) -> None:
    """Bring a node into the middle of the screen, as large as it is."""
    editor.page.evaluate(_SHOW, node)
    element(editor, node).wait_for_element_state("stable")


def focused(editor: Editor) -> str:
    """What has the keyboard, by its accessible name."""
    return editor.page.evaluate("() => document.activeElement.getAttribute('aria-label') ?? ''")
