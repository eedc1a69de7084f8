"""What a newcomer sees first: a chain whose words can be read on a small screen, and nodes without rare
settings.
"""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser

from kontext_core.remote.client import Client
from kontext_core.remote.workflow import read_workflow
from tools.page import open_page
from tools.paths import ROOT
from tools.place import PACK
from tools.server import Server
from tools.ui import TEMPLATE

from .editor import PATIENCE_MS, QUIET, Editor
from .panel import VUE

pytestmark = pytest.mark.comfy

SAMPLING = ["approximate", "approximate_number", "negative", "cfg", "solver", "shift"]
RARE = {
    "KontextTurn": ["layout", "anchor", "feather", "align", *SAMPLING],
    "KontextEdit": ["layout", "feather", *SAMPLING],
    "KontextLoadModel": ["dtype", "device", "memory", "speed", "attention"],
}
MORE, FEWER = "More settings", "Fewer settings"
LEAST_TEXT_PX = 10

_NEW = "kind => { app.graph.add(LiteGraph.createNode(kind)); return String(app.graph._nodes.at(-1).id) }"
_SEEN = """id => app.graph.getNodeById(id).widgets.filter(widget => !widget.options.hidden)
  .map(widget => widget.label || widget.name)"""
_PRESS = """([id, label]) => app.graph.getNodeById(id).widgets
  .find(widget => (widget.label || widget.name) === label).callback()"""
_RELOAD = "() => app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize())))"
_SIZES = "id => { const node = app.graph.getNodeById(id); return [node.size[1], node.computeSize()[1]] }"
_WIRE = """([id, name]) => {
  const number = LiteGraph.createNode('PrimitiveInt') ?? LiteGraph.createNode('PrimitiveNode')
  app.graph.add(number)
  const node = app.graph.getNodeById(id)
  number.connect(0, node, node.inputs.findIndex(input => input.name === name))
}"""
# Left, top, right and bottom of each node with its title on the screen, and the scale.
_ON_SCREEN = """() => {
  const {ds, canvas} = app.canvas, box = canvas.getBoundingClientRect()
  return [ds.scale, app.graph._nodes.map(({pos, size}) => [
    box.left + (pos[0] + ds.offset[0]) * ds.scale, box.top + (pos[1] - 30 + ds.offset[1]) * ds.scale,
    box.left + (pos[0] + size[0] + ds.offset[0]) * ds.scale, box.top + (pos[1] + size[1] + ds.offset[1]) * ds.scale
  ])]
}"""
_TEXT_PX = """() => [...document.querySelectorAll('.lg-node span, .lg-node label, textarea.comfy-multiline-input')]
  .filter(part => part.offsetWidth && part.textContent.trim() + (part.value ?? ''))
  .map(part => parseFloat(getComputedStyle(part).fontSize) * part.getBoundingClientRect().width / part.offsetWidth)"""
_LINES = """() => [...document.querySelectorAll('textarea')].filter(area => area.offsetHeight)
  .map(area => area.clientHeight / (parseFloat(getComputedStyle(area).lineHeight) || 1.2 * parseFloat(getComputedStyle(area).fontSize)))"""


def new(editor: Editor, kind: str) -> str:
    return editor.page.evaluate(_NEW, kind)


def seen(editor: Editor, id: str) -> list[str]:
    """The widgets of a node that are not hidden, by their labels."""
    return editor.page.evaluate(_SEEN, id)


def rare_seen(editor: Editor, id: str, kind: str) -> list[str]:
    return [name for name in seen(editor, id) if name in (*RARE[kind], "candidates")]


def press(editor: Editor, id: str, label: str) -> None:
    editor.page.evaluate(_PRESS, [id, label])


