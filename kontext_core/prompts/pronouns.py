"""The rule of names: a pronoun in an instruction needs something before it that it can mean."""

import re
from collections.abc import Iterator

from .instruction import QUOTED, Instruction, Token
from .vocabulary import (
    CHANGES,
    COLOURS,
    DETERMINERS,
    FUNCTION_WORDS,
    NO_PERSON,
    OTHER_VERBS,
    PEOPLE,
    PICTURES,
    STAYS,
    either,
    word_set,
)

_PERSONAL = word_set("she he him his her hers herself himself they them their theirs themselves")
_SEVERAL = word_set("they them their theirs themselves")

# "it" may also be the picture ("make it night"), so only what is done to single things counts.
_HANDLE = either(
    word_set(
        "remove delete erase move replace enlarge shrink resize put place swap lift hide take drop hang attach "
        "relocate shift"
    )
)
_COLOUR = rf"(?:{either(COLOURS)})(?! and white| hour)(?=$|[.,;!?]| (?:and|instead|with|again)\b)"
_SIZE = either(
    word_set(
        "bigger smaller larger taller shorter wider thinner thicker longer rounder disappear vanish fly jump smile "
        "run"
    )
)
_OBJECT = re.compile(
    rf"\b(?:{_HANDLE}) (?P<it>it|these|those|this|that)(?=$|[.,;!?]| (?:to|from|with|by|for|into|onto|on|in|at|and|away|up)\b)"
    rf"|\b(?:paint|colou?r|recolou?r|dye|make|turn|change) (?P<dyed>it|these|those|this|that)(?: to| into)? {_COLOUR}"
    rf"|\bmake (?P<sized>it|these|those|this|that) (?:{_SIZE})\b"
    r"|\b(?P<its>its)\b",
    re.IGNORECASE,
)


def pronoun_without_a_name(instruction: Instruction) -> Iterator[str]:
    """Find the first pronoun that comes before anything it could mean."""
    positions = {match.start(match.lastgroup or 0) for match in _OBJECT.finditer(instruction.plain)}
    person = thing = several = False
    tokens = instruction.tokens
    for i, token in enumerate(tokens):
        word = token.word
        personal = word in _PERSONAL and not person and not (several and word in _SEVERAL)
        if personal or (token.start in positions and not thing):
            example = "the woman in the red coat" if word in _PERSONAL - _SEVERAL else "the red car"
            yield (
                f"'{token.text}' comes before anything that it could mean: name the person or the thing, such as "
                f"'{example}'"
            )
            return
        person = person or _names_a_person(tokens, i)
        thing = thing or person or _names_a_thing(tokens, i)
        several = several or person or (_is_noun(token) and word.endswith("s") and len(word) > 3)


def _names_a_person(tokens: tuple[Token, ...], i: int) -> bool:
    """Tell whether a token belongs to the name of someone, or of a thing that is not worn or stood before."""
    token = tokens[i]
    if token.word in PEOPLE or (token.word in PICTURES and _is_number(tokens, i + 1)):
        return True
    if not _is_noun(token) or token.word in NO_PERSON | PICTURES:
        return False
    begins = i == 0 or tokens[i - 1].text in ".!?:;"
    return begins or token.text[0].isupper() or _follows_a_determiner(tokens, i)


def _names_a_thing(tokens: tuple[Token, ...], i: int) -> bool:
    token = tokens[i]
    return token.text == QUOTED or (
        _is_noun(token) and token.word not in COLOURS and _follows_a_determiner(tokens, i)
    )


def _is_noun(token: Token) -> bool:
    """Tell whether a word may name something, as far as a list can tell."""
    word = token.word
    return word[0].isalpha() and len(word) > 1 and word not in FUNCTION_WORDS | CHANGES | STAYS | OTHER_VERBS


def _follows_a_determiner(tokens: tuple[Token, ...], i: int) -> bool:
    """Tell whether an article or its like stands before, at most three words of the same name between."""
    for j in range(i - 1, max(i - 5, -1), -1):
        if tokens[j].word in DETERMINERS:
            return True
        if not _is_noun(tokens[j]):
            return False
    return False


def _is_number(tokens: tuple[Token, ...], i: int) -> bool:
    return i < len(tokens) and tokens[i].text.isdecimal()
