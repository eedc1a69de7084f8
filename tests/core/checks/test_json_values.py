"""Values of untrusted JSON."""

from typing import Any

import pytest

from kontext_core.checks.json_values import (
    listing,
    number,
    read_json,
    record,
    whole,
    whole_letters,
    words,
)

HUGE, INF, NAN = 10**400, float("inf"), float("nan")


@pytest.mark.parametrize("value", [-1, 0, 2, 0.5, -1.0, 2.0])
def test_numbers_within_their_range(value: float) -> None:
    assert number(value, -1, 2) == value
    assert isinstance(number(value, -1, 2), float)


@pytest.mark.parametrize("value", [True, False, None, "1", [1], {}, NAN, INF, -INF, HUGE, -HUGE, 2.0001, -2])
def test_what_is_no_number_within_its_range(value: Any) -> None:
    with pytest.raises(ValueError, match=r"is not a number from -1 to 2$"):
        number(value, -1, 2)


@pytest.mark.parametrize("value", [True, None, "1", 1.0, NAN, INF, HUGE, 6, -1, []])
def test_what_is_no_whole_number_within_its_range(value: Any) -> None:
    assert [whole(0, 0, 5), whole(5, 0, 5)] == [0, 5]
    with pytest.raises(ValueError, match=r"is not a whole number from 0 to 5$"):
        whole(value, 0, 5)


def test_texts_and_their_letters() -> None:
    assert words("Stück \U0001f600", 7) == "Stück \U0001f600"
    assert words("a\ud83d", 2) == whole_letters("a\ud83d") == "a\ufffd"
    for value, sentence in ((5, "5 is not text"), ("abc", "a text has 3 letters, but 2 is the maximum")):
        with pytest.raises(ValueError, match=sentence):
            words(value, 2)


def test_lists_and_objects() -> None:
    assert listing([1, 2], 2) == [1, 2]
    assert record({"a": 1, "b": 2}, "a") == {"a": 1, "b": 2}
    for value, sentence in (
        ((1, 2), r"\(1, 2\) is not a list"), ("ab", "'ab' is not a list"), ([1, 2, 3], "a list has 3 values and 1 to 2 are"),
        ([], "a list has 0 values and 1 to 2 are allowed"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=sentence):
            listing(value, 2, least=1)
    with pytest.raises(ValueError, match=r"^it lacks 'a', 'c'$"):
        record({"b": 1}, "a", "b", "c")
    with pytest.raises(ValueError, match=r"\['a'\] is not a JSON object"):
        record(["a"], "a")


def test_numbers_that_python_does_not_read_are_infinite() -> None:
    assert read_json("[1, 1e999, NaN]")[:2] == [1, INF]
    assert read_json(f"[{'9' * 5000}, -{'9' * 5000}]") == [INF, -INF]
    assert read_json("1" + "0" * 400) == HUGE
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json("[" * 100_000)