@pytest.mark.parametrize("kind", RARE)
def test_rare_settings_are_folded_until_they_are_asked_for(editor: Editor, kind: str) -> None:
    page = editor.page
    page.evaluate("() => app.graph.clear()")
    id = new(editor, kind)
    assert rare_seen(editor, id, kind) == []
    height, least = page.evaluate(_SIZES, id)
    assert height == least, "the node is no larger than what it shows"
    press(editor, id, MORE)
    assert rare_seen(editor, id, kind) == RARE[kind]
    assert page.evaluate(_SIZES, id)[0] > height
    page.evaluate(_RELOAD)
    assert rare_seen(editor, id, kind) == RARE[kind], "it is saved with the workflow"
    press(editor, id, FEWER)
    assert rare_seen(editor, id, kind) == []
    assert page.evaluate(_SIZES, id)[0] == height
    page.evaluate(_RELOAD)
    assert rare_seen(editor, id, kind) == []


def test_a_setting_that_acts_is_seen(editor: Editor) -> None:
    page = editor.page
    page.evaluate("() => app.graph.clear()")
    id = new(editor, "KontextTurn")
    editor.set(id, {"cfg": 2.0, "candidates": "[4, 5]"})
    page.evaluate(_RELOAD)
    assert rare_seen(editor, id, "KontextTurn") == ["cfg", "candidates"]
    page.evaluate(_WIRE, [id, "feather"])
    assert rare_seen(editor, id, "KontextTurn") == ["feather", "cfg", "candidates"]
    editor.set(id, {"candidates": "", "cfg": 1.0})
    page.evaluate(_RELOAD)
    assert rare_seen(editor, id, "KontextTurn") == ["feather"]


def test_a_value_that_a_script_sets_comes_into_sight(editor: Editor) -> None:
    editor.page.evaluate("() => app.graph.clear()")
    id = new(editor, "KontextTurn")
    assert "solver" not in seen(editor, id)
    editor.change(id, {"solver": "heun"})
    editor.page.wait_for_function(f"id => ({_SEEN})(id).includes('solver')", arg=id, timeout=PATIENCE_MS)


def test_folding_is_a_step_of_undo(editor: Editor) -> None:
    editor.open(TEMPLATE)
    turn = editor.ids("KontextTurn")[0]
    press(editor, turn, MORE)
    assert rare_seen(editor, turn, "KontextTurn") == RARE["KontextTurn"]
    editor.undo_until(f"([id, name]) => !({_SEEN})(id).includes(name)", [turn, "solver"])
    assert MORE in seen(editor, turn)


def test_values_are_saved_as_before(editor: Editor) -> None:
    """Folded or not, in the order of the inputs, and nothing for the row itself."""
    editor.page.evaluate("() => app.graph.clear()")
    id = new(editor, "KontextTurn")
    values: list[Any] = editor.graph()["nodes"][0]["values"]
    assert len(values) == 23
    press(editor, id, MORE)
    assert editor.graph()["nodes"][0]["values"] == values
    assert values[1:3] == [0, "fixed"]
    assert values[-9:] == [1, "euler", 0, "", "auto", "model", 0, 1, 1]


@pytest.mark.since_front_end("1.32")  # the first one tried that opens an address with a template
@pytest.mark.parametrize("size", [(1366, 768), (1600, 900)], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])
def test_the_first_template_can_be_read(
    browser: Browser, server: Server, vue: bool, size: tuple[int, int]
) -> None:
    width, height = size
    with Client(server.url) as client:
        client.settings({**QUIET, VUE: vue})
    count = len(read_workflow(ROOT / "workflows" / f"{TEMPLATE}.json")["nodes"])
    with open_page(browser, server.url) as page:
        page.set_viewport_size({"width": width, "height": height})
        page.goto(f"{server.url}/?template={TEMPLATE}&source={PACK}", wait_until="domcontentloaded")
        page.wait_for_function(
            """count => window.app?.graph?._nodes.length === count
              && app.graph._nodes.some(node => node.type === 'KontextTurn')""",
            arg=count,
            timeout=PATIENCE_MS,
        )
        page.wait_for_timeout(1_000)  # the page has moved it into sight
        scale, boxes = page.evaluate(_ON_SCREEN)
        assert scale >= 1
        for left, top, right, bottom in boxes:
            assert 0 < left < right < width
            assert 0 < top < bottom < height
        texts = page.evaluate(_TEXT_PX)
        assert texts
        assert min(texts) >= LEAST_TEXT_PX
        assert min(page.evaluate(_LINES)) >= 3, "an instruction has three lines"
