"""The chain panel's pure parts: the tree of turns, its lines, where keys lead."""

from __future__ import annotations

from typing import Any

import pytest

from .modules import call


def rows(*entries: tuple[Any, ...]) -> dict[str, dict[str, Any]]:
    """Rows by id, in order.

    Args:
        entries: (id, ids that go on from it, number of turns or None; 1 if left out).
    """
    given = [
        {"id": id, "children": list(children), "turns": turns[0] if turns else 1}
        for id, children, *turns in entries
    ]
    found = call("chain/tree.js", "return module.rowsOf(entries)", entries=given)
    return {row["id"]: row for row in found}


def test_a_chain_is_one_line_in_the_order_of_its_wires() -> None:
    found = rows(("c", []), ("a", ["b"]), ("b", ["c"]))
    assert list(found) == ["a", "b", "c"]
    assert [row["turns"] for row in found.values()] == [[1, 1], [2, 2], [3, 3]]
    assert [(row["up"], row["down"]) for row in found.values()] == [
        (False, True),
        (True, True),
        (True, False),
    ]
    assert {(row["chain"], row["lane"], row["level"]) for row in found.values()} == {(0, 0, 1)}


def test_a_branch_comes_behind_the_line_it_leaves_and_its_line_goes_by_the_rows_between() -> None:
    found = rows(("a", ["b"]), ("b", ["c", "d"]), ("c", []), ("d", ["e"]), ("e", []))
    assert list(found) == ["a", "b", "c", "d", "e"]
    assert [row["lane"] for row in found.values()] == [0, 0, 0, 1, 1]
    assert [row["level"] for row in found.values()] == [1, 1, 1, 2, 2]
    assert found["b"]["forks"] == [1]
    assert [row["passes"] for row in found.values()] == [[], [], [1], [], []]
    assert (found["d"]["up"], found["d"]["turns"], found["e"]["turns"]) == (True, [3, 3], [4, 4])


def test_no_two_lines_share_a_lane_beside_a_row() -> None:
    """Branches of branches and of different turns; of every row, no line goes by in the lane of another."""
    found = rows(
        ("a", ["b", "x", "y"]), ("b", ["c", "p"]), ("c", []), ("p", ["q", "r"]), ("q", []), ("r", []),
        ("x", ["z"]), ("y", []), ("z", []),
    )  # fmt: skip
    assert list(found) == ["a", "b", "c", "p", "q", "r", "x", "z", "y"]
    for row in found.values():
        assert row["lane"] not in row["passes"], row
        assert len({*row["passes"], *row["forks"]}) == len(row["passes"]) + len(row["forks"]), row
    order = list(found)
    for at, row in enumerate(found.values()):  # a line that begins goes by until its branch is there
        for lane in row["forks"]:
            branch = next(i for i in range(at + 1, len(order)) if found[order[i]]["lane"] == lane)
            assert all(lane in found[order[i]]["passes"] for i in range(at + 1, branch))
            assert lane not in found[order[branch]]["passes"]
            assert found[order[branch]]["level"] == row["level"] + 1
            assert found[order[branch]]["up"]


def test_chains_come_one_under_the_other() -> None:
    found = rows(("a", ["b"]), ("n", []), ("b", []))
    assert [(id, row["chain"], row["turns"]) for id, row in found.items()] == [
        ("a", 0, [1, 1]),
        ("b", 0, [2, 2]),
        ("n", 1, [1, 1]),
    ]


def test_a_script_counts_its_lines_and_after_going_back_numbers_are_not_known() -> None:
    found = rows(("a", ["s"]), ("s", ["b", "p"], 3), ("b", []), ("p", ["c"], None), ("c", []))
    assert {id: row["turns"] for id, row in found.items()} == {
        "a": [1, 1],
        "s": [2, 4],
        "b": [5, 5],
        "p": None,
        "c": None,
    }
    assert rows(("s", ["b"], 0), ("b", []))["b"]["turns"] == [1, 1], "a script without lines adds none"


def test_a_circle_ends_and_each_has_one_row() -> None:
    assert list(rows(("a", ["b"]), ("b", ["a"]), ("c", ["c"]))) == ["a", "b", "c"]


def test_wires_to_what_is_no_entry_are_left_out() -> None:
    assert list(rows(("a", ["gone", "b"]), ("b", []))) == ["a", "b"]
    assert rows() == {}


def test_a_chain_of_five_thousand_turns_is_laid_out() -> None:
    entries = [(str(i), [str(i + 1)] if i < 4999 else []) for i in range(5000)]
    assert rows(*entries)["4999"]["turns"] == [5000, 5000]


@pytest.mark.parametrize(
    ("current", "key", "wanted"),
    [
        ("b", "ArrowDown", "c"),
        ("c", "ArrowDown", "c"),
        ("b", "ArrowUp", "a"),
        ("a", "ArrowUp", "a"),
        ("b", "Home", "a"),
        ("b", "End", "c"),
        (None, "ArrowDown", "a"),
        ("b", "x", None),
    ],
)
def test_where_keys_lead(current: str | None, key: str, wanted: str | None) -> None:
    code = "return module.keyLeadsTo(ids, current, key)"
    assert call("chain/tree.js", code, ids=["a", "b", "c"], current=current, key=key) == wanted
    assert call("chain/tree.js", code, ids=[], current=None, key=key) is None


def test_lines_of_a_script_are_its_instructions() -> None:
    script = "  one \n\n# two\r\nthree\n#\n \t\nfour # five"
    assert call("chain/tree.js", "return module.linesOf(script)", script=script) == [
        "one",
        "three",
        "four # five",
    ]


def test_rows_are_laid_out_anew_only_where_the_tree_has_changed() -> None:
    code = """
      const shape = new module.Shape()
      const entry = (id, children, turns = 1) => ({id, children, turns})
      const first = shape.rowsOf([entry('a', ['b']), entry('b', [])])
      const same = shape.rowsOf([entry('a', ['b']), entry('b', [])]) === first
      const others = [[entry('a', []), entry('b', [])], [entry('a', ['b'], 2), entry('b', [])]]
      return [same, ...others.map(one => JSON.stringify(shape.rowsOf(one)) === JSON.stringify(module.rowsOf(one)))]
    """
    assert call("chain/tree.js", code) == [True, True, True]


def test_a_new_node_lies_at_the_first_free_place_below() -> None:
    code = "return module.freeSpot(taken, wanted)"
    wanted = [100, 0, 200, 100]
    assert call("lib/free_spot.js", code, taken=[], wanted=wanted) == [100, 0]
    x, y = call("lib/free_spot.js", code, taken=[[150, 20, 50, 300]], wanted=wanted)
    assert (x, y >= 320) == (100, True), "below what lies there, with its title"
