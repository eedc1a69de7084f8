"""The layout picture in a node as a person sees it, for all its tests."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

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
  return {lines: [...element.querySelectorAll(':scope > div')].map(one => one.textContent), boxes}
}"""
_SAYS = f"([id, text]) => ({SHOWN})(id).lines.some(line => line.includes(text))"

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
