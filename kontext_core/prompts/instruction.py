"""An instruction as the lint reads it: its quoted texts apart from its own words."""

import re
from dataclasses import dataclass
from functools import cached_property

QUOTED = "\ufffc"  # stands for a quoted text among the words
_MOST_LETTERS = 10_000  # that are looked at: some twenty times what the model reads

# A closing mark is never also the opening one of the next text, so each pattern passes over a text once.
_QUOTES = re.compile(
    r"""
      "(?P<double>[^"]*)"
    | “(?P<curly>[^“”"]*)[”"]
    | „(?P<low>[^„“”]*)[“”]
    | «(?P<angle>[^«»]*)»
    | ‘(?P<raised>(?:[^‘’]|(?<=\w)’(?=\w)){1,200})’(?!\w)
    | `(?P<tick>[^`]*)`
    | (?<![^\s(\[:,=])'(?=[^\s'])(?P<single>(?:[^']|(?<=\w)'(?=\w)){1,200})'(?!\w)
    """,
    re.VERBOSE,
)
_TOKEN = re.compile(rf"[^\W\d_]+(?:-[^\W\d_]+)*|\d+|{QUOTED}|[.,;:!?]")


@dataclass(frozen=True)
class Token:
    """A word, a number, a quoted text or a punctuation mark.

    Args:
        text: as it is written.
        start: where it begins in `Instruction.plain`.
    """

    text: str
    start: int

    @property
    def word(self) -> str:
        return self.text.lower()


@dataclass(frozen=True)
class Instruction:
    """An instruction whose quoted texts are taken out of its words.

    Args:
        plain: the words on one line, `QUOTED` in the place of each quoted text.
        quoted: the quoted texts, in order.
    """

    plain: str
    quoted: tuple[str, ...]

    @classmethod
    def read(cls, text: str) -> "Instruction":
        """Take a text apart. Of a very long one only the beginning is read."""
        line = " ".join(text[:_MOST_LETTERS].replace(QUOTED, " ").split())
        quoted: list[str] = []

        def take(match: re.Match[str]) -> str:
            quoted.append((match[match.lastgroup or 0] or "").strip())
            return QUOTED

        return cls(_QUOTES.sub(take, line).replace("’", "'"), tuple(quoted))

    @cached_property
    def tokens(self) -> tuple[Token, ...]:
        return tuple(Token(match[0], match.start()) for match in _TOKEN.finditer(self.plain))

    @cached_property
    def places(self) -> tuple[int, ...]:
        """Where the quoted texts stand in `plain`."""
        return tuple(i for i, letter in enumerate(self.plain) if letter == QUOTED)
