"""What an instruction names, slot by slot: right answers for text encoders that learn the language."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from .language import POINTED, THING, WORDS
from .scenes import BACKGROUNDS, COLOURS, GRID, PALETTES, SHAPES, SIZES, TIMES

CLAUSES = 3  # the longest sentences list three things, with "and" between
_PLACE = re.compile(r"row (\d) column (\d)")
_PICTURE = re.compile(r"picture (\d)")
_THING = re.compile(THING)
_NUMBERS = tuple(str(i + 1) for i in range(GRID))

# What each slot of a clause, and of a sentence, can be. The empty answer means that it is not named.
CLAUSE_SLOTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "size": ("", *SIZES),
        "colour": ("", *COLOURS),
        "shape": ("", *SHAPES),
        "pointed": ("", POINTED),
        "picture": ("", *_NUMBERS),
        "row": ("", *_NUMBERS),
        "column": ("", *_NUMBERS),
    }
)
SENTENCE_SLOTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "new_colour": ("", *COLOURS),
        "new_shape": ("", *SHAPES),
        "background": ("", *BACKGROUNDS),
        "palette": ("", *PALETTES),
        "time": ("", *TIMES),
        "word": ("", *WORDS),
        **{f"letter_{i + 1}": ("", *"abcdefghijklmnopqrstuvwxyz") for i in range(3)},
    }
)


def meaning(instruction: str) -> tuple[list[dict[str, str]], dict[str, str]]:
    """The slots of each of `CLAUSES` clauses, and those of the whole sentence; "" where nothing is named."""
    clauses = [dict.fromkeys(CLAUSE_SLOTS, "") for _ in range(CLAUSES)]
    rest: list[str] = []
    for clause, text in zip(clauses, instruction.split(" and "), strict=False):
        if thing := _THING.search(text):
            clause["size"], clause["colour"], clause["shape"] = (name or "" for name in thing.groups())
            text = text.replace(thing[0], "")
        if place := _PLACE.search(text):
            clause["row"], clause["column"] = place.groups()
        if picture := _PICTURE.search(text):
            clause["picture"] = picture[1]
        if POINTED in text:
            clause["pointed"] = POINTED
            text = text.replace(POINTED, "")
        rest += text.split()
    sentence = {name: _last(rest, values) for name, values in SENTENCE_SLOTS.items() if "_" not in name}
    sentence |= {"new_colour": _last(rest, tuple(COLOURS)), "new_shape": _last(rest, SHAPES)}
    sentence |= {f"letter_{i + 1}": sentence["word"][i : i + 1] for i in range(3)}
    return clauses, sentence


def slot_numbers(instruction: str) -> list[int]:
    """`meaning` as the numbers of the answers, clauses first; see `SLOT_SIZES`."""
    clauses, sentence = meaning(instruction)
    numbers = [CLAUSE_SLOTS[name].index(value) for clause in clauses for name, value in clause.items()]
    return numbers + [values.index(sentence[name]) for name, values in SENTENCE_SLOTS.items()]


# How many answers each number of `slot_numbers` chooses from.
SLOT_SIZES: tuple[int, ...] = tuple(
    len(values) for values in (*list(CLAUSE_SLOTS.values()) * CLAUSES, *SENTENCE_SLOTS.values())
)


def _last(words: list[str], values: tuple[str, ...]) -> str:
    """The last of the words that is one of the values: "change the word fox to owl" asks for the owl."""
    return next((word for word in reversed(words) if word and word in values), "")
