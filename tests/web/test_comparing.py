"""Any two pictures of the chain panel are compared without a run: rows, candidates, and both large."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from .editor import PATIENCE_MS
from .panel import SEEDS, Panel, three_turns

pytestmark = pytest.mark.comfy

_PICTURE = ".kontext-thumbnail img:not(.kontext-veil)"
_SHOWN = f"id => new URL(document.querySelector(`.kontext-row[data-id='${{id}}'] {_PICTURE}`).src).search"
# What the page is given of what is dropped.
_NOTE_DROPS = """() => {
  window.dropped = []
  window.addEventListener("drop", event => dropped.push(event.dataTransfer.getData("text/uri-list")), true)
}"""
_COMPARED = """() => ['before', 'after'].map(name =>
  new URL(document.querySelector(`.kontext-viewer .kontext-${name}`).src).search)"""


@pytest.fixture
def made(panel: Panel) -> list[str]:
    """Three turns and a branch behind the second, which have run; the last is not chosen."""
    turns = three_turns(panel)
    panel.press(turns[1], "Branch here")
    branch = panel.new_node("KontextTurn", *turns)
    panel.page.keyboard.press("Escape")
    panel.wait_for(*turns, branch)
    panel.editor.set(turns[0], {"seed": next(SEEDS)})
    panel.editor.set(branch, {"instruction": "add a green star", "seed": next(SEEDS)})
    panel.editor.run()
    panel.wait_for_states(dict.fromkeys([*turns, branch], "finished"))
    for id in (*turns, branch):
        expect(panel.row(id).locator(_PICTURE)).to_have_count(1, timeout=PATIENCE_MS)
    panel.row(turns[0]).click()
    return [*turns, branch]


def names(panel: Panel) -> list[str]:
    return [name for name in panel.page.locator(".kontext-viewer-name").all_inner_texts() if name]


def wait_until_compared(panel: Panel, first: str, second: str) -> None:
    """Until the viewer wipes between the pictures of two turns, and names them."""
    expect(panel.page.locator(".kontext-viewer-name").nth(1)).to_have_text(
        panel.row(second).locator(".kontext-name").inner_text()
    )
    assert names(panel)[0] == panel.row(first).locator(".kontext-name").inner_text()
    assert panel.page.evaluate(_COMPARED) == [panel.page.evaluate(_SHOWN, id) for id in (first, second)]


def test_two_rows_are_compared_by_selection_drag_and_menu(panel: Panel, made: list[str]) -> None:
    first, second, third, branch = made
    page = panel.page
    before = panel.editor.graph()
    assert names(panel) == ["Turn 1"]
    panel.row(branch).click(modifiers=["Control"])
    wait_until_compared(panel, first, branch)
    assert names(panel) == ["Turn 1", "Turn 3, branch 1"]
    page.get_by_role("button", name="Back to before and after").click()
    assert names(panel) == ["Turn 3, branch 1"]

    panel.row(third).locator(".kontext-words").drag_to(panel.row(second).locator(".kontext-words"))
    wait_until_compared(panel, second, third)
    panel.row(first).locator(".kontext-words").click()
    assert names(panel) == ["Turn 1"], "another turn is chosen"

    panel.press(branch, "More")
    page.get_by_role("menuitem", name="Compare with Turn 1", exact=True).click()
    wait_until_compared(panel, first, branch)
    assert panel.editor.graph() == before, "nothing has changed in the graph"


def test_two_rows_by_keyboard_alone(panel: Panel, made: list[str]) -> None:
    first, _, third, branch = made
    page = panel.page
    panel.row(first).focus()
    page.keyboard.press("Control+Space")
    page.keyboard.press("End")
    page.keyboard.press("Control+Space")
    wait_until_compared(panel, first, branch)
    panel.row(third).focus()
    page.keyboard.press("Enter")  # its node alone is selected
    page.keyboard.press("Home")
    panel.row(first).get_by_role("button", name="More", exact=True).press("Enter")
    page.keyboard.press("c")
    expect(page.locator('[data-command="compare-with"]')).to_be_focused()
    page.keyboard.press("Enter")
    wait_until_compared(panel, first, third)
    slider = page.get_by_role("slider", name="Turn 1 and Turn 3")
    slider.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Turn 1 and Turn 3")).to_be_visible()
    page.keyboard.press("Escape")
    expect(slider).to_be_focused()


def test_a_candidate_is_compared_with_its_turn(panel: Panel, made: list[str]) -> None:
    _, second, _, _ = made
    page = panel.page
    page.evaluate("() => { window.seen.length = 0 }")
    panel.press(second, "4 more")
    panel.editor.wait_for("execution_success")
    choices = panel.row(second).locator(".kontext-choice")
    expect(choices).to_have_count(5, timeout=PATIENCE_MS)
    seed = panel.editor.value(second, "seed")

    def file(place: int) -> str:
        source = choices.nth(place).locator("img").get_attribute("src") or ""
        return source.partition("filename=")[2].partition("&")[0]

    def wait_for(place: int) -> None:
        expect(page.locator(".kontext-viewer .kontext-after")).to_have_attribute(
            "src", _contains(f"filename={file(place)}&")
        )
        assert names(panel)[0] == "Turn 2"
        assert names(panel)[1].startswith("Turn 2, seed ")
        assert panel.page.evaluate(_COMPARED)[0] == panel.page.evaluate(_SHOWN, second)

    choices.nth(0).click(modifiers=["Shift"])
    wait_for(0)
    choices.nth(2).drag_to(page.locator(".kontext-viewer"))
    wait_for(2)
    choices.nth(1).focus()
    page.keyboard.press("c")
    wait_for(1)
    assert panel.editor.value(second, "seed") == seed, "none was taken"


def test_a_candidate_is_dragged_before_its_thumbnail_has_come(panel: Panel, made: list[str]) -> None:
    _, second, _, _ = made
    page = panel.page
    page.evaluate("() => { window.seen.length = 0 }")
    page.route(re.compile("[?&]preview="), lambda route: None)  # never answered
    panel.press(second, "4 more")
    panel.editor.wait_for("execution_success")
    choices = panel.row(second).locator(".kontext-choice")
    expect(choices).to_have_count(5, timeout=PATIENCE_MS)
    expect(page.locator(".kontext-viewer-name").nth(1)).to_have_text("")
    page.evaluate(_NOTE_DROPS)
    choices.nth(2).drag_to(page.locator(".kontext-viewer"))
    assert page.evaluate("dropped") == [choices.nth(2).locator("img").evaluate("image => image.src")]
    expect(page.locator(".kontext-viewer-name").nth(1)).to_have_text(re.compile("^Turn 2, seed "))
    page.unroute_all(behavior="ignoreErrors")


def _contains(text: str) -> Any:
    return re.compile(re.escape(text))


_STAGE = "() => document.querySelector('.kontext-large-stage').dataset"
# Pictures of a known difference in the place of those of the two turns: colours of two halves.
_PAINTED = """async ([[width, height], [otherWidth, otherHeight]]) => {
  const painted = (width, height, colours) => {
    const canvas = document.createElement('canvas')
    Object.assign(canvas, {width, height})
    const pen = canvas.getContext('2d')
    colours.forEach((colour, i) => {
      pen.fillStyle = colour
      pen.fillRect(i * width / colours.length, 0, width / colours.length, height)
    })
    return canvas.toDataURL()
  }
  const {openLarge} = await import(new URL('../js/compare/large_view.js', document.querySelector('#kontext-compare-style').href))
  openLarge({
    before: painted(width, height, ['rgb(100, 50, 0)', 'rgb(100, 50, 0)']),
    after: painted(otherWidth, otherHeight, ['rgb(100, 50, 0)', 'rgb(110, 50, 40)']),
    names: ['first', 'second'],
  })
}"""
_PIXELS = """() => {
  const canvas = document.querySelector('.kontext-large-difference canvas')
  const pen = canvas.getContext('2d')
  return [0.25, 0.75].map(at => [...pen.getImageData(canvas.width * at, canvas.height / 2, 1, 1).data])
}"""
_SEEN = """() => ['first', 'second', 'difference'].filter(name =>
  getComputedStyle(document.querySelector(`.kontext-large-${name}`)).display !== 'none')"""
_TRANSFORMS = "() => ['first', 'second'].map(name => document.querySelector(`.kontext-large-${name} img`).style.transform)"


def open_painted(panel: Panel, first: tuple[int, int], second: tuple[int, int]) -> Locator:
    """The large view of two pictures of these (width, height)."""
    panel.page.evaluate(_PAINTED, [list(first), list(second)])
    dialog = panel.page.get_by_role("dialog", name="first and second")
    expect(dialog).to_be_visible()
    panel.page.wait_for_function("() => document.querySelector('.kontext-large-stage').dataset.view")
    return dialog


def choose(dialog: Locator, label: str) -> None:
    """Click one of the ways to look."""
    dialog.locator("label", has_text=label).locator("input").click()


def scale(panel: Panel) -> float:
    return float(panel.page.evaluate(_STAGE)["view"].split()[2])


def test_the_large_view_by_keyboard(panel: Panel) -> None:
    three_turns(panel)
    page = panel.page
    start = panel.row(panel.rows()[1]["id"])
    start.focus()
    before = panel.editor.graph()
    dialog = open_painted(panel, (200, 100), (200, 100))
    assert page.evaluate(_SEEN) == ["first", "second"]
    assert page.evaluate(_STAGE)["mode"] == "wipe"
    page.keyboard.press("d")
    assert page.evaluate(_SEEN) == ["difference"]
    assert page.evaluate(_PIXELS) == [[0, 0, 0, 255], [40, 0, 160, 255]], "black where equal, else 4 times"
    expect(dialog.get_by_text("50.0 % of the picture differs")).to_be_visible()
    page.keyboard.press("s")
    assert page.evaluate(_STAGE)["mode"] == "side"
    page.keyboard.press("o")
    assert page.evaluate(_SEEN) == ["first"]
    for key in ("f", " "):
        page.keyboard.down(key)
        assert page.evaluate(_SEEN) == ["second"], "as long as it is held"
        page.keyboard.up(key)
        assert page.evaluate(_SEEN) == ["first"]
    page.keyboard.press("w")
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    line = "() => document.querySelector('.kontext-large-stage').style.getPropertyValue('--kontext-line')"
    assert page.evaluate(line) == "98%"
    fit = scale(panel)
    page.keyboard.press("+")
    assert scale(panel) > fit
    page.keyboard.press("1")
    assert scale(panel) == 1
    shown = page.evaluate(_TRANSFORMS)
    page.keyboard.press("Shift+ArrowRight")
    moved = page.evaluate(_TRANSFORMS)
    assert moved[0] == moved[1] != shown[0], "both move together"
    page.keyboard.press("0")
    assert scale(panel) == fit
    for key in ("W", "S", "D", "O", "F", "Space", "0", "1", "Escape", "+"):
        assert key in dialog.locator("#kontext-large-keys").inner_text()
    for _ in range(12):
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.closest('.kontext-large') !== null")
    page.keyboard.press("Control+z")
    page.keyboard.press("Delete")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(start).to_be_focused()
    assert panel.editor.graph() == before


def test_the_large_view_by_mouse(panel: Panel) -> None:
    three_turns(panel)
    page = panel.page
    dialog = open_painted(panel, (200, 100), (50, 50))
    expect(dialog.get_by_text("The sizes differ: 200 × 100 and 50 × 50 px.")).to_be_visible()
    choose(dialog, "Difference")
    expect(dialog.get_by_text("The second picture is scaled to the first.")).to_be_visible()
    choose(dialog, "Wipe")
    heights = page.evaluate(
        "() => ['first', 'second'].map(name => document.querySelector(`.kontext-large-${name} img`).getBoundingClientRect().height)"
    )
    assert abs(heights[0] - heights[1]) < 0.5, "both are as high"
    box = dialog.locator(".kontext-large-stage").bounding_box()
    assert box is not None
    at = (box["x"] + 150, box["y"] + 150)
    picture = dialog.locator(".kontext-large-first img")

    def under() -> float:
        """Where on the picture the pointer is, as a share of its width."""
        shown = picture.bounding_box()
        assert shown is not None
        return (at[0] - shown["x"]) / shown["width"]

    place, before = under(), scale(panel)
    page.mouse.move(*at)
    page.mouse.wheel(0, -300)
    page.wait_for_function(f"old => Number(({_STAGE})().view.split(' ')[2]) > old", arg=before)
    assert under() == pytest.approx(place, abs=0.01), "the point under the pointer stays"
    shown = page.evaluate(_TRANSFORMS)
    page.mouse.down()
    page.mouse.move(at[0] + 60, at[1] + 10, steps=3)
    page.mouse.up()
    assert page.evaluate(_TRANSFORMS) != shown
    line = dialog.locator(".kontext-line").bounding_box()
    assert line is not None
    page.mouse.move(line["x"] + 1, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 200, steps=3)
    page.mouse.up()
    moved = dialog.locator(".kontext-line").bounding_box()
    assert moved is not None
    assert abs(moved["x"] - box["x"] - box["width"] / 4) < 4
    hold = dialog.get_by_role("button", name="Hold: second picture").bounding_box()
    assert hold is not None
    page.mouse.move(hold["x"] + 10, hold["y"] + 10)
    page.mouse.down()
    assert page.evaluate(_SEEN) == ["second"]
    page.mouse.up()
    assert page.evaluate(_SEEN) == ["first", "second"]
    dialog.get_by_role("button", name="Fit").click()
    assert scale(panel) == before
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)


def test_a_double_click_on_the_viewer_opens_the_large_view(panel: Panel, made: list[str]) -> None:
    panel.row(made[1]).click()
    panel.page.locator(".kontext-before-after").dblclick()
    dialog = panel.page.get_by_role("dialog", name="Before and After")
    expect(dialog).to_be_visible()
    panel.page.wait_for_function("() => document.querySelector('.kontext-large-stage').dataset.view")
    panel.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    panel.page.get_by_role("button", name="Large view").click()
    expect(dialog).to_be_visible()
