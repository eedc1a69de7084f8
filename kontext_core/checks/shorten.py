"""Values and texts from outside, cut so that a message has room for them."""

import reprlib

from .sentences import one_line

LONGEST = 80  # letters of a value that a message repeats
_MOST_BITS = 128  # of a whole number that is written out

_REPR = reprlib.Repr()  # looks at the beginning of a list only, however long and deep it is
_REPR.maxstring = _REPR.maxother = LONGEST
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = LONGEST // 4


def cut(text: str, most: int = LONGEST) -> str:
    """Cut a text where it is longer than `most` letters, which three dots show."""
    return text if len(text) <= most else f"{text[:most]}..."


def short(value: object) -> str:
    """Write a value as Python does, in part of a line, whatever it is."""
    if isinstance(value, str):
        return cut(repr(value[: LONGEST + 1]))
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"a number of about {round(value.bit_length() * 0.30103)} digits"
    try:
        text = _REPR.repr(value)
    except (ValueError, RecursionError):  # of a number in it, of more digits than Python writes
        return f"a {type(value).__name__}"
    return cut(text if text.isprintable() else one_line(text))


def plain(value: object) -> str:
    """Write a value as `short` does, but a printable text without quotes: a name, an id, an argument."""
    return cut(value) if isinstance(value, str) and value.isprintable() and value.strip() else short(value)
