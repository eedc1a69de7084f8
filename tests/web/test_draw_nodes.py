"""Drawing for nodes other than a cue: where the marks go, and upon which picture they are drawn."""

from __future__ import annotations

import itertools

import pytest
import torch

from kontext_core.images.marks import draw_marks

from .drawing import (
    BUTTON,
    MARKS,
    NEWEST_ALONE,
    build,
    closed,
    command,
    differing,
    drag,
    executed,
    marks,
    opened,
    shown,
)
from .editor import PATIENCE_MS, Editor

pytestmark = pytest.mark.comfy


@NEWEST_ALONE
@pytest.mark.parametrize("kind", ["KontextEdit", "KontextReference"])
def test_on_another_node_a_cue_is_put_before_its_picture(editor: Editor, kind: str) -> None:
    page = editor.page
    example, node = build(editor, "KontextExample", kind)
    before = editor.graph()
    command(editor, node)
    drag(editor, (0.2, 0.2), (0.6, 0.6))
    page.keyboard.press("Enter")
    closed(editor)
    (cue,) = editor.ids("KontextVisualCue")
    assert editor.fed_by(node, "image") == cue
    assert editor.fed_by(cue, "image") == example
    assert [mark.kind for mark in marks(editor, cue)] == ["ellipse"]
    for a, b in itertools.combinations(editor.boxes(), 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], "nothing overlaps"
    command(editor, node)  # the second time it is the same cue
    drag(editor, (0.7, 0.7), (0.9, 0.9))
    page.keyboard.press("Enter")
    closed(editor)
    assert editor.ids("KontextVisualCue") == [cue]
    assert len(marks(editor, cue)) == 2
    for left in (1, 0):
        editor.select(node)
        page.keyboard.press("Control+z")
        page.wait_for_function(
            """count => {
              const cues = app.graph._nodes.filter(node => node.type === 'KontextVisualCue')
              return cues.length === count && !(count && cues[0].widgets[0].value.match(/kind/g).length > 1)
            }""",
            arg=left,
            timeout=PATIENCE_MS,
        )
    assert editor.graph() == before


@NEWEST_ALONE
def test_a_turn_of_a_chain_is_drawn_for_in_its_chain(editor: Editor) -> None:
    """Upon the picture that it goes on from; as one step of undo; and what runs has seen it."""
    page = editor.page
    editor.open("five_turn_chain")
    turns = editor.ids("KontextTurn")
    first, second = turns[:2]
    page.evaluate("ids => ids.forEach(id => app.graph.remove(app.graph.getNodeById(id)))", turns[2:])
    page.wait_for_timeout(500)
    for id in (first, second):
        editor.set(id, {"steps": 2})
    before = editor.graph()
    command(editor, second)
    page.get_by_text("The picture is not available yet").wait_for(timeout=PATIENCE_MS)
    page.keyboard.press("Escape")
    closed(editor)
    assert editor.graph() == before
    start, plain = executed(editor, first), executed(editor, second)
    page.mouse.click(*page.evaluate(BUTTON, second))
    opened(editor)
    assert differing(shown(editor), start) == 0, "it is drawn upon the last picture of its chain"
    drag(editor, (0.2, 0.2), (0.6, 0.6))
    page.keyboard.press("Enter")
    closed(editor)
    (mark,) = marks(editor, second)
    assert mark.kind == "ellipse"
    assert "\n" not in page.evaluate(MARKS, second)
    assert editor.fed_by(second, "chain") == first
    assert editor.ids("KontextVisualCue") == []
    drawn = executed(editor, second)
    assert not torch.equal(drawn, plain)
    (text,) = page.evaluate("id => app.nodeOutputs[id].text", second)
    assert text.splitlines()[0] == "turn 2, 1 mark drawn for it"
    command(editor, second)
    assert differing(shown(editor), draw_marks(start, (mark,))) < 0.01, "it is there again"
    page.keyboard.press("Escape")
    closed(editor)
    editor.select(second)
    page.keyboard.press("Control+z")
    page.wait_for_function(f"id => ({MARKS})(id) === ''", arg=second, timeout=PATIENCE_MS)


@NEWEST_ALONE
def test_without_a_fitting_node_it_says_what_to_do(editor: Editor) -> None:
    (example,) = build(editor, "KontextExample")
    editor.select(example)
    editor.page.keyboard.press("Alt+d")
    editor.page.get_by_text("First select a Kontext Visual Cue").first.wait_for(timeout=PATIENCE_MS)
    assert editor.page.locator("dialog.kontext-draw").count() == 0
