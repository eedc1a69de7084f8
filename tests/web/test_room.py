"""Room on the page: a narrow panel keeps related parts visible, and nodes with pictures do not overlap."""

from __future__ import annotations

import itertools

import pytest

from .drawing import NEWEST_ALONE
from .panel import Panel, three_turns

pytestmark = pytest.mark.comfy

_NARROW = "() => { document.querySelector('.kontext-panel').style.width = '190px' }"
# How far what is in the rows reaches over their edge, in px.
_OVER = """() => [...document.querySelectorAll('.kontext-row')].flatMap(row =>
  [...row.querySelectorAll('.kontext-name, .kontext-state, .kontext-seed, .kontext-button')].map(part =>
    part.getBoundingClientRect().right - row.getBoundingClientRect().right))"""
_NAMES = (
    "() => [...document.querySelectorAll('.kontext-name')].every(one => one.scrollWidth <= one.clientWidth)"
)
# Left, top, right and bottom of the nodes as they are seen.
_SHOWN = """() => [...document.querySelectorAll('.lg-node')].map(node => {
  const {left, top, right, bottom} = node.getBoundingClientRect()
  return [left, top, right, bottom]
})"""


def test_a_narrow_panel_cuts_nothing_off(panel: Panel) -> None:
    first, second, _ = three_turns(panel)
    for turn in (first, second):
        panel.press(turn, "Branch here")
    panel.page.wait_for_function("() => document.querySelectorAll('.kontext-row').length === 5")
    panel.page.keyboard.press("Escape")
    panel.page.evaluate(_NARROW)
    assert max(panel.page.evaluate(_OVER)) <= 0
    assert panel.page.evaluate(_NAMES)


@NEWEST_ALONE
def test_vue_nodes_that_the_page_adds_have_room_for_their_pictures(panel: Panel) -> None:
    """They grow by their pictures, however much room they have."""
    page, editor = panel.page, panel.editor
    page.evaluate("() => app.graph.clear()")
    page.get_by_role("button", name="Start a chain").click()
    turn = panel.new_node("KontextTurn")
    panel.wait_for(turn)
    panel.press(turn, "Branch here")
    first = panel.new_node("KontextTurn", turn)
    panel.press(turn, "Branch here")
    second = panel.new_node("KontextTurn", turn, first)
    editor.run()
    panel.wait_for_states(dict.fromkeys((turn, first, second), "finished"))
    panel.press(turn, "Branch here")
    third = panel.new_node("KontextTurn", turn, first, second)
    editor.run()
    panel.wait_for_states({third: "finished"})
    page.wait_for_function(
        "ids => ids.every(id => document.querySelector(`.lg-node[data-node-id='${id}'] img`))",
        arg=[turn, first, second, third],
    )
    for a, b in itertools.combinations(page.evaluate(_SHOWN), 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], "nothing overlaps"
