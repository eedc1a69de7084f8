"""The rules of changes: what stays is said, nothing is asked for by a "no", and one turn changes little."""

import re
from collections.abc import Iterator

from .instruction import Instruction
from .vocabulary import CHANGES, COLOURS, either

MOST_CHANGES = 3

_KEEPS = re.compile(
    r"\b(?:keep|keeps|keeping|kept|preserv\w+|maintain\w*|retain\w*|same|unchanged|untouched|intact|stays?|staying|"
    r"remains?|remaining|leave|leaves|leaving|identical|unaltered|unmodified|only|just|everything else|nothing else|"
    r"rest of|as (?:it is|is|they are|before|in the original)|original|(?:without|not|don'?t) (?:to )?"
    r"(?:chang|alter|affect|modif|touch|mov)\w*)\b",
    re.IGNORECASE,
)

# A background that is merely adjusted stays the same one.
_ADJUSTED = (
    r"(?:be |look |become |appear |a (?:bit |little )|slightly |much |more |less |very |softly |gently )*"
    r"(?:blur\w*|brighter|darker|lighter|dimmer|softer|sharper|warmer|cooler|clearer|out of|bokeh|fade\w*|"
    r"focus\w*|bright|dark|soft|sharp|colou?rful|vivid|visible|desaturated|monochrome|black and white|stand|match|"
    r"more|less)\b"
)
_BACKGROUND = r"\b(?:change|replace|swap|switch|set|turn|transform|convert|alter)"
_NEW_BACKGROUND = re.compile(
    rf"{_BACKGROUND}(?: (?!in\b|to\b|from\b|of\b|with\b)[\w'-]+){{0,4}}? background(?! colou?r)\b[^.;!?]{{0,60}}?"
    rf" (?:to|with|into|for|by) (?!{_ADJUSTED})"
    r"|\b(?:new|different|another) (?:[\w'-]+ ){0,2}background\b"
    rf"|\b(?:make|render) (?:the|its|this|their) (?:[\w'-]+ ){{0,2}}?background (?!{_ADJUSTED}|and\b|in\b|of\b)\w"
    r"|\b(?:give|put|place|set|move)\b[^.;!?]{0,60}? (?:a|an) (?!blur|soft)(?:[\w'-]+ ){1,3}background\b",
    re.IGNORECASE,
)
_CREATES = re.compile(
    r"\b(?:draw|create|generate|paint|design|depict|render an?|illustrate)\b", re.IGNORECASE
)
_TRANSFORM = re.compile(r"\btransform(?:s|ed|ing|ation)?\b", re.IGNORECASE)

_NEGATIVE = re.compile(
    r"\b(?P<no>no(?!\.? ?\d)|without|don'?t|do not|doesn'?t|does not|didn'?t|never|(?<!whether or )not(?! only))\b",
    re.IGNORECASE,
)
_LEAVES = re.compile(
    r"\b(?:without|not|don'?t) (?:to )?(?:chang|alter|affect|modif|touch|mov)\w*", re.IGNORECASE
)

_CLAUSES = re.compile(r"[.,;:!?]| (?:and|then|while|but|plus) ", re.IGNORECASE)
_OPENING = re.compile(
    r"(?:and|then|also|now|next|finally|first|second|third|lastly|please|i want (?:you )?to|can you|could you|"
    r"additionally|afterwards|as well|but|again|simply|slightly|completely|\d+)\s+",
    re.IGNORECASE,
)
_LIST_VERBS = frozenset(
    ("make", "paint", "turn", "change", "color", "colour", "recolor", "recolour", "dye", "set")
)
_LISTED = re.compile(rf"(?:the|his|her|its|their) .*(?: (?:to|into) | (?:{either(COLOURS)})$)", re.IGNORECASE)


def nothing_stays(instruction: Instruction) -> Iterator[str]:
    """Find a new background, or a transformation, in an instruction that does not say what stays."""
    plain = instruction.plain
    if _KEEPS.search(plain):
        return
    if match := _TRANSFORM.search(plain):
        yield (
            f"'{match[0]}' lets the model change everything: say what stays, such as 'keep the face and the pose', or "
            "name the single change"
        )
    elif _NEW_BACKGROUND.search(plain) and not _CREATES.search(plain):
        yield (
            "a new background may change what stands before it too: say what stays, such as 'keep the person, the "
            "pose and the framing'"
        )


def negative_words(instruction: Instruction) -> Iterator[str]:
    """Find the first word by which an instruction says what is not to be seen."""
    match = _NEGATIVE.search(instruction.plain)
    if match is None:
        return
    advice = (
        "say what stays, such as 'keep the face the same'"
        if _LEAVES.match(instruction.plain, match.start())
        else "say what is to be seen, or use 'remove'"
    )
    yield f"the model does not understand '{match['no']}' and may show what follows it: {advice}"


def many_changes(instruction: Instruction) -> Iterator[str]:
    """Count the changes that an instruction asks for."""
    count = _changes(instruction.plain)
    if count > MOST_CHANGES:
        yield (
            f"this asks for {count} changes at once, and some of them may be missed: ask for at most {MOST_CHANGES} in "
            "one turn, and for the others in the next"
        )


def _changes(plain: str) -> int:
    """Count clauses that begin with a verb of change, and those that go on a list ("..., the grass blue")."""
    count, verb = 0, ""
    for part in _CLAUSES.split(plain):
        clause = part.strip()
        while opening := _OPENING.match(clause):
            clause = clause[opening.end() :]
        first = clause.partition(" ")[0].lower()
        if first in CHANGES:
            verb = first
            count += 1
        elif verb in _LIST_VERBS and _LISTED.match(clause):
            count += 1
        elif clause:
            verb = ""
    return count
