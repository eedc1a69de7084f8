"""The chain panel on ComfyUI's page: a tree of turns, kept up to date, used by mouse and by keyboard."""

from __future__ import annotations

import itertools

import pytest
from playwright.sync_api import expect

from kontext_core.remote.client import Client

from .editor import PATIENCE_MS, VALUE
from .panel import LOCALE, OFF_CENTRE, Panel, three_turns

pytestmark = pytest.mark.comfy


def test_three_turns_and_a_branch_are_a_tree(panel: Panel) -> None:
    first, second, third = three_turns(panel)
    panel.press(first, "Branch here")
    branch = panel.new_node("KontextTurn", first, second, third)
    rows = panel.wait_for(first, second, third, branch)
    assert [row["level"] for row in rows] == ["1", "1", "1", "2"]
    assert rows[0]["words"] == panel.editor.value(first, "instruction")
    dots = [panel.row(id).locator(".kontext-dot").bounding_box() for id in (first, second, third, branch)]
    lefts = [dot["x"] for dot in dots if dot]
    assert lefts[0] == lefts[1] == lefts[2] < lefts[3] - 8, "the branch stands to the right of its line"
    fork = panel.row(first).locator(".kontext-fork").bounding_box()
    assert fork is not None
    assert abs(fork["x"] + fork["width"] - lefts[3] - 5) <= 2, "and its line comes from the first turn"
    assert panel.row(second).locator(".kontext-pass").count() == 1


def test_a_click_or_enter_leads_to_the_node(panel: Panel) -> None:
    _, second, third = three_turns(panel)
    panel.row(third).locator(".kontext-words").click()
    assert panel.editor.selected() == [third]
    assert panel.page.evaluate(OFF_CENTRE, third) < 60
    panel.page.keyboard.press("ArrowUp")
    assert panel.page.evaluate(OFF_CENTRE, second) > 60, "an arrow key moves in the panel only"
    panel.page.keyboard.press("Enter")
    assert panel.editor.selected() == [second]
    assert panel.page.evaluate(OFF_CENTRE, second) < 60


def test_the_turn_that_is_selected_on_the_canvas_is_the_chosen_one(panel: Panel) -> None:
    turns = three_turns(panel)
    for id in reversed(turns):
        panel.page.evaluate("id => app.canvas.selectNode(app.graph.getNodeById(id))", id)
        expect(panel.row(id)).to_have_attribute("aria-selected", "true", timeout=PATIENCE_MS)
        assert [row["id"] for row in panel.rows() if row["selected"]] == [id]


def test_each_button_is_one_step_of_undo(panel: Panel) -> None:
    first, second, third = three_turns(panel)
    # ComfyUI notes what it looks like.
    panel.editor.click_empty()
    before = panel.editor.graph()

    def undo() -> None:
        panel.page.keyboard.press("Control+z")
        panel.page.wait_for_function(
            "count => app.graph._nodes.length === count", arg=len(before["nodes"]), timeout=PATIENCE_MS
        )
        panel.wait_for(first, second, third)
        panel.page.wait_for_timeout(200)
        assert panel.editor.graph() == before

    panel.press(first, "Add turn")
    made = panel.new_node("KontextTurn", first, second, third)
    panel.wait_for(first, second, third, made)
    assert panel.editor.fed_by(made, "chain") == third, "at the end of the line"
    expect(panel.row(made).locator(".kontext-edit")).to_be_focused(timeout=PATIENCE_MS)
    undo()

    panel.press(second, "Branch here")
    made = panel.new_node("KontextTurn", first, second, third)
    assert panel.editor.fed_by(made, "chain") == second
    undo()

    panel.press(second, "Re-roll")
    panel.page.wait_for_function(
        f"([id, name, old]) => ({VALUE})([id, name]) !== old",
        arg=[second, "seed", next(one for one in before["nodes"] if one["id"] == second)["values"][1]],
        timeout=PATIENCE_MS,
    )
    panel.page.wait_for_timeout(100)
    panel.page.keyboard.press("Control+z")
    panel.page.wait_for_function(
        f"([graph]) => JSON.stringify(({_GRAPH_VALUES})()) === JSON.stringify(graph)",
        arg=[[one["values"] for one in before["nodes"]]],
        timeout=PATIENCE_MS,
    )
    undone = panel.editor.graph()
    assert undone == before

    compares = panel.editor.ids("KontextCompare")
    panel.press(second, "Compare")
    made = panel.new_node("KontextCompare", *compares)
    assert (panel.editor.fed_by(made, "chain"), panel.editor.fed_by(made, "other")) == (first, second)
    assert (panel.editor.value(made, "turn"), panel.editor.value(made, "other_turn")) == (-1, -1)
    undo()


_GRAPH_VALUES = """() => app.graph.serialize().nodes.sort((a, b) => a.id - b.id)
  .map(node => JSON.parse(JSON.stringify(node.widgets_values ?? [])))"""


