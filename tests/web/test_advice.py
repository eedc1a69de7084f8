"""The line under an instruction that is written in the panel: what may go wrong with it."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Route, expect

from kontext_core.remote.client import Client

from .editor import PATIENCE_MS
from .panel import LOCALE, Panel, three_turns

pytestmark = pytest.mark.comfy

ROUTE = "**/kontext/lint"


def write(panel: Panel, id: str, text: str) -> None:
    """Write an instruction, and leave its field open."""
    panel.row(id).focus()
    panel.page.keyboard.press("F2")
    expect(panel.row(id).get_by_role("combobox", name="Instruction")).to_be_focused()
    panel.page.keyboard.type(text)


def test_advice_comes_up_under_the_field_and_goes_away(panel: Panel) -> None:
    first, *_ = three_turns(panel)
    page, editor = panel.page, panel.editor
    before = editor.value(first, "instruction")
    write(panel, first, "make her smile")
    advice = panel.row(first).get_by_role("status")
    expect(advice).to_contain_text("Tip: 'her' comes before anything that it could mean: ")
    expect(advice).to_have_attribute("aria-live", "polite")
    field = panel.row(first).get_by_role("combobox", name="Instruction")
    assert field.get_attribute("aria-describedby") == advice.get_attribute("id")
    above, below = field.bounding_box(), advice.bounding_box()
    assert above is not None
    assert below is not None
    assert below["y"] >= above["y"] + above["height"]

    page.keyboard.type(", no hat")
    expect(advice).to_contain_text("(1 more)")
    assert (advice.get_attribute("title") or "").count("\n") == 1
    page.keyboard.press("Control+a")
    page.keyboard.type("make the red circle blue")
    expect(advice).to_have_text("")
    box = advice.bounding_box()
    assert box is None or box["height"] == 0

    page.keyboard.press("Control+a")
    page.keyboard.type("put the hat of picture 2 on the circle")
    expect(advice).to_contain_text("picture 2 is named, but only picture 1 is connected")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(panel.page.locator(".kontext-advice")).to_have_count(0)
    assert editor.value(first, "instruction") == before


def test_advice_does_not_block(panel: Panel) -> None:
    first, *_ = three_turns(panel)
    write(panel, first, "make her smile")
    expect(panel.row(first).get_by_role("status")).to_contain_text("Tip: ")
    panel.page.keyboard.press("Enter")
    assert panel.editor.value(first, "instruction") == "make her smile"
    expect(panel.row(first)).to_be_focused()


@pytest.mark.parametrize("fault", ["refused", "gone"])
def test_a_server_that_does_not_answer_is_no_hindrance(panel: Panel, fault: str) -> None:
    first, *_ = three_turns(panel)
    page, asked = panel.page, []

    def fail(route: Route) -> None:
        asked.append(route.request.post_data or "")
        route.abort() if fault == "gone" else route.fulfill(status=500, body="no JSON")

    page.route(ROUTE, fail)
    write(panel, first, "")
    ended = "requestfailed" if fault == "gone" else "requestfinished"
    with page.expect_event(ended, lambda request: "smile" in (request.post_data or "")):
        page.keyboard.insert_text("make her smile")
    expect(panel.row(first).get_by_role("status")).to_have_text("")
    page.keyboard.press("Enter")
    assert panel.editor.value(first, "instruction") == "make her smile"
    assert any("smile" in question for question in asked)


def test_a_late_answer_about_another_text_is_not_shown(panel: Panel) -> None:
    first, *_ = three_turns(panel)
    page = panel.page
    late: list[Route] = []

    def hold(route: Route) -> None:
        if json.loads(route.request.post_data or "")["instruction"] == "make her smile":
            late.append(route)
        else:
            route.fulfill(json={"findings": []})

    page.route(ROUTE, hold)
    write(panel, first, "")
    with page.expect_request(lambda request: "smile" in (request.post_data or "")):
        page.keyboard.insert_text("make her smile")
    with page.expect_event("requestfailed", lambda request: "smile" in (request.post_data or "")):
        page.keyboard.press("!")  # what was asked before is not wanted any more
    with page.expect_response(lambda response: "smile!" in (response.request.post_data or "")):
        pass
    assert len(late) == 1
    expect(panel.row(first).get_by_role("status")).to_have_text("")


def test_a_note_gets_no_advice(panel: Panel) -> None:
    first, *_ = three_turns(panel)
    panel.press(first, "More")
    panel.page.get_by_role("menuitem", name="Write a note").click()
    expect(panel.row(first).get_by_role("textbox", name="Note")).to_be_focused()
    expect(panel.page.locator(".kontext-advice")).to_have_count(0)


@pytest.mark.parametrize("panel", [False], ids=["canvas"], indirect=True)
def test_the_frame_of_the_advice_speaks_the_users_language(panel: Panel) -> None:
    with Client(panel.editor.url) as client:
        client.settings({LOCALE: "fr"})
    panel.page.reload()
    panel.page.wait_for_function("() => window.app?.graph && window.app?.extensionManager")
    panel.page.get_by_role("button", name="Tours de ce graphe").first.click(timeout=PATIENCE_MS)
    first, *_ = three_turns(panel)
    panel.row(first).focus()
    panel.page.keyboard.press("F2")
    panel.page.keyboard.insert_text("make her smile, no hat")
    advice = panel.row(first).get_by_role("status")
    expect(advice).to_contain_text("Conseil : 'her' comes before ")
    expect(advice).to_contain_text("(et 1 de plus)")
