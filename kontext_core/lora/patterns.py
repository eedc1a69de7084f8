"""Regular expressions out of a file, matched in a time that nobody can drive up.

Python's `re` tries one way after the other and may need for ever; here all ways are followed at once
(Thompson's construction), so that the time grows with the length of the expression times that of the text.
What depends on the order of ways (groups that are referred to, looks ahead and behind, flags) is refused.
Source: K. Thompson, Regular Expression Search Algorithm, CACM 11(6), 1968.
"""

import re
from collections.abc import Callable
from typing import NamedTuple, cast

_LONGEST = 2_000  # letters of an expression
_MOST_STATES = 5_000  # {low,high} written out
_DEEPEST = 40  # groups in each other

# Where one way would have to know of another, or a letter is written by its number: none of it is in use for
# names.
_QUANTIFIER = re.compile(r"\*|\+|\?|\{(\d*)(,?)(\d*)\}")
_LETTER = re.compile(r"\\[dDwWsStnrfv]|\\[^0-9A-Za-z]|\\x[0-9a-fA-F]{2}|[^\\]", re.DOTALL)
_PLACES: dict[str, Callable[[str, int], bool]] = {
    "^": lambda text, i: i == 0,
    "\\A": lambda text, i: i == 0,
    "$": lambda text, i: i == len(text),
    "\\Z": lambda text, i: i == len(text),
    "\\b": lambda text, i: _is_word(text, i - 1) != _is_word(text, i),
    "\\B": lambda text, i: _is_word(text, i - 1) == _is_word(text, i),
}
_PLAIN = re.compile(r"\^?[^\\^$*+?{}\[\]|()]*")  # nothing repeats or branches: `re` cannot lose its way


class _State(NamedTuple):
    """What comes next: a letter, a place between letters, or one of several ways."""

    letter: re.Pattern[str] | None
    place: Callable[[str, int], bool] | None
    ways: list[int]


class NamePattern:
    """An expression for a module's whole name, or for its end from some dot on, as PEFT matches them.

    Args:
        text: as PEFT's `re.match(rf"(.*\\.)?({text})$", name)` takes it.
    Raises:
        ValueError: in a few words, if it is none or is not read here.

    Source: peft/utils/other.py, get_pattern_key.
    """

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST:
            raise ValueError(f"it has {len(text):,} letters, but {_LONGEST:,} is the maximum")
        try:
            re.compile(text)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"it is not a regular expression: {error}") from error
        self.is_plain = _PLAIN.fullmatch(text) is not None
        self._whole = re.compile(rf"(?:.*\.)?(?:{text})$" if self.is_plain else "")
        self._states: list[_State] = [_State(None, None, [])]
        self._start = 0 if self.is_plain else _Parser(text, self._states).parse()

    def fits(self, name: str) -> bool:
        """Whether a name is one that it means."""
        if self.is_plain:
            return self._whole.match(name) is not None
        now: set[int] = set()
        for i, letter in enumerate(name):
            if i == 0 or name[i - 1] == ".":
                self._add(now, self._start, name, i)
            following: set[int] = set()
            for number in now:
                state = self._states[number]
                if state.letter is not None and state.letter.match(letter):
                    self._add(following, state.ways[0], name, i + 1)
            now = following
        if not name or name.endswith("."):
            self._add(now, self._start, name, len(name))
        return 0 in now

    def _add(self, states: set[int], start: int, name: str, place: int) -> None:
        """Add a state and all that follow from it without a letter."""
        left = [start]
        while left:
            number = left.pop()
            if number in states:
                continue
            state = self._states[number]
            if state.place is not None and not state.place(name, place):
                continue
            states.add(number)
            if state.letter is None:
                left += state.ways


def _is_word(text: str, i: int) -> bool:
    return 0 <= i < len(text) and (text[i].isalnum() or text[i] == "_")


_Piece = Callable[[int], int]  # from the state that follows to the one where it begins


class _Parser:
    """Turns an expression, which `re` has found to be one, into states. State 0 is the end."""

    def __init__(self, text: str, states: list[_State]) -> None:
        self.text, self.states, self.i, self.depth = text, states, 0, 0

    def parse(self) -> int:
        start = self._choice()(0)
        if self.i < len(self.text):
            raise ValueError("a ')' in it closes nothing")
        return start

    def _state(self, ways: list[int], letter: re.Pattern[str] | None = None, place: str = "") -> int:
        if len(self.states) >= _MOST_STATES:
            raise ValueError("it repeats too much")
        self.states.append(_State(letter, _PLACES.get(place), ways))
        return len(self.states) - 1

    def _choice(self) -> _Piece:
        branches = [self._sequence()]
        while self.text.startswith("|", self.i):
            self.i += 1
            branches.append(self._sequence())
        return lambda then: self._state([branch(then) for branch in branches])

    def _sequence(self) -> _Piece:
        pieces: list[_Piece] = []
        while self.i < len(self.text) and self.text[self.i] not in "|)":
            pieces.append(self._repeated(self._piece()))

        def sequence(then: int) -> int:
            for piece in reversed(pieces):
                then = piece(then)
            return then

        return sequence

    def _repeated(self, piece: _Piece) -> _Piece:
        quantifier = _QUANTIFIER.match(self.text, self.i)
        if not quantifier or quantifier[0] == "{}":
            return piece
        self.i = quantifier.end()
        if self.text.startswith("+", self.i):
            raise ValueError("it repeats without giving back ('*+'), which is not read here")
        # As few as can be, which changes nothing for a whole name.
        self.i += self.text.startswith("?", self.i)
        low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(quantifier[0]) or _counts(quantifier)

        def repeated(then: int) -> int:
            if high is None:
                loop = self._state([then])
                self.states[loop].ways.insert(0, piece(loop))
                then = loop
            else:
                end = then
                for _ in range(high - low):
                    then = self._state([piece(then), end])
            for _ in range(low):
                then = piece(then)
            return then

        return repeated

    def _piece(self) -> _Piece:
        text, i = self.text, self.i
        if text[i] == "(":
            return self._group()
        place = text[i] if text[i] in "^$" else text[i : i + 2]
        if place in _PLACES:
            self.i += len(place)
            return lambda then: self._state([then], place=place)
        if text[i] == "[":
            end = text.index("]", i + 3 if text.startswith("[^", i) else i + 2)
            while not _is_class(text[i : end + 1]):
                end = text.index("]", end + 1)
            atom = text[i : end + 1]
        else:
            match = _LETTER.match(text, i)
            if match is None:
                raise ValueError(f"{text[i : i + 2]!r} is not read here")
            atom = match[0]
        self.i += len(atom)
        letter = re.compile(atom)
        return lambda then: self._state([then], letter)

    def _group(self) -> _Piece:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ValueError(f"it has more than {_DEEPEST} groups in each other")
        opening = re.compile(r"\((?:\?:|\?P<\w+>|(?!\?))").match(self.text, self.i)
        if opening is None:
            raise ValueError(f"{self.text[self.i : self.i + 4]!r} is not read here")
        self.i = opening.end()
        inner = self._choice()
        self.i += 1
        self.depth -= 1
        return inner


def _counts(quantifier: re.Match[str]) -> tuple[int, int | None]:
    low, comma, high = cast("tuple[str, str, str]", quantifier.groups())
    if not comma:
        return int(low), int(low)
    return int(low or 0), int(high) if high else None


def _is_class(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True
