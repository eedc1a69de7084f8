"""The commands of a row of the chain panel, by its menu and by keys: each is one step of undo."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from .editor import PATIENCE_MS
from .panel import SUBGRAPH, Panel, three_turns, turns_with_a_branch

pytestmark = pytest.mark.comfy

_MODE = "([id, mode]) => app.graph.getNodeById(id).mode === mode"
_TITLE = "id => app.graph.getNodeById(id).title"
_POSITION = "id => [...app.graph.getNodeById(id).pos].map(Math.round)"
MENU = [
    "Move up",
    "Move down",
    "Duplicate",
    "Switch off",
    "Compare with Turn 1",
    "Save as animation",
    "Save this chain",
    "Write a note",
    "Remove",
]


def five_turns(panel: Panel) -> list[str]:
    """A chain of five turns with what shows and saves all of it; ComfyUI has noted what it looks like."""
    panel.editor.open("five_turn_chain")
    turns = panel.editor.ids("KontextTurn")
    panel.wait_for(*turns)
    panel.editor.click_empty()
    return turns


def do(panel: Panel, id: str, way: str, label: str, key: str) -> None:
    """One command of a row, by mouse alone or by keyboard alone."""
    if way == "mouse":
        panel.press(id, "More")
        panel.page.get_by_role("menuitem", name=label, exact=True).click()
        expect(panel.page.get_by_role("menu")).to_have_count(0)
    else:
        panel.row(id).focus()
        panel.page.keyboard.press(key)


WAYS = pytest.mark.parametrize("way", ["mouse", "keys"])


@WAYS
def test_a_turn_leaves_its_line_and_what_is_behind_it_goes_on(panel: Panel, way: str) -> None:
    turns = five_turns(panel)
    editor = panel.editor
    before = editor.graph()
    do(panel, turns[2], way, "Remove", "Delete")
    panel.wait_for(*turns[:2], *turns[3:])
    assert editor.fed_by(turns[3], "chain") == turns[1]
    expect(panel.row(turns[1])).to_be_focused(timeout=PATIENCE_MS)
    panel.undo_to(before)

    do(panel, turns[4], way, "Remove", "Delete")
    panel.wait_for(*turns[:4])
    for kind in ("KontextSaveChain", "KontextChainSheet"):
        assert [editor.fed_by(id, "chain") for id in editor.ids(kind)] == [turns[3]]
    panel.undo_to(before)

    source = editor.fed_by(turns[0], "image")
    do(panel, turns[0], way, "Remove", "Delete")
    panel.wait_for(*turns[1:])
    assert editor.fed_by(turns[1], "image") == source
    expect(panel.row(turns[1])).to_be_focused(timeout=PATIENCE_MS)
    panel.undo_to(before)


def test_the_branches_of_a_turn_that_leaves_go_on_from_the_one_before(panel: Panel) -> None:
    first, second, third, branch = turns_with_a_branch(panel, 1)
    do(panel, second, "keys", "", "Delete")
    panel.wait_for(first, third, branch)
    assert [panel.editor.fed_by(id, "chain") for id in (third, branch)] == [first, first]
    assert [row["level"] for row in panel.rows()] == ["1", "1", "2"]
    for id in (branch, third, first):
        do(panel, id, "keys", "", "Delete")
        expect(panel.row(id)).to_have_count(0)
    expect(panel.page.get_by_role("button", name="Start a chain")).to_be_focused()


@WAYS
def test_neighbours_trade_places_and_keep_their_words_and_seeds(panel: Panel, way: str) -> None:
    turns = five_turns(panel)
    page, editor = panel.page, panel.editor
    before = editor.graph()
    source = editor.fed_by(turns[0], "image")
    said = {id: (editor.value(id, "instruction"), editor.value(id, "seed")) for id in turns}
    places = [page.evaluate(_POSITION, id) for id in turns]
    for up, order in ((True, [1, 0, 2, 3, 4]), (False, [0, 1, 2, 4, 3])):
        moved = turns[1] if up else turns[3]
        label, key = ("Move up", "Alt+ArrowUp") if up else ("Move down", "Alt+ArrowDown")
        do(panel, moved, way, label, key)
        line = [turns[i] for i in order]
        panel.wait_for(*line)
        expect(panel.row(moved)).to_be_focused(timeout=PATIENCE_MS)
        assert editor.fed_by(line[0], "image") == source
        assert editor.fed_by(line[0], "chain") is None
        assert [editor.fed_by(id, "chain") for id in line[1:]] == line[:-1]
        for kind in ("KontextSaveChain", "KontextChainSheet"):
            assert [editor.fed_by(id, "chain") for id in editor.ids(kind)] == [line[-1]]
        assert [page.evaluate(_POSITION, id) for id in line] == places
        assert [page.evaluate(_TITLE, id) for id in line] == [f"Turn {number}" for number in range(1, 6)]
        assert {id: (editor.value(id, "instruction"), editor.value(id, "seed")) for id in turns} == said
        panel.undo_to(before)
    do(panel, turns[0], "keys", "", "Alt+ArrowUp")
    do(panel, turns[4], "keys", "", "Alt+ArrowDown")
    page.wait_for_timeout(200)
    assert editor.graph() == before, "at the end of a line there is no neighbour"


def test_edits_trade_places_too(panel: Panel) -> None:
    editor = panel.editor
    editor.open("three_turn_edit")
    first, second, third = editor.ids("KontextEdit")
    panel.wait_for(first, second, third)
    source = editor.fed_by(first, "image")
    do(panel, second, "keys", "", "Alt+ArrowUp")
    panel.wait_for(second, first, third)
    assert (editor.fed_by(second, "image"), editor.fed_by(second, "latent")) == (source, None)
    assert (editor.fed_by(first, "image"), editor.fed_by(first, "latent")) == (None, second)
    assert editor.fed_by(third, "latent") == first


_BY_PICTURES = """edits => edits.slice(1).forEach((id, i) => {
  const [node, before] = [id, edits[i]].map(id => app.graph.getNodeById(id))
  const slot = name => node.inputs.findIndex(one => one.name === name)
  node.disconnectInput(slot('latent'))
  before.connect(before.outputs.findIndex(one => one.type === 'IMAGE'), node, slot('image'))
})"""


@pytest.mark.parametrize("wired", ["latent", "image"])
def test_what_comes_behind_an_edit_goes_on_however_it_is_wired(panel: Panel, wired: str) -> None:
    editor = panel.editor
    editor.open("three_turn_edit")
    first, second, third = editor.ids("KontextEdit")
    saves = editor.ids("SaveImage")
    if wired == "image":
        panel.page.evaluate(_BY_PICTURES, [first, second, third])
    panel.wait_for(first, second, third)
    do(panel, second, "keys", "", "Control+d")
    copy = panel.new_node("KontextEdit", first, second, third)
    panel.wait_for(first, second, copy, third)
    assert editor.fed_by(third, wired) == copy
    for id, before, behind in ((copy, second, third), (second, first, third)):
        do(panel, id, "keys", "", "Delete")
        expect(panel.row(id)).to_have_count(0)
        assert editor.fed_by(behind, wired) == before
    assert [editor.fed_by(id, "images") for id in saves] == [first, None, third]


def test_turns_of_a_subgraph_trade_places_between_its_walls(panel: Panel) -> None:
    turns = five_turns(panel)
    page = panel.page
    host = page.evaluate(SUBGRAPH, turns[1:3])
    inner = [f"{host}:{id}" for id in turns[1:3]]
    panel.wait_for(turns[0], *inner, *turns[3:])
    panel.press(inner[0], "More")
    expect(page.get_by_role("menuitem", name="Move up", exact=True)).to_have_attribute(
        "aria-disabled", "true"
    )
    page.keyboard.press("Escape")
    do(panel, inner[0], "mouse", "Move down", "")
    panel.wait_for(turns[0], inner[1], inner[0], *turns[3:])
    do(panel, inner[0], "keys", "", "Control+d")
    page.wait_for_function(
        "() => document.querySelectorAll('.kontext-row').length === 6", timeout=PATIENCE_MS
    )
    ids = [row["id"] for row in panel.rows()]
    assert [ids[0], *ids[1:3], *ids[4:]] == [turns[0], inner[1], inner[0], *turns[3:]], (
        "behind the one it copies"
    )
    do(panel, ids[3], "keys", "", "Delete")
    panel.wait_for(turns[0], inner[1], inner[0], *turns[3:])


@WAYS
def test_a_copy_comes_right_behind_with_the_same_words_and_another_seed(panel: Panel, way: str) -> None:
    turns = five_turns(panel)
    editor = panel.editor
    editor.change(turns[1], {"steps": 13, "marks": '{"version": 1, "marks": []}'})
    before = editor.graph()
    for number in (1, 4):
        do(panel, turns[number], way, "Duplicate", "Control+d")
        copy = panel.new_node("KontextTurn", *turns)
        line = [*turns[: number + 1], copy, *turns[number + 1 :]]
        panel.wait_for(*line)
        assert [editor.fed_by(id, "chain") for id in line[1:]] == line[:-1]
        assert [editor.fed_by(id, "chain") for id in editor.ids("KontextSaveChain")] == [line[-1]]
        assert editor.fed_by(copy, "model") == editor.fed_by(turns[number], "model")
        for name in ("instruction", "steps", "marks", "guidance"):
            assert editor.value(copy, name) == editor.value(turns[number], name)
        assert editor.value(copy, "seed") != editor.value(turns[number], "seed")
        expect(panel.row(copy)).to_be_focused(timeout=PATIENCE_MS)
        panel.undo_to(before)


def test_the_copy_of_a_turn_with_branches_is_on_its_line(panel: Panel) -> None:
    first, second, third, branch = turns_with_a_branch(panel, 0)
    do(panel, first, "keys", "", "Control+d")
    copy = panel.new_node("KontextTurn", first, second, third, branch)
    panel.page.wait_for_function(
        "() => document.querySelectorAll('.kontext-row').length === 5", timeout=PATIENCE_MS
    )
    fed = {id: panel.editor.fed_by(id, "chain") for id in (copy, second, branch)}
    assert fed == {copy: first, second: copy, branch: first}


@WAYS
def test_a_turn_is_switched_off_and_on(panel: Panel, way: str) -> None:
    first, second, _ = three_turns(panel)
    page = panel.page
    do(panel, second, way, "Switch off", "Alt+o")
    page.wait_for_function(_MODE, arg=[second, 4])
    panel.wait_for_states({first: "new", second: "off"})
    expect(panel.row(second)).to_be_focused(timeout=PATIENCE_MS)
    do(panel, second, way, "Switch on", "Alt+o")
    page.wait_for_function(_MODE, arg=[second, 0])
    panel.wait_for_states({second: "new"})
    panel.editor.undo()
    page.wait_for_function(_MODE, arg=[second, 4])
    panel.editor.undo()
    page.wait_for_function(_MODE, arg=[second, 0])


def test_the_menu_by_keyboard(panel: Panel) -> None:
    first, second, _ = three_turns(panel)
    page = panel.page
    panel.row(second).focus()
    more = panel.row(second).get_by_role("button", name="More", exact=True)
    more.focus()
    page.keyboard.press("Enter")
    menu = page.get_by_role("menu", name="Turn 2")
    expect(menu).to_be_visible()
    expect(more).to_have_attribute("aria-expanded", "true")
    labels = menu.get_by_role("menuitem").locator(".kontext-menu-label").all_inner_texts()
    begin = labels.index(MENU[0])  # after the row's buttons, where the panel has no room for them
    assert labels[begin : begin + len(MENU)] == MENU
    item = {label: menu.get_by_role("menuitem", name=label, exact=True) for label in MENU}
    expect(item["Move up"]).to_be_focused()
    page.keyboard.press("End")
    expect(item["Move up"]).not_to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(item["Move up"]).to_be_focused()
    page.keyboard.press("r")  # which ComfyUI does something else with
    expect(item["Remove"]).to_be_focused()
    page.keyboard.press("Escape")
    expect(menu).to_have_count(0)
    expect(more).to_be_focused()
    expect(more).to_have_attribute("aria-expanded", "false")
    page.keyboard.press(" ")
    page.keyboard.press("d")
    page.keyboard.press("Enter")
    panel.new_node("KontextTurn", *panel.editor.ids("KontextTurn")[:3])
    expect(menu).to_have_count(0)

    panel.row(first).click(button="right")
    menu = page.get_by_role("menu", name="Turn 1")
    disabled = menu.get_by_role("menuitem", name="Move up", exact=True)
    expect(disabled).to_have_attribute("aria-disabled", "true")
    disabled.click(force=True)
    expect(menu).to_be_visible()
    page.locator(".kontext-heading").click()
    expect(menu).to_have_count(0)


_WIRE_NUMBER = """([id, names]) => {
  const number = LiteGraph.createNode('PrimitiveInt'), node = app.graph.getNodeById(id)
  app.graph.add(number)
  names.forEach(name => number.connect(0, node, node.inputs.findIndex(one => one.name === name)))
  return String(number.id)
}"""


def test_a_copy_takes_over_what_comes_by_a_wire_but_for_the_seed(panel: Panel) -> None:
    turns = three_turns(panel)
    number = panel.page.evaluate(_WIRE_NUMBER, [turns[1], ["seed", "steps"]])
    do(panel, turns[1], "keys", "", "Control+d")
    copy = panel.new_node("KontextTurn", *turns)
    assert (panel.editor.fed_by(copy, "steps"), panel.editor.fed_by(copy, "seed")) == (number, None)
