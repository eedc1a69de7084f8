"""The rule of pictures: what an instruction names is connected, and what is connected is named."""

import re
from collections.abc import Iterator

from .instruction import Instruction

_ORDINALS = {
    word: number
    for number, words in enumerate(
        (
            "first 1st one",
            "second 2nd two",
            "third 3rd three",
            "fourth 4th four",
            "fifth 5th five",
            "sixth 6th six",
        ),
        1,
    )
    for word in words.split()
}
_PICTURE = r"(?:picture|image|photo|photograph|pic)"
_NUMBER = r"(?:\d{1,2}|one|two|three|four|five|six)"
_NUMBERED = re.compile(
    rf"\b{_PICTURE}s?(?: number| no\.?)? ?#?(?P<numbers>{_NUMBER}(?:(?:,| and| or| &|, and) (?:{_PICTURE} )?#?{_NUMBER}"
    r"(?! \w+s\b)){0,5})\b(?![:.]\d|%)",
    re.IGNORECASE,
)
_ORDINAL = re.compile(
    rf"\b(?P<numbers>(?:first|second|third|fourth|fifth|sixth|1st|2nd|3rd|4th|5th|6th)"
    r"(?:(?:,| and| or| &|, and)(?: the)? (?:first|second|third|fourth|fifth|sixth|1st|2nd|3rd|4th|5th|6th)){0,5})"
    rf" (?:input |reference |provided |given )?{_PICTURE}s?\b(?! (?:frame|on (?:the|a) (?:wall|shelf|desk|page)|hanging|above|below|from the|in the row))",
    re.IGNORECASE,
)
_ONE_NUMBER = re.compile(rf"\b(?:{'|'.join(_ORDINALS)}|\d{{1,2}})\b", re.IGNORECASE)

# Names of pictures without a number, each of which may mean any of them.
_UNNUMBERED = re.compile(
    rf"\b(?:both|all|other|these|those|two|three|four|last|references?|style|left|right|input|provided|second|each|every)"
    rf"(?: (?:the|of|two|three|four|reference|input|style|provided|other|these|those)){{0,3}} {_PICTURE}s?\b"
    r"|\b(?:these|those|two|three|four) (?:characters|people|persons|subjects|styles|things|objects)\b"
    r"|\breferences?\b|\bboth (?:characters|people|persons|subjects|styles)\b"
    rf"|\bcombine\b|\b{_PICTURE}s together\b",
    re.IGNORECASE,
)


def named_pictures(instruction: Instruction) -> set[int]:
    """Collect the numbers of the pictures that an instruction names, by number or in words."""
    return {
        _ORDINALS.get(number[0].lower()) or int(number[0])
        for pattern in (_NUMBERED, _ORDINAL)
        for match in pattern.finditer(instruction.plain)
        for number in _ONE_NUMBER.finditer(match["numbers"])
    }


def absent_pictures(instruction: Instruction, pictures: int) -> Iterator[str]:
    """Find pictures that are named and not connected."""
    absent = sorted(number for number in named_pictures(instruction) if not 1 <= number <= pictures)
    if absent:
        there = {0: "no picture is", 1: "only picture 1 is"}.get(
            pictures, f"only pictures 1 to {pictures} are"
        )
        yield f"picture {absent[0]} is named, but {there} connected: connect it, or name another"


def unnamed_pictures(instruction: Instruction, pictures: int) -> Iterator[str]:
    """Find pictures after the first that are connected and not named; the first is the one that is edited."""
    if pictures < 2 or not instruction.plain or _UNNUMBERED.search(instruction.plain):
        return
    unnamed = sorted(set(range(2, pictures + 1)) - named_pictures(instruction))
    if unnamed:
        number = unnamed[0]
        yield (
            f"picture {number} is connected, but the instruction does not name it: say what to take from it, such as "
            f"'the hat of picture {number}'"
        )