def test_compare_of_two_selected_turns_by_key(panel: Panel) -> None:
    first, second, third = three_turns(panel)
    select = "ids => app.canvas.selectNodes(ids.map(id => app.graph.getNodeById(id)))"
    panel.page.evaluate(select, [third, first])
    panel.page.keyboard.press("Alt+k")
    made = panel.new_node("KontextCompare")
    assert (panel.editor.fed_by(made, "chain"), panel.editor.fed_by(made, "other")) == (first, third), (
        "the earlier first"
    )
    boxes = panel.editor.boxes()
    mine = panel.page.evaluate(
        "id => { const {pos, size} = app.graph.getNodeById(id);"
        " return [pos[0], pos[1] - 30, pos[0] + size[0], pos[1] + size[1]] }",
        made,
    )
    for box in boxes:
        apart = box[2] <= mine[0] or mine[2] <= box[0] or box[3] <= mine[1] or mine[3] <= box[1]
        assert apart or box == mine, "it lies over no other"
    panel.page.evaluate(select, [first])
    panel.page.keyboard.press("Alt+k")
    start = panel.new_node("KontextCompare", made)
    assert (panel.editor.fed_by(start, "chain"), panel.editor.fed_by(start, "other")) == (first, None)
    assert (panel.editor.value(start, "turn"), panel.editor.value(start, "other_turn")) == (0, -1), (
        "the start and its end"
    )
    panel.page.evaluate(select, [first, second, third])
    panel.page.keyboard.press("Alt+k")
    panel.page.get_by_text("First select one or two Kontext nodes").first.wait_for(timeout=PATIENCE_MS)
    assert len(panel.editor.ids("KontextCompare")) == 2


def test_by_keyboard_alone(panel: Panel) -> None:
    turns = three_turns(panel)
    page = panel.page
    panel.button().focus()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.classList.contains('kontext-row')"):
            break
    expect(panel.row(turns[0])).to_be_focused()
    page.keyboard.press("End")
    expect(panel.row(turns[2])).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowDown")
    expect(panel.row(turns[1])).to_be_focused()
    page.keyboard.press("Enter")
    assert panel.editor.selected() == [turns[1]]
    labels = []
    for _ in range(7):
        page.keyboard.press("Tab")
        labels.append(page.evaluate("() => document.activeElement.getAttribute('aria-label')"))
    assert labels == [
        "Run up to here",
        "Add turn",
        "Branch here",
        "Re-roll",
        "4 more",
        "Compare",
        "Edit the instruction",
    ]
    for _ in range(4):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    branch = panel.new_node("KontextTurn", *turns)
    assert panel.editor.fed_by(branch, "chain") == turns[1]
    expect(panel.row(branch).locator(".kontext-edit")).to_be_focused(timeout=PATIENCE_MS)
    page.keyboard.type("make the red circle blue r w n")  # letters that are the page's keys elsewhere
    page.keyboard.press("Enter")
    expect(panel.row(branch)).to_be_focused(timeout=PATIENCE_MS)
    assert panel.editor.value(branch, "instruction") == "make the red circle blue r w n"
    expect(panel.row(branch).locator(".kontext-words")).to_have_text("make the red circle blue r w n")
    page.keyboard.press("F2")
    page.keyboard.type("no")
    page.keyboard.press("Escape")
    assert panel.editor.value(branch, "instruction") == "make the red circle blue r w n"
    panel.editor.undo()
    page.wait_for_function(f"([id, name]) => ({VALUE})([id, name]) === ''", arg=[branch, "instruction"])
    panel.editor.undo()
    panel.wait_for(*turns)


def test_another_workflow_and_an_empty_one(panel: Panel) -> None:
    panel.editor.open("script")
    (script,) = panel.editor.ids("KontextScript")
    (row,) = panel.wait_for(script)
    lines = [line for line in panel.editor.value(script, "script").splitlines() if line.strip()]
    assert row["words"] == " · ".join(lines)
    if row["name"].startswith("Script"):
        assert row["name"] == f"Script, lines: {len(lines)}"
    panel.editor.open("text_to_image")
    panel.wait_for()
    expect(panel.page.get_by_text("No turns yet.")).to_be_visible()
    select = "type => app.canvas.selectNodes(app.graph._nodes.filter(node => node.type === type))"
    for name, selected, model, picture in (
        ("text_to_image", "KontextDecode", "KontextLoadModel", "KontextDecode"),
        (None, "", "KontextLoadModel", "KontextExample"),
    ):
        if name is None:
            panel.page.evaluate("() => app.graph.clear()")
            panel.editor.click_empty()
        panel.page.evaluate(select, selected)
        before = panel.editor.graph()["nodes"]
        panel.page.get_by_role("button", name="Start a chain").click()
        turn = panel.new_node("KontextTurn")
        panel.wait_for(turn)
        assert [panel.editor.fed_by(turn, "model")] == panel.editor.ids(model)
        assert [panel.editor.fed_by(turn, "image")] == panel.editor.ids(picture)
        for a, b in itertools.combinations(panel.editor.boxes(), 2):
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], "nothing overlaps"
        expect(panel.row(turn)).to_be_focused(timeout=PATIENCE_MS)
        panel.page.keyboard.press("Control+z")
        panel.wait_for()
        assert len(panel.editor.graph()["nodes"]) == len(before), "as one step"
    panel.editor.open("branch_and_compare")
    turns = panel.editor.ids("KontextTurn")
    panel.wait_for(*turns, *panel.editor.ids("KontextPickTurn"))
    panel.button().click()
    expect(panel.page.locator(".kontext-panel")).to_have_count(0)
    panel.page.evaluate("id => app.graph.remove(app.graph.getNodeById(id))", turns[2])
    panel.open()
    panel.wait_for(*turns[:2], *panel.editor.ids("KontextPickTurn"))


