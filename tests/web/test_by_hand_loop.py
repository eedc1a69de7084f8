"""An artist's whole loop on the first template: once with the mouse, once with the keyboard.

Nothing is called but what mouse and keys call; the page's state is only read. Words are typed in both, and a
file is dropped, or chosen in the page's own dialog.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, expect

from kontext_core.images.marks import parse_marks
from kontext_core.remote.client import Client, Json
from tools import frontend
from tools.page import open_page
from tools.place import PACK
from tools.server import Server

from .drawing import closed, drag, marks, opened
from .editor import PATIENCE_MS, QUIET, Editor, forget
from .panel import LOCALE, THUMBNAILS, VUE, Panel

pytestmark = [
    pytest.mark.comfy,
    pytest.mark.since_front_end("1.32"),
]  # which opens an address with a template

TEMPLATE = "a_first_chain"
NEW_WORDS, BRANCH_WORDS = "make the blue circle yellow", "change the background to sand"
_OPEN = """() => window.app?.graph?._nodes.filter(node => node.type === 'KontextTurn').length === 3
  && !!app.extensionManager?.workflow?.activeWorkflow"""
_LOADED = "() => app.graph._nodes.filter(node => node.type === 'KontextSaveChain').length === 1"
# What a Vue node's or a canvas node's button lies at.
_DRAW = """id => {
  const node = app.graph.getNodeById(id)
  const {ds, canvas} = app.canvas, box = canvas.getBoundingClientRect()
  const widget = node.widgets.find(one => one.label === 'Draw on the picture')
  const [x, y] = [node.pos[0] + node.size[0] / 2, node.pos[1] + (widget.last_y ?? widget.y) + 10]
  return [box.left + (x + ds.offset[0]) * ds.scale, box.top + (y + ds.offset[1]) * ds.scale]
}"""
_STARS = "id => app.graph.getNodeById(id).properties['Kontext.stars'] ?? []"


@pytest.fixture
def loop(request: pytest.FixtureRequest, browser: Browser, server: Server, tmp_path: Path) -> Iterator[Panel]:
    """The template, opened by its address: Vue nodes on the newest front end, on the canvas before."""
    newest = request.node.callspec.params["server"] == frontend.NEWEST
    forget(server.url)
    with Client(server.url) as client:
        client.settings({**QUIET, LOCALE: "en", VUE: newest, THUMBNAILS: True})
    with open_page(browser, server.url, f"/?template={TEMPLATE}&source={PACK}") as page:
        page.wait_for_function(_OPEN, timeout=PATIENCE_MS)
        yield Panel(Editor(page, server.url))
        page.screenshot(path=tmp_path / "page.png")


class Hand:
    """One way of doing each step of the loop."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.page = panel.page
        self.editor = panel.editor


class Mouse(Hand):
    """All of it by clicks and drags."""

    def start(self) -> None:
        self.panel.open()

    def run(self) -> None:
        self.page.get_by_role("toolbar", name="Run").get_by_role("button", name="Run", exact=True).click()

    def write(self, turn: str, words: str) -> None:
        self.panel.press(turn, "Edit the instruction")
        self.written(words)

    def written(self, words: str) -> None:
        """Type over what is in the text that has come up, and click beside it."""
        self.page.locator(".kontext-edit").wait_for(timeout=PATIENCE_MS)
        self.page.locator(".kontext-edit").click(click_count=3)
        self.page.keyboard.type(words)
        self.page.locator(".kontext-list").click(position={"x": 2, "y": 2})

    def run_up_to(self, turn: str) -> None:
        self.panel.press(turn, "Run up to here")

    def four_more(self, turn: str) -> None:
        self.panel.press(turn, "4 more")

    def star_and_take(self, turn: str, place: int) -> None:
        choice = self.panel.row(turn).locator(".kontext-choice").nth(place)
        choice.hover()
        choice.locator(".kontext-star").click()
        expect(choice.locator(".pi-star-fill")).to_be_visible()
        choice.locator("img").click()

    def area(self, turn: str) -> None:
        self.panel.row(turn).locator(".kontext-name").click()  # its node comes into view
        self.page.wait_for_timeout(500)
        vue = self.page.locator(f'[data-node-id="{turn}"]').get_by_role("button", name="Draw on the picture")
        if vue.count():
            vue.click()
        else:
            self.page.mouse.click(*self.page.evaluate(_DRAW, turn))
        opened(self.editor)
        dialog = self.page.locator("dialog.kontext-draw")
        dialog.get_by_label("Only change inside", exact=True).click()
        dialog.get_by_label("Ellipse").click()
        drag(self.editor, (0.2, 0.2), (0.7, 0.8))
        dialog.get_by_role("button", name="Done", exact=True).click()
        closed(self.editor)

    def branch(self, turn: str, words: str) -> None:
        self.panel.press(turn, "Branch here")
        self.written(words)

    def compare(self, first: str, second: str) -> Locator:
        self.panel.row(second).locator(".kontext-name").drag_to(
            self.panel.row(first).locator(".kontext-name")
        )
        slider = self.page.get_by_role("slider")
        expect(slider).to_be_visible()
        box = self.page.locator(".kontext-viewer .kontext-before-after").bounding_box()
        assert box is not None
        y = box["y"] + box["height"] / 2
        self.page.mouse.move(box["x"] + box["width"] / 2, y)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + box["width"] / 5, y, steps=4)
        self.page.mouse.up()
        return slider

    def remove(self, turn: str) -> None:
        self.command(turn, "Remove")

    def save(self, turn: str) -> None:
        self.command(turn, "Save this chain")

    def command(self, turn: str, label: str) -> None:
        self.panel.press(turn, "More")
        self.page.get_by_role("menuitem", name=label, exact=True).click()

    def bring_back(self, data: bytes, folder: Path) -> None:
        """Take every turn away, and drop the file."""
        for turn in self.editor.ids("KontextTurn"):
            self.command(turn, "Remove")
        expect(self.page.locator(".kontext-row")).to_have_count(0)
        self.editor.drop(data, "chain.png")


