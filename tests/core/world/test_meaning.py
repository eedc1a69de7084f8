"""A sentence names what its sample contains."""

import random

import pytest

from kontext_core.world import KINDS, sample
from kontext_core.world.language import POINTED
from kontext_core.world.meaning import SLOT_SIZES, meaning, slot_numbers

BOTH = "put the thing of picture 2 at row 1 column 2 and the thing of picture 3 at row 4 column 3"
LIST = "draw small red star row 1 column 1 and blue moon row 2 column 4 on lake"


def named(slots: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in slots.items() if value}


@pytest.mark.parametrize(
    ("instruction", "clauses", "sentence"),
    [
        ("make the red circle blue", [{"colour": "red", "shape": "circle"}], {"new_colour": "blue"}),
        (
            "turn the big red circle into a moon",
            [{"size": "big", "colour": "red", "shape": "circle"}],
            {"new_shape": "moon"},
        ),
        (f"paint {POINTED} white", [{"pointed": POINTED}], {"new_colour": "white"}),
        (
            "put the red circle at row 2 column 3",
            [{"colour": "red", "shape": "circle", "row": "2", "column": "3"}],
            {},
        ),
        (
            BOTH,
            [{"picture": "2", "row": "1", "column": "2"}, {"picture": "3", "row": "4", "column": "3"}],
            {},
        ),
        (
            LIST,
            [
                {"size": "small", "colour": "red", "shape": "star", "row": "1", "column": "1"},
                {"colour": "blue", "shape": "moon", "row": "2", "column": "4"},
            ],
            {"background": "lake"},
        ),
        (
            "change the word fox to owl",
            [],
            {"word": "owl", "letter_1": "o", "letter_2": "w", "letter_3": "l"},
        ),
        ("make it night", [], {"time": "night"}),
        ("use grey colours", [], {"palette": "grey"}),
        ("", [], {}),
    ],
)
def test_slots(instruction: str, clauses: list[dict[str, str]], sentence: dict[str, str]) -> None:
    found, whole = meaning(instruction)
    assert [named(clause) for clause in found if named(clause)] == clauses
    assert named(whole) == sentence


@pytest.mark.parametrize("kind", KINDS)
def test_two_sentences_of_one_meaning_ask_for_one_thing(kind: str) -> None:
    """Every sentence has its numbers, and nothing that a sample asks for goes unnamed."""
    for seed in range(50):
        instruction = sample(kind, random.Random(seed)).instruction
        numbers = slot_numbers(instruction)
        assert all(0 <= number < size for number, size in zip(numbers, SLOT_SIZES, strict=True))
        assert any(numbers) == bool(instruction)
