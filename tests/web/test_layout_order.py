"""What the layout picture shows of references and lets do with them: thumbnails, numbers, one more, another
order; by mouse and by keyboard, on canvas nodes and Vue nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser

from kontext_core.remote.client import Client
from kontext_core.world.examples import EXAMPLES
from tools.page import open_page
from tools.server import Server

from .editor import PATIENCE_MS, QUIET, Editor, forget
from .layout import (
    SHOWN,
    by_number,
    element,
    focused,
    pick,
    press,
    references,
    show,
    wait_for_names,
    wait_until_it_says,
)
from .panel import VUE

pytestmark = pytest.mark.comfy

VUE_TOO = [False, pytest.param(True, marks=pytest.mark.since_front_end("1.32"))]
_THUMBNAILS = """id => [...app.graph.getNodeById(id).widgets.find(one => one.name === 'kontext_layout')
  .element.querySelectorAll('g[data-number]')].map(({dataset, children}) => {
    const image = [...children].find(one => one.tagName === 'image')
    return [Number(dataset.number), image ? new URL(image.href.baseVal, location.href).searchParams.get('filename') : '']
  })"""
# The pictures on the page are those of the nodes that are there now, once the page has come to rest.
_SEEN = """ids => {
  const own = ids.map(id => app.graph.getNodeById(id).widgets.find(one => one.name === 'kontext_layout').element)
  return own.every(one => one.isConnected)
    && [...document.querySelectorAll('.kontext-layout')].every(one => own.includes(one))
}"""
_LOAD = """([id, name]) => {
  const node = app.graph.getNodeById(id), load = LiteGraph.createNode('LoadImage')
  app.graph.add(load)
  load.pos = [node.pos[0] - 400, node.pos[1]]
  load.widgets.find(one => one.name === 'image').value = name
  load.connect(0, node, node.inputs.findIndex(one => one.name === 'image'))
  app.api.dispatchCustomEvent('graphChanged', {})
}"""
_GRID = """async names => {
  await app.loadGraphData({version: 0.4, last_node_id: 0, last_link_id: 0, nodes: [], links: [], groups: []})
  const grid = LiteGraph.createNode('KontextReferenceGrid')
  app.graph.add(grid)
  names.forEach((name, i) => {
    const load = LiteGraph.createNode('LoadImage')
    app.graph.add(load)
    load.pos = [-400, 400 * i]
    load.widgets.find(one => one.name === 'image').value = name
    load.connect(0, grid, grid.inputs.findIndex(one => one.name === `image_${i + 1}`))
  })
  return String(grid.id)
}"""


@pytest.fixture(params=VUE_TOO, ids=["canvas", "vue"])
def either(
    request: pytest.FixtureRequest, browser: Browser, server: Server, tmp_path: Path
) -> Iterator[Editor]:
    """The page with canvas nodes, and with Vue nodes."""
    with Client(server.url) as client:
        client.settings({**QUIET, VUE: request.param})
        try:
            with open_page(browser, server.url) as page:
                yield Editor(page, server.url)
                page.screenshot(path=tmp_path / "page.png")
        finally:
            client.settings({VUE: False})


def pictures(server: Server, *names: str) -> None:
    for i, name in enumerate(names):
        Image.new("RGB", (96, 64), (60 * i + 60, 90, 200)).save(server.base / "input" / name)


def wait_for_thumbnails(editor: Editor, node: str, *files: str) -> None:
    """Until the tiles, that of the result first, show these files; a name may be the start of one."""
    editor.page.wait_for_function(
        f"([id, files]) => {{ const shown = ({_THUMBNAILS})(id); return shown.length === files.length"
        " && shown.every(([, file], i) => files[i] ? file.startsWith(files[i]) : file === '') }",
        arg=[node, list(files)],
        timeout=PATIENCE_MS,
    )


def test_tiles_show_what_is_connected(either: Editor, server: Server) -> None:
    """A file at once, what a node made once it has run, else a plain tile."""
    pictures(server, "hat.png")
    either.open("two_references")
    first, second = references(either)
    wait_until_it_says(either.page, second, "= 224 tokens")
    wait_for_thumbnails(either, second, "", "", "")
    either.page.evaluate(_LOAD, [second, "hat.png"])
    wait_for_thumbnails(either, second, "", "", "hat.png")
    forget(either.url)  # else what is kept makes no picture anew
    either.run(steps=1)
    wait_for_thumbnails(either, second, "", "ComfyUI_temp", "hat.png")
    pick(either, first, name="")
    shown = by_number(either.page.evaluate(SHOWN, second))
    assert shown[1]["words"][0] == "picture 1"
    (image,) = element(either, first).query_selector_all("image")
    assert image.evaluate("one => one.getBBox().width") > 10, "it is there to be seen"


def test_an_edit_shows_the_picture_that_comes_first(editor: Editor) -> None:
    editor.open("style_reference")
    (reference,) = editor.ids("KontextReference")
    wait_for_thumbnails(editor, reference, "", "", "")
    forget(editor.url)
    editor.run(steps=1)
    wait_for_thumbnails(editor, reference, "", "ComfyUI_temp", "ComfyUI_temp")


@pytest.mark.parametrize("template", ["two_references", "style_reference"])
def test_a_number_is_the_one_that_the_instruction_says(editor: Editor, template: str) -> None:
    """The picture edited is 1; without an edit the first reference is."""
    editor.open(template)
    last = editor.ids("KontextReference")[-1]
    shown = by_number(wait_until_it_says(editor.page, last, "tokens"))
    (instruction,) = EXAMPLES[template].instructions
    (said,) = re.findall(r"picture \d", instruction)
    assert shown[2]["words"][0] == said
    (option,) = element(editor, last).query_selector_all(f'[role=option][aria-label^="{said}, "]')
    assert option.get_attribute("aria-selected") == "true", "it is the node's own"
    assert f"Move {said} up" in [
        button.get_attribute("aria-label") for button in element(editor, last).query_selector_all("button")
    ]
    pick(editor, last, strength=0)
    wait_until_it_says(editor.page, last, f"{said} is left out")


def test_turns_that_take_the_same_references_give_them_numbers(editor: Editor) -> None:
    """With its anchor, the second turn has one picture more; whose numbers are shown is said."""
    editor.open("a_first_chain")
    first, second, *_ = editor.ids("KontextTurn")
    node = editor.page.evaluate(
        """turns => {
          const node = LiteGraph.createNode('KontextReference')
          app.graph.add(node)
          for (const id of turns) {
            const turn = app.graph.getNodeById(id)
            node.connect(0, turn, turn.inputs.findIndex(one => one.name === 'references'))
          }
          return String(node.id)
        }""",
        [first, second],
    )
    shown = wait_until_it_says(editor.page, node, "2: ")
    assert by_number(shown)[2]["words"][0] == "picture 2 ?"
    assert "numbers for" not in shown["lines"][1]
    pick(editor, second, anchor=True)
    title = editor.page.evaluate("id => app.graph.getNodeById(id).title", first)
    wait_until_it_says(editor.page, node, f"numbers for {title}")
    editor.page.evaluate(
        "([turn, name]) => { const node = app.graph.getNodeById(turn);"
        " node.disconnectInput(node.inputs.findIndex(one => one.name === name)) }",
        [first, "references"],
    )
    alone = by_number(wait_until_it_says(editor.page, node, "3: "))
    assert alone[3]["words"][0].startswith("picture 3"), "behind the picture and the anchor"


def test_by_mouse_a_reference_moves_and_is_back_at_one_undo(either: Editor) -> None:
    either.open("two_references")
    first, second = references(either)
    (sampler,) = either.ids("KontextSampler")
    wait_for_names(either, second, "the scene", "the thing")
    before = either.graph()
    show(either, second)
    press(either, second, "Move picture 2 up")
    assert either.fed_by(first, "references") == second
    assert either.fed_by(second, "references") is None
    assert either.fed_by(sampler, "references") == first
    wait_for_names(either, first, "the thing", "the scene")
    assert focused(either) == "Move picture 1 up", "at the same place on the screen"
    either.page.keyboard.press("Enter")
    assert either.fed_by(first, "references") == second, "it is the first one already"
    assert "It is the first one." in element(either, first).inner_text()
    either.undo()
    wait_for_names(either, second, "the scene", "the thing")
    assert either.graph() == before
    either.page.wait_for_function(_SEEN, arg=[first, second], timeout=PATIENCE_MS)


def test_by_keyboard_alone(either: Editor) -> None:
    """From the canvas by Tab to a tile, from tile to tile by arrows, moved with Alt; then one more."""
    page = either.page
    either.open("two_references")
    first, second = references(either)
    wait_for_names(either, second, "the scene", "the thing")
    show(either, second)
    page.locator("#graph-canvas").focus()
    for _ in range(200):
        page.keyboard.press("Tab")
        if focused(either).startswith("picture 2, "):
            break
    assert focused(either) == "picture 2, the thing, 64 tokens"
    page.keyboard.press("ArrowLeft")
    assert focused(either) == "picture 1, the scene, 64 tokens"
    page.keyboard.press("Alt+ArrowDown")
    wait_for_names(either, first, "the thing", "the scene")
    page.wait_for_function(
        "() => document.activeElement.getAttribute('aria-label')?.startsWith('picture 2, the scene')",
        timeout=PATIENCE_MS,
    )
    page.keyboard.press("Tab")
    assert focused(either) == "Add a reference"
    page.keyboard.press("Tab")
    assert focused(either) == "Move picture 2 up"
    page.keyboard.press("Enter")
    wait_for_names(either, second, "the scene", "the thing")
    for _ in range(10):
        page.keyboard.press("Shift+Tab")
        if focused(either) == "Add a reference":
            break
    page.keyboard.press("Space")
    (third,) = set(either.ids("KontextReference")) - {first, second}
    (sampler,) = either.ids("KontextSampler")
    assert either.fed_by(third, "references") == second
    assert either.fed_by(sampler, "references") == third
    wait_until_it_says(page, third, "3: ")


def test_one_more_goes_to_the_end_and_one_undo_takes_it_back(either: Editor) -> None:
    either.open("two_references")
    first, second = references(either)
    (sampler,) = either.ids("KontextSampler")
    wait_for_names(either, second, "the scene", "the thing")
    before = either.graph()
    show(either, first)
    press(either, first, "Add a reference")
    (third,) = set(either.ids("KontextReference")) - {first, second}
    assert [either.fed_by(one, "references") for one in (sampler, third, second)] == [third, second, first]
    assert either.fed_by(third, "model") == either.fed_by(second, "model")
    either.page.wait_for_function(
        "id => Object.keys(app.canvas.selected_nodes).join() === id", arg=third, timeout=PATIENCE_MS
    )
    shown = by_number(wait_until_it_says(either.page, third, "3: "))
    assert shown[3]["words"][0] == "picture 3 ?"
    left, top, right, bottom = either.page.evaluate(
        "id => { const {pos, size} = app.graph.getNodeById(id);"
        " return [pos[0], pos[1], pos[0] + size[0], pos[1] + size[1]] }",
        third,
    )
    over = [
        box for box in either.boxes() if box[0] < right and left < box[2] and box[1] < bottom and top < box[3]
    ]
    assert len(over) == 1, "it covers no other node"
    either.undo()
    either.page.wait_for_function("id => !app.graph.getNodeById(id)", arg=third, timeout=PATIENCE_MS)
    assert either.graph() == before


def test_the_pictures_of_a_grid_trade_inputs(editor: Editor, server: Server) -> None:
    names = ("red.png", "green.png", "blue.png")
    pictures(server, *names)
    grid = editor.page.evaluate(_GRID, list(names))
    wait_for_thumbnails(editor, grid, "", *names)
    sources = [editor.fed_by(grid, f"image_{number}") for number in (1, 2, 3)]
    show(editor, grid)
    press(editor, grid, "Move picture 3 up")
    wait_for_thumbnails(editor, grid, "", "red.png", "blue.png", "green.png")
    press(editor, grid, "Move picture 2 up")  # what was moved stays chosen
    wait_for_thumbnails(editor, grid, "", "blue.png", "red.png", "green.png")
    now = [editor.fed_by(grid, f"image_{number}") for number in (1, 2, 3)]
    assert now == [sources[2], sources[0], sources[1]]
    pick(editor, grid, arrange="stitched into one")
    wait_for_thumbnails(editor, grid, "", "")


def test_what_cannot_move_says_why(editor: Editor) -> None:
    """A stack that something else takes half of, and the picture that is edited."""
    page = editor.page
    editor.open("two_references")
    _, second = references(editor)
    wait_for_names(editor, second, "the scene", "the thing")
    page.evaluate(
        """([first, second]) => {
          const [one, two] = [first, second].map(id => app.graph.getNodeById(id))
          const other = LiteGraph.createNode('KontextSampler')
          app.graph.add(other)
          one.connect(0, other, other.inputs.findIndex(input => input.name === 'references'))
          app.api.dispatchCustomEvent('graphChanged', {})
        }""",
        list(references(editor)),
    )
    pick(editor, second, name="the hat")
    wait_for_names(editor, second, "the scene", "the hat")
    before = editor.graph()["links"]
    show(editor, second)
    press(editor, second, "Move picture 2 up")
    assert "Something else takes the references up to here, too." in element(editor, second).inner_text()
    assert editor.graph()["links"] == before
    editor.open("style_reference")
    (only,) = editor.ids("KontextReference")
    wait_until_it_says(page, only, "2: 64")
    show(editor, only)
    press(editor, only, "Move picture 2 up")
    assert "What is before it stays there." in element(editor, only).inner_text()


def test_over_a_tile_the_canvas_still_moves(either: Editor) -> None:
    """By the wheel, and dragged by the middle button."""
    page = either.page
    either.open("two_references")
    _, second = references(either)
    wait_for_names(either, second, "the scene", "the thing")
    for middle in (False, True):
        show(either, second)
        tile = element(either, second).query_selector('g[data-number="1"]')
        box = tile.bounding_box() if tile else None
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        look = "() => [app.canvas.ds.scale, ...app.canvas.ds.offset].map(Math.fround).join()"
        before = page.evaluate(look)
        page.mouse.move(x, y)
        if middle:
            page.mouse.down(button="middle")
            page.mouse.move(x + 60, y + 40, steps=4)
            page.mouse.up(button="middle")
        else:
            page.mouse.wheel(0, 120)
        page.wait_for_function(f"before => ({look})() !== before", arg=before, timeout=PATIENCE_MS)
