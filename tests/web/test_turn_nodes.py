"""Turns that are added and removed: seeds are kept, settings are copied, and lines stay connected."""

from __future__ import annotations

import pytest

from .editor import PATIENCE_MS, Editor
from .panel import REMOVE, Panel, three_turns
from .test_by_hand import add, empty

pytestmark = pytest.mark.comfy
_CONTROL = "control_after_generate"
_CONVERT = """ids => String(app.graph.convertToSubgraph(
  new Set(ids.map(id => app.graph.getNodeById(id)))).node.id)"""
_SETTINGS = {
    "steps": 3,
    "guidance": 3.5,
    "fit": "pad",
    "layout": "index",
    "anchor": True,
    "feather": 3,
    "align": True,
    "approximate": "teacache",
    "approximate_number": 0.2,
    "negative": "blurred",
    "cfg": 2.0,
    "solver": "heun",
    "shift": 1.5,
    "keep_outside": "mask",
    "size": "original",
    "detail": 0.3,
    "nag": 5.0,
    "cfg_to": 0.5,
}


def test_nothing_runs_again_that_did_not_change(panel: Panel) -> None:
    """Turns that the page makes, that come out of the library, and that are pasted, all keep their seed."""
    page, editor = panel.page, panel.editor
    page.evaluate("() => app.graph.clear()")
    panel.wait_for()
    page.get_by_role("button", name="Start a chain").click()
    first = panel.new_node("KontextTurn")
    panel.wait_for(first)
    panel.press(first, "Add turn")
    second = panel.new_node("KontextTurn", first)
    panel.press(first, "Branch here")
    branch = panel.new_node("KontextTurn", first, second)
    panel.wait_for(first, second, branch)
    for turn in (first, second, branch):
        assert editor.value(turn, _CONTROL) == "fixed"
        editor.set(turn, {"instruction": "make the background sand"})
    editor.set(first, {_CONTROL: "randomize"})  # whoever chose it is not followed by copies
    editor.select(first)
    page.keyboard.press("Control+c")
    page.keyboard.press("Control+v")
    pasted = panel.new_node("KontextTurn", first, second, branch)
    assert editor.value(pasted, _CONTROL) == "fixed"
    editor.set(first, {_CONTROL: "fixed"})
    page.evaluate("id => app.graph.remove(app.graph.getNodeById(id))", pasted)
    editor.run()
    panel.wait_for_states(dict.fromkeys((first, second, branch), "finished"))
    page.evaluate("() => app.canvas.emitBeforeChange() ?? app.canvas.emitAfterChange()")
    graph = editor.graph()
    editor.run()
    assert editor.seen("progress") == [], "all of it was there"
    assert editor.graph() == graph, "not even a seed has changed"


def test_a_node_from_the_library_keeps_its_seed(editor: Editor) -> None:
    empty(editor)
    for kind, name, x in (("KontextTurn", "Kontext Turn", 700), ("KontextEdit", "Kontext Edit", 1200)):
        node = add(editor, kind, name, x, 500)  # above are a page's notices, such as that it is out of date
        assert editor.value(node, _CONTROL) == "fixed"


def test_a_saved_workflow_keeps_what_was_chosen(editor: Editor) -> None:
    editor.open("five_turn_chain")
    turn = editor.ids("KontextTurn")[0]
    editor.set(turn, {_CONTROL: "randomize"})
    editor.page.evaluate("() => app.loadGraphData(app.graph.serialize())")
    assert editor.value(turn, _CONTROL) == "randomize"


def test_a_new_turn_takes_over_all_settings(editor: Editor) -> None:
    editor.open("five_turn_chain")
    turns = editor.ids("KontextTurn")
    page = editor.page
    marks = '{"version": 1, "marks": [{"kind": "box", "points": [[0.1, 0.1], [0.4, 0.4]]}]}'
    editor.set(turns[4], {**_SETTINGS, "marks": marks, "seed": 9})
    taken = page.evaluate(
        "id => app.graph.getNodeById(id).widgets.filter(one => one.options?.serialize !== false).map(one => one.name)",
        turns[4],
    )
    assert set(taken) == {"instruction", "seed", "marks", "candidates", *_SETTINGS}, (
        "each setting is looked at"
    )
    page.evaluate(
        """id => {
          const number = LiteGraph.createNode('PrimitiveInt') ?? LiteGraph.createNode('PrimitiveNode')
          app.graph.add(number)
          const turn = app.graph.getNodeById(id)
          number.connect(0, turn, turn.inputs.findIndex(one => one.name === 'steps'))
        }""",
        turns[4],
    )
    editor.select(turns[4])
    page.keyboard.press("Alt+t")
    page.wait_for_function(
        "count => app.graph._nodes.filter(one => one.type === 'KontextTurn').length === count",
        arg=6,
        timeout=PATIENCE_MS,
    )
    (new,) = set(editor.ids("KontextTurn")) - set(turns)
    assert {name: editor.value(new, name) for name in _SETTINGS} == {
        name: editor.value(turns[4], name) for name in _SETTINGS
    }
    assert editor.fed_by(new, "steps") == editor.fed_by(turns[4], "steps") is not None
    assert (editor.value(new, "instruction"), editor.value(new, "marks"), editor.value(new, "seed")) == (
        "",
        "",
        0,
    )
    assert editor.value(new, _CONTROL) == "fixed"