class Keyboard(Hand):
    """All of it by keys."""

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def tab_to(self, target: Locator, keys: str = "Tab") -> None:
        """Press Tab, or other keys, until one of these has the keyboard."""
        for _ in range(150):
            self.press(keys)
            if target.evaluate_all("all => all.includes(document.activeElement)"):
                return
        raise AssertionError(f"{keys} never reaches {target}")

    def go_to(self, turn: str) -> None:
        """From a control of the panel to a turn's row, by arrows."""
        if not self.page.locator(".kontext-row:focus").count():
            self.tab_to(self.page.locator(".kontext-row"), "Shift+Tab")
        self.press("Home", *["ArrowDown"] * [row["id"] for row in self.panel.rows()].index(turn))
        expect(self.panel.row(turn)).to_be_focused()

    def start(self) -> None:
        self.tab_to(self.panel.button())
        self.press("Enter")
        expect(self.page.locator(".kontext-panel")).to_be_visible(timeout=PATIENCE_MS)
        self.tab_to(self.button_run())

    def button_run(self) -> Locator:
        toolbar = self.page.get_by_role("toolbar", name="Run")
        return toolbar.get_by_role("button", name="Run", exact=True)

    def run(self) -> None:
        if not self.button_run().evaluate("one => one === document.activeElement"):
            self.tab_to(self.button_run(), "Shift+Tab")
        self.press("Enter")
        self.tab_to(self.page.locator(".kontext-row"))

    def write(self, turn: str, words: str) -> None:
        self.go_to(turn)
        self.press("F2")
        self.written(words)

    def written(self, words: str) -> None:
        expect(self.page.locator(".kontext-edit")).to_be_focused()
        self.press("Control+a")
        self.page.keyboard.type(words)
        self.press("Enter")
        expect(self.page.locator(".kontext-edit")).to_have_count(0)

    def run_up_to(self, turn: str) -> None:
        self.go_to(turn)
        self.press("Control+Enter")

    def four_more(self, turn: str) -> None:
        self.go_to(turn)
        self.press("Alt+v")

    def star_and_take(self, turn: str, place: int) -> None:
        self.go_to(turn)
        self.tab_to(self.panel.row(turn).locator(".kontext-choice"))
        self.press("Home", *["ArrowRight"] * place, "s")
        expect(
            self.panel.row(turn).locator(".kontext-choice").nth(place).locator(".pi-star-fill")
        ).to_be_visible()
        self.press("Enter")

    def area(self, turn: str) -> None:
        self.go_to(turn)
        self.press("Enter", "Alt+d")
        opened(self.editor)
        self.press("m", "e", "Space", "Enter")
        closed(self.editor)

    def branch(self, turn: str, words: str) -> None:
        self.go_to(turn)
        self.press("Alt+b")
        self.written(words)

    def compare(self, first: str, second: str) -> Locator:
        self.go_to(first)
        self.press("Enter")  # it alone is selected
        self.go_to(second)
        self.press("Control+Space")
        slider = self.page.get_by_role("slider")
        self.tab_to(slider)
        self.press(*["ArrowLeft"] * 5)
        return slider

    def remove(self, turn: str) -> None:
        self.go_to(turn)
        self.press("Delete")

    def save(self, turn: str) -> None:
        self.go_to(turn)
        self.press("Shift+F10")
        self.tab_to(self.page.get_by_role("menuitem", name="Save this chain", exact=True), "ArrowDown")
        self.press("Enter")

    def bring_back(self, data: bytes, folder: Path) -> None:
        """Take every turn away, and open the file."""
        while self.panel.rows():
            self.go_to(self.panel.rows()[0]["id"])
            self.press("Delete")
            self.page.wait_for_timeout(100)
        path = folder / "chain.png"
        path.write_bytes(data)
        with self.page.expect_file_chooser() as chooser:
            self.press("Control+o")
        chooser.value.set_files(path)