@pytest.mark.parametrize("panel", [False], ids=["canvas"], indirect=True)
@pytest.mark.parametrize(
    ("language", "tab", "add", "seed"),
    [
        ("fr", "Tours de ce graphe", "Ajouter un tour", "graine"),
        ("ja", "このグラフのターン", "ターンを追加", "シード"),
    ],
    ids=["fr", "ja"],
)
def test_it_speaks_the_users_language(panel: Panel, language: str, tab: str, add: str, seed: str) -> None:
    with Client(panel.editor.url) as client:
        client.settings({LOCALE: language})
    panel.page.reload()
    panel.page.wait_for_function("() => window.app?.graph && window.app?.extensionManager")
    panel.page.get_by_role("button", name=tab).first.click(timeout=PATIENCE_MS)
    panel.editor.open("five_turn_chain")
    first = panel.editor.ids("KontextTurn")[0]
    expect(panel.row(first).get_by_role("button", name=add)).to_be_visible(timeout=PATIENCE_MS)
    expect(panel.row(first).locator(".kontext-seed")).to_contain_text(seed)


@pytest.mark.parametrize("panel", [False], ids=["canvas"], indirect=True)
def test_an_instruction_that_comes_by_a_wire_is_not_edited_here(panel: Panel) -> None:
    first, *_ = three_turns(panel)
    panel.page.evaluate(
        """id => {
          const text = LiteGraph.createNode('PrimitiveStringMultiline') ?? LiteGraph.createNode('PrimitiveString')
          app.graph.add(text)
          const turn = app.graph.getNodeById(id)
          text.connect(0, turn, turn.inputs.findIndex(one => one.name === 'instruction'))
        }""",
        first,
    )
    expect(panel.row(first).locator(".kontext-words")).to_have_text("…", timeout=PATIENCE_MS)
    panel.press(first, "Edit the instruction")
    panel.page.get_by_text("The instruction comes from another node").first.wait_for(timeout=PATIENCE_MS)
    assert panel.page.locator(".kontext-edit").count() == 0


_IN_VIEW = """id => {
  const {pos, size} = app.canvas.graph.getNodeById(id), {ds, canvas} = app.canvas, box = canvas.getBoundingClientRect()
  const panel = document.querySelector('.kontext-panel').getBoundingClientRect()
  const corner = [pos[0], pos[1] - 30], ends = [pos[0] + size[0], pos[1] + size[1]]
  const [left, top] = corner.map((at, i) => (at + ds.offset[i]) * ds.scale + [box.left, box.top][i])
  const [right, bottom] = ends.map((at, i) => (at + ds.offset[i]) * ds.scale + [box.left, box.top][i])
  return left >= panel.right && top >= box.top && right <= box.right && bottom <= box.bottom
}"""
_ROW_IN_VIEW = """id => {
  const row = document.querySelector(`.kontext-row[data-id="${id}"]`).getBoundingClientRect()
  const list = document.querySelector('.kontext-list').getBoundingClientRect()
  return row.top >= list.top - 1 && row.bottom <= list.bottom + 1
}"""
_PUSH_AWAY = "scale => { app.canvas.ds.scale = scale; app.canvas.ds.offset[0] = 9000 }"


def test_a_new_branch_is_named_and_both_its_row_and_its_node_are_seen(panel: Panel) -> None:
    turns = three_turns(panel)
    page = panel.page
    page.set_viewport_size({"width": 1200, "height": 520})
    branches: list[str] = []
    for parent in (turns[1], turns[0], turns[0]):
        page.evaluate(_PUSH_AWAY, 0.4)
        panel.press(parent, "Branch here")
        new = panel.new_node("KontextTurn", *turns, *branches)
        expect(panel.row(new).locator(".kontext-edit")).to_be_focused(timeout=PATIENCE_MS)
        page.wait_for_function(_IN_VIEW, arg=new, timeout=PATIENCE_MS)
        page.wait_for_function(_ROW_IN_VIEW, arg=new, timeout=PATIENCE_MS)
        page.keyboard.press("Escape")
        branches.append(new)
    names = [row["name"] for row in panel.wait_for(*turns, *branches)]
    assert names[:3] == ["Turn 1", "Turn 2", "Turn 3"]
    assert names[3:] == ["Turn 3, branch 1", "Turn 2, branch 2", "Turn 2, branch 3"]
    page.locator(".kontext-list").evaluate("list => { list.scrollTop = 0 }")
    panel.editor.select(branches[2])
    page.wait_for_function(_ROW_IN_VIEW, arg=branches[2], timeout=PATIENCE_MS)