def test_what_shows_a_whole_line_stays_at_its_end(panel: Panel) -> None:
    page, editor = panel.page, panel.editor
    editor.open("five_turn_chain")
    turns = editor.ids("KontextTurn")
    followers = [*editor.ids("KontextSaveChain"), *editor.ids("KontextChainSheet")]
    panel.wait_for(*turns)
    panel.press(turns[1], "Branch here")
    branch = panel.new_node("KontextTurn", *turns)
    assert [editor.fed_by(id, "chain") for id in followers] == [turns[4]] * 2, (
        "a branch is not the line's end"
    )
    before = editor.graph()
    panel.press(turns[1], "Add turn")
    new = panel.new_node("KontextTurn", *turns, branch)
    assert editor.fed_by(new, "chain") == turns[4]
    assert [editor.fed_by(id, "chain") for id in followers] == [new] * 2
    panel.wait_for(*turns, new, branch)
    page.locator("#graph-canvas").focus()
    editor.undo()
    panel.wait_for(*turns, branch)
    assert editor.graph()["links"] == before["links"], "as one step"

    editor.select(turns[4])
    page.keyboard.press("Delete")
    panel.wait_for(*turns[:4], branch)
    assert [editor.fed_by(id, "chain") for id in followers] == [turns[3]] * 2
    page.evaluate(REMOVE, [turns[2]])
    panel.wait_for(turns[0], turns[1], branch, turns[3])  # in the order of the wires
    assert editor.fed_by(turns[3], "chain") == turns[1], "and in the middle the line closes"
    page.evaluate(REMOVE, [turns[0]])
    assert editor.fed_by(turns[1], "image") == editor.ids("KontextExample")[0]
    assert [editor.fed_by(id, "chain") for id in (turns[1], turns[3], branch, *followers)] == [
        None, turns[1], turns[1], turns[3], turns[3],
    ]  # fmt: skip
    for rows in ([turns[0], turns[1], branch, turns[3]], [*turns[:4], branch], [*turns, branch]):
        editor.undo()
        panel.wait_for(*rows)
    assert editor.graph()["links"] == before["links"]


def test_a_subgraph_of_turns_closes_nothing(panel: Panel) -> None:
    turns = three_turns(panel)
    editor = panel.editor
    host = panel.page.evaluate(_CONVERT, turns[:2])
    panel.wait_for(f"{host}:{turns[0]}", f"{host}:{turns[1]}", turns[2])
    assert (editor.fed_by(turns[2], "chain"), editor.fed_by(turns[2], "image")) == (host, None)


def test_edits_are_turns_of_the_panel_too(panel: Panel) -> None:
    page, editor = panel.page, panel.editor
    editor.open("three_turn_edit")
    edits = editor.ids("KontextEdit")
    rows = panel.wait_for(*edits)
    assert [row["name"] for row in rows] == ["Turn 1", "Turn 2", "Turn 3"]
    assert rows[0]["words"] == "remove the green star"
    editor.set(edits[2], {"steps": 3})
    panel.press(edits[0], "Add turn")
    new = panel.new_node("KontextEdit", *edits)
    assert editor.fed_by(new, "latent") == edits[2]
    assert editor.fed_by(new, "model") == editor.ids("KontextLoadModel")[0]
    assert editor.value(new, "steps") == 3
    panel.wait_for(*edits, new)
    page.evaluate(REMOVE, [edits[1]])
    panel.wait_for(edits[0], edits[2], new)
    assert editor.fed_by(edits[2], "latent") == edits[0]
    panel.press(edits[0], "Edit the instruction")
    page.keyboard.type("remove the red moon")
    page.keyboard.press("Enter")
    assert editor.value(edits[0], "instruction") == "remove the red moon"
    editor.run()
    panel.wait_for_states(dict.fromkeys((edits[0], edits[2], new), "finished"))


def test_an_edit_alone_runs_and_shows_its_picture_at_its_own_size(editor: Editor) -> None:
    editor.open("single_edit")
    (edit,), (save,) = editor.ids("KontextEdit"), editor.ids("SaveImage")
    editor.page.evaluate("id => app.graph.remove(app.graph.getNodeById(id))", save)
    editor.run()
    picture = editor.shown_picture(edit)
    assert (picture["width"], picture["height"]) == (128, 128)
    assert editor.dialogs() == []


def test_an_undo_leaves_what_nodes_say_and_where_they_stand(panel: Panel) -> None:
    page, editor = panel.page, panel.editor
    turns = three_turns(panel)
    editor.run()
    panel.wait_for_states(dict.fromkeys(turns, "finished"))
    said = [str(editor.info(id)) for id in turns]
    assert [text.splitlines()[0] for text in said] == [f"turn {number}" for number in (1, 2, 3)]
    for message in editor.seen("executed"):
        if message["images"]:
            editor.shown_picture(message["node"])
    page.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )  # and drawn
    page.evaluate("() => { app.canvas.emitBeforeChange(); app.canvas.emitAfterChange() }")  # nodes have grown
    boxes = editor.boxes()
    panel.press(turns[1], "Re-roll")
    panel.wait_for_states({turns[1]: "out of date"})
    page.locator("#graph-canvas").focus()
    editor.undo()
    panel.wait_for_states(dict.fromkeys(turns, "finished"))
    for id, text in zip(turns, said, strict=True):
        editor.wait_for_info(id, text)
    assert editor.boxes() == boxes