def turns_of(graph: Json) -> list[Any]:
    return [node for node in graph["nodes"] if node["type"] == "KontextTurn"]


@pytest.mark.parametrize("way", [Mouse, Keyboard], ids=["mouse", "keyboard"])
def test_the_whole_loop(loop: Panel, way: type[Mouse] | type[Keyboard], tmp_path: Path) -> None:
    """Run, words, a run up to a turn, four more, a star, an area, a branch, compared, a turn less, saved."""
    page, editor = loop.page, loop.editor
    hand = way(loop)
    hand.start()
    first, second, third = editor.ids("KontextTurn")
    loop.wait_for(first, second, third)
    hand.run()
    loop.wait_for_states(dict.fromkeys((first, second, third), "finished"))

    hand.write(second, NEW_WORDS)
    loop.wait_for_states({first: "finished", second: "out of date", third: "out of date"})
    hand.run_up_to(second)
    loop.wait_for_states({first: "finished", second: "finished", third: "out of date"})
    had = page.locator(f'.kontext-row[data-id="{second}"] .kontext-choice')
    expect(had).to_have_count(2)

    hand.four_more(second)
    expect(had).to_have_count(6)
    hand.star_and_take(second, 2)
    (star,) = page.evaluate(_STARS, second)
    assert star == {"seed": editor.value(second, "seed"), "words": NEW_WORDS}
    loop.wait_for_states({second: "finished", third: "out of date"})

    hand.area(third)
    (mark,) = marks(editor, third)
    assert (mark.kind, mark.mask) == ("ellipse", True)
    expect(loop.row(third).locator(".kontext-thumbnail svg")).to_have_count(1)

    hand.branch(second, BRANCH_WORDS)
    branch = loop.new_node("KontextTurn", first, second, third)
    loop.wait_for(first, second, third, branch)
    page.wait_for_function(
        "([id, words]) => app.graph.getNodeById(id).widgets.find(one => one.name === 'instruction').value === words",
        arg=[branch, BRANCH_WORDS],
    )
    hand.run()
    loop.wait_for_states(dict.fromkeys((first, second, third, branch), "finished"))

    slider = hand.compare(third, branch)
    expect(slider).to_have_attribute("aria-label", "Turn 3 and Turn 3, branch 1")
    assert int(slider.get_attribute("aria-valuenow") or 50) < 45

    hand.remove(first)
    loop.wait_for(second, third, branch)
    loop.wait_for_states(dict.fromkeys((second, third, branch), "out of date"))
    hand.save(third)
    save = loop.new_node("KontextSaveChain")
    assert editor.fed_by(save, "chain") == third
    hand.run()
    loop.wait_for_states(dict.fromkeys((second, third, branch), "finished"))
    page.wait_for_function("id => app.nodeOutputs[id]?.images?.length", arg=save, timeout=PATIENCE_MS)
    before = editor.graph()
    with Client(editor.url) as client:
        saved = client.view(page.evaluate("id => app.nodeOutputs[id].images[0]", save))
    assert Image.open(io.BytesIO(saved)).format == "PNG"

    hand.bring_back(saved, tmp_path)
    page.wait_for_function(_LOADED, timeout=PATIENCE_MS)
    loop.wait_for(second, third, branch)
    after = editor.graph()
    assert turns_of(after) == turns_of(before)
    assert after["links"] == before["links"]
    assert editor.value(second, "seed") == star["seed"]
    assert [editor.value(id, "instruction") for id in (second, branch)] == [NEW_WORDS, BRANCH_WORDS]
    assert parse_marks(editor.value(third, "marks")) == (mark,)
    assert page.evaluate(_STARS, second) == [star]
    expect(loop.row(second).locator(".pi-star-fill")).to_be_visible()
    assert editor.dialogs() == []
