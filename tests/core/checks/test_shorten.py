"""What of a value or a text a message repeats."""

from typing import Any

import pytest
import torch

from kontext_core.checks.shorten import cut, plain, short

DEEP: list[Any] = []
for _ in range(10_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"), (True, "True"), (None, "None"), (float("nan"), "nan"), ("a b", "'a b'"), ("", "''"),
        ("a\0\ud83d", r"'a\x00\ud83d'"), ("a" * 99, f"'{'a' * 79}..."), ([1, "x"], "[1, 'x']"), ({"a": 1}, "{'a': 1}"),
        (10**400, "a number of about 400 digits"), (b"\n", r"b'\n'"),
    ],
)  # fmt: skip
def test_a_value_takes_part_of_a_line(value: object, text: str) -> None:
    assert short(value) == text


def test_numbers_that_python_does_not_write() -> None:
    values = (-(10**5000), [10**5000], {"a": [10**5000]})
    assert [short(value) for value in values] == ["a number of about 5000 digits", "a list", "a dict"]


@pytest.mark.parametrize(
    "value", [[0] * 10_000_000, dict.fromkeys(range(100_000)), DEEP, ["a" * 10**8], torch.ones(9, 9)]
)
def test_large_values_are_looked_at_in_part(value: object) -> None:
    text = short(value)
    assert len(text) <= 83
    assert text.isprintable()


def test_names_have_no_quotes() -> None:
    assert [plain(value) for value in ("a b", 5, [1], "", " ", "a\n")] == [
        "a b", "5", "[1]", "''", "' '", r"'a\n'",
    ]  # fmt: skip
    assert plain("x" * 99) == "x" * 80 + "..."


def test_a_text_is_cut() -> None:
    assert (cut("abc", 3), cut("abcd", 3)) == ("abc", "abc...")
