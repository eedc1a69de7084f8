"""Instructions that were written before: which are kept, and which come up while one is written."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from .editor import PATIENCE_MS
from .modules import call
from .panel import Panel, three_turns

_PAST = "chain/past.js"
_KEPT = "() => JSON.parse(localStorage.getItem('Kontext.instructions') ?? '[]')"


def keep(kept: list[str], newest: list[str]) -> list[str]:
    return call(_PAST, "return module.keepNewest(kept, newest)", kept=kept, newest=newest)


def fitting(text: str, own: list[str], recent: list[str]) -> list[str]:
    return call(_PAST, "return module.fitting(text, own, recent)", text=text, own=own, recent=recent)


def test_the_newest_come_first_and_each_is_kept_once() -> None:
    assert keep(["old", "older"], ["new", "newer"]) == ["newer", "new", "old", "older"]
    assert keep(["old", "older"], [" older ", ""]) == ["older", "old"]


def test_no_more_are_kept_than_there_is_room_for() -> None:
    many = keep([f"make {i} red" for i in range(300)], ["the newest"])
    assert len(many) == 200
    assert many[:2] == ["the newest", "make 0 red"]
    long = keep([f"{i} " + "é" * 900 for i in range(100)], ["the newest"])
    assert len(json.dumps(long, ensure_ascii=False, separators=(",", ":")).encode()) <= 20_000
    assert long[0] == "the newest"
    assert len(long) > 5
    assert keep(["old"], ["x" * 30_000]) == ["old"], "one that is too long takes no other's room"


@pytest.mark.parametrize("text", [None, "", "{", "{}", "3", '"a"', "[3, null]"])
def test_what_is_no_list_of_instructions_is_none(text: str | None) -> None:
    assert call(_PAST, "return module.readKept(text)", text=text) == []


def test_those_of_the_graph_come_first_and_all_words_count() -> None:
    own, recent = (
        ["make it night", "Make the circle red"],
        ["paint it red", "make the star red", "make it night"],
    )
    assert fitting("", own, recent) == [*own, "paint it red", "make the star red"]
    assert fitting("RED make", own, recent) == ["Make the circle red", "make the star red"]
    assert fitting("make it night ", own, recent) == [], "what is written already"
    assert fitting("", [str(i) for i in range(30)], []) == [str(i) for i in range(8)]


@pytest.mark.comfy
def test_past_instructions_come_up_while_one_is_written(panel: Panel) -> None:
    first, *_ = three_turns(panel)
    page, editor = panel.page, panel.editor
    panel.row(first).focus()
    page.keyboard.press("F2")
    field = panel.row(first).get_by_role("combobox", name="Instruction")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-expanded", "false")
    page.keyboard.type("ci")
    options = page.get_by_role("listbox", name="Past instructions").get_by_role("option")
    expect(options).to_have_text(["paint the blue circle black"])
    expect(field).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Enter")  # none is chosen: what is written is kept
    assert editor.value(first, "instruction") == "ci"
    expect(panel.row(first)).to_be_focused(timeout=PATIENCE_MS)

    page.keyboard.press("F2")
    page.keyboard.type("the")
    expect(options).to_have_text(["paint the blue circle black", "change the background to grass"])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    assert field.get_attribute("aria-activedescendant") == options.nth(1).get_attribute("id")
    page.keyboard.press("Enter")
    expect(field).to_have_value("change the background to grass")
    expect(options).to_have_count(0)
    page.keyboard.press("Control+z")  # the browser's own
    expect(field).to_have_value("the")
    page.keyboard.press("Escape")
    expect(options).to_have_count(0)
    expect(field).to_be_focused()
    page.keyboard.press("Escape")
    expect(panel.row(first)).to_be_focused(timeout=PATIENCE_MS)
    assert editor.value(first, "instruction") == "ci"

    page.keyboard.press("F2")
    page.keyboard.type("bl")
    options.first.click()
    expect(field).to_have_value("paint the blue circle black")
    page.keyboard.type(" and round")
    page.keyboard.press("Enter")
    assert editor.value(first, "instruction") == "paint the blue circle black and round"
    assert page.evaluate(_KEPT)[:2] == ["paint the blue circle black and round", "ci"]


@pytest.mark.comfy
def test_what_was_run_comes_up_in_another_workflow(panel: Panel) -> None:
    first, *_ = three_turns(panel)
    page, editor = panel.page, panel.editor
    editor.change(first, {"instruction": "remove the green star at once"})
    editor.run()
    assert "remove the green star at once" in page.evaluate(_KEPT)
    editor.open("single_edit")
    (edit,) = editor.ids("KontextEdit")
    panel.wait_for(edit)
    panel.press(edit, "Edit the instruction")
    page.keyboard.press("Delete")
    page.keyboard.press("ArrowDown")
    option = page.get_by_role("option", name="remove the green star at once")
    expect(option).to_be_visible()
    page.keyboard.type("at once")
    page.keyboard.press("ArrowUp")
    expect(option).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert editor.value(edit, "instruction") == "remove the green star at once"
