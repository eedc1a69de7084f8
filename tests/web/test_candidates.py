"""Several pictures of one turn: made in one run, starred, and taken back with their seeds and words."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from .editor import PATIENCE_MS, VALUE
from .panel import ON_CANVAS_AND_VUE, SEEDS, Panel, three_turns

pytestmark = pytest.mark.comfy

# The seeds and words of what there is to choose from, as the page keeps them.
_CHOICES = """id => [...document.querySelectorAll(`.kontext-row[data-id="${id}"] .kontext-choice`)].map(one => ({
  label: one.getAttribute('aria-label'),
  chosen: one.getAttribute('aria-selected') === 'true',
  star: one.querySelector('.pi-star-fill') !== null,
  image: new URL(one.querySelector('img').src).searchParams.get('filename'),
}))"""
_SHOWN = """id => [...new Set([
  ...[...document.querySelectorAll(`[data-node-id="${id}"] img`)].map(one => one.src),
  ...(app.graph.getNodeById(id).imgs ?? []).map(one => one.src),
].filter(src => src.includes('filename=')).map(src => new URL(src).searchParams.get('filename')))]"""
# What the network was asked for: how often a node reported a step.
_STEPS_OF = "id => window.seen.filter(one => one.kind === 'progress' && one.node === id).length"
_FORGET = "() => { window.seen.length = 0 }"


def choices(panel: Panel, id: str) -> list[dict[str, Any]]:
    return panel.page.evaluate(_CHOICES, id)


def choice(panel: Panel, id: str, index: int) -> Locator:
    return panel.row(id).locator(".kontext-choice").nth(index)


def wait_for_choices(panel: Panel, id: str, count: int) -> list[dict[str, Any]]:
    expect(panel.row(id).locator(".kontext-choice")).to_have_count(count, timeout=PATIENCE_MS)
    return choices(panel, id)


def wait_until_shown(panel: Panel, id: str, pictures: list[str]) -> None:
    """Until the node on the canvas shows these."""
    panel.page.wait_for_function(
        f"([id, names]) => ({_SHOWN})(id).join() === names", arg=[id, ",".join(pictures)], timeout=PATIENCE_MS
    )


def more(panel: Panel, id: str) -> None:
    """Press '4 more' and wait for the end of the run."""
    panel.page.evaluate(_FORGET)
    panel.press(id, "4 more")
    panel.editor.wait_for("execution_success")


@pytest.fixture
def three(panel: Panel) -> list[str]:
    """Three turns that have run."""
    turns = three_turns(panel)
    panel.editor.set(turns[0], {"seed": next(SEEDS)})
    panel.editor.run()
    panel.wait_for_states(dict.fromkeys(turns, "finished"))
    return turns


def test_four_more_and_one_is_taken(panel: Panel, three: list[str]) -> None:
    page, editor = panel.page, panel.editor
    before = editor.graph()
    page.wait_for_function(f"id => ({_SHOWN})(id).length === 1", arg=three[1], timeout=PATIENCE_MS)
    first = page.evaluate(_SHOWN, three[1])
    more(panel, three[1])
    shown = wait_for_choices(panel, three[1], 5)
    assert [one["chosen"] for one in shown] == [False, False, False, False, True], "newest first"
    assert len({one["image"] for one in shown}) == 5
    panel.wait_for_states(dict.fromkeys(three, "finished"))
    wait_until_shown(panel, three[1], first)
    assert editor.graph() == before
    assert panel.row(three[0]).locator(".kontext-choice").count() == 0

    choice(panel, three[1], 1).click()
    panel.wait_for_states({three[0]: "finished", three[1]: "finished", three[2]: "out of date"})
    page.wait_for_function(
        f"([id, name]) => ({_SHOWN})(id).join() === name", arg=[three[1], shown[1]["image"]]
    )
    assert [one["chosen"] for one in choices(panel, three[1])] == [False, True, False, False, False]
    seed = editor.value(three[1], "seed")
    assert shown[1]["label"].startswith(f"seed {seed},")
    expect(panel.row(three[1]).locator(".kontext-seed")).to_have_text(f"seed {seed}")

    page.evaluate(_FORGET)
    editor.queue()
    editor.wait_for("execution_success")
    panel.wait_for_states(dict.fromkeys(three, "finished"))
    assert page.evaluate(_STEPS_OF, three[1]) == 0, "nothing is computed again"
    assert page.evaluate(_STEPS_OF, three[2]) > 0

    page.locator("#graph-canvas").focus()
    panel.undo_to(before)
    panel.wait_for_states(dict.fromkeys(three, "finished"))
    wait_until_shown(panel, three[1], first)


@ON_CANVAS_AND_VUE
def test_an_undo_brings_back_the_picture_in_the_node_and_what_was_said_of_it(
    panel: Panel, three: list[str]
) -> None:
    page, editor = panel.page, panel.editor
    turn, example = three[1], editor.ids("KontextExample")[0]
    page.wait_for_function(f"id => ({_SHOWN})(id).length === 1", arg=turn, timeout=PATIENCE_MS)
    picture, words, said = page.evaluate(_SHOWN, turn), editor.value(example, "picture"), editor.info(turn)
    editor.change(example, {"picture": "moon"})
    editor.run()
    panel.wait_for_states(dict.fromkeys(three, "finished"))
    page.wait_for_function(
        f"([id, name]) => !({_SHOWN})(id).includes(name)", arg=[turn, picture[0]], timeout=PATIENCE_MS
    )
    assert editor.info(turn) != said
    page.locator("#graph-canvas").focus()
    editor.undo_until(f"([id, words]) => ({VALUE})([id, 'picture']) === words", [example, words])
    wait_until_shown(panel, turn, picture)
    editor.wait_for_info(turn, said)


def test_words_come_back_with_the_picture(panel: Panel, three: list[str]) -> None:
    page, editor = panel.page, panel.editor
    words = editor.value(three[2], "instruction")
    panel.row(three[2]).click()
    page.keyboard.press("F2")
    page.keyboard.type("add a green star")
    page.keyboard.press("Control+Enter")
    wait_for_choices(panel, three[2], 2)
    panel.wait_for_states({three[2]: "finished"})
    choice(panel, three[2], 1).click()
    panel.wait_for_states({three[2]: "finished"})
    assert editor.value(three[2], "instruction") == words


def test_by_keyboard_with_stars_that_the_workflow_keeps(panel: Panel, three: list[str]) -> None:
    page, editor = panel.page, panel.editor
    panel.row(three[2]).click()
    panel.row(three[2]).focus()
    page.evaluate(_FORGET)
    page.keyboard.press("Alt+v")
    editor.wait_for("execution_success")
    shown = wait_for_choices(panel, three[2], 5)
    panel.row(three[2]).locator('.kontext-choice[tabindex="0"]').focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("s")
    expect(choice(panel, three[2], 1).locator(".pi-star-fill")).to_be_visible()
    page.keyboard.press("Enter")
    panel.wait_for_states(dict.fromkeys(three, "finished"))
    seed = editor.value(three[2], "seed")
    assert shown[1]["label"].startswith(f"seed {seed},")
    stars = page.evaluate("id => app.graph.getNodeById(id).properties['Kontext.stars']", three[2])
    assert stars == [{"seed": seed, "words": editor.value(three[2], "instruction")}]
    page.locator("#graph-canvas").focus()
    editor.undo()
    editor.undo()
    expect(panel.row(three[2]).locator(".pi-star-fill")).to_have_count(0)


def test_pictures_of_a_strip_are_small_and_fetched_when_seen(panel: Panel, three: list[str]) -> None:
    for count in (5, 9, 13):
        more(panel, three[0])
        wait_for_choices(panel, three[0], count)
    page = panel.page
    lazy = page.evaluate(
        "id => [...document.querySelectorAll(`.kontext-row[data-id='${id}'] .kontext-choice img`)].map(one => one.loading)",
        three[0],
    )
    assert lazy == ["lazy"] * 13
    box = panel.row(three[0]).bounding_box()
    assert box is not None
    assert box["height"] < 220
