"""Adding turns, branching and re-rolling by keyboard and menu, on the page."""

from __future__ import annotations

import itertools

import pytest

from .editor import PATIENCE_MS, Editor

pytestmark = pytest.mark.comfy

_SET = """([id, name, value]) => { app.graph.getNodeById(id).widgets.find(one => one.name === name).value = value }"""


def press(editor: Editor, keys: str, node: str) -> None:
    editor.select(node)
    editor.page.keyboard.press(keys)


def wait_for_turns(editor: Editor, count: int) -> list[str]:
    editor.page.wait_for_function(
        "count => app.graph._nodes.filter(node => node.type === 'KontextTurn').length === count",
        arg=count,
        timeout=PATIENCE_MS,
    )
    return editor.ids("KontextTurn")


def test_a_turn_is_added_wired_and_placed_by_keyboard(editor: Editor) -> None:
    editor.open("branch_and_compare")
    first, second, branch = editor.ids("KontextTurn")
    editor.page.evaluate(_SET, [second, "steps", 11])
    press(editor, "Alt+t", second)
    (new,) = set(wait_for_turns(editor, 4)) - {first, second, branch}
    assert editor.fed_by(new, "chain") == second
    assert editor.fed_by(new, "model") == editor.ids("KontextLoadModel")[0]
    assert editor.value(new, "steps") == 11
    assert editor.value(new, "instruction") == ""
    assert editor.selected() == [new]
    boxes = editor.boxes()
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], "nothing overlaps"


def test_a_turn_goes_to_the_end_of_the_line_and_a_branch_does_not(editor: Editor) -> None:
    editor.open("five_turn_chain")
    turns = editor.ids("KontextTurn")
    press(editor, "Alt+t", turns[1])
    (end,) = set(wait_for_turns(editor, 6)) - set(turns)
    assert editor.fed_by(end, "chain") == turns[4]
    press(editor, "Alt+b", turns[1])
    (branch,) = set(wait_for_turns(editor, 7)) - {*turns, end}
    assert editor.fed_by(branch, "chain") == turns[1]


def test_each_is_one_step_of_undo(editor: Editor) -> None:
    editor.open("five_turn_chain")
    before = editor.graph()
    turns = editor.ids("KontextTurn")
    press(editor, "Alt+b", turns[2])
    wait_for_turns(editor, 6)
    editor.page.keyboard.press("Control+z")
    wait_for_turns(editor, 5)
    assert editor.graph() == before


def test_reroll_takes_another_seed(editor: Editor) -> None:
    editor.open("five_turn_chain")
    turn = editor.ids("KontextTurn")[0]
    before = editor.value(turn, "seed")
    press(editor, "Alt+r", turn)
    editor.page.wait_for_function(
        "([id, before]) => app.graph.getNodeById(id).widgets.find(one => one.name === 'seed').value !== before",
        arg=[turn, before],
        timeout=PATIENCE_MS,
    )
    seed = editor.value(turn, "seed")
    assert isinstance(seed, int)
    assert 0 <= seed < 2**53, "the page can hold it to the digit"


def test_without_a_selection_it_says_what_to_do(editor: Editor) -> None:
    editor.open("five_turn_chain")
    editor.page.evaluate("() => { app.canvas.deselectAll(); app.canvas.canvas.focus() }")
    editor.page.keyboard.press("Alt+t")
    editor.page.get_by_text("First select a Kontext node").first.wait_for(timeout=PATIENCE_MS)
    assert len(editor.ids("KontextTurn")) == 5
