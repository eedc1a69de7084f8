"""Single values of JSON from chains and marks, each checked for its kind and range before use.

`strict_json` is for whole files, where one value that is out of range spoils all.

The functions raise ValueError in words that follow the name of what is wrong. A number has to lie within a
range, which NaN, infinity and 10^400 do not; True is no number.
"""

import json
import re
from typing import Any, cast

from .shorten import short

_LONGEST = 4000  # digits of a whole number; Python itself refuses to read more than 4,300
_HALVES = re.compile("[\ud800-\udfff]")  # of a letter of UTF-16, which no file and no tokenizer takes

Json = dict[str, Any]


def read_json(text: str) -> Any:
    """The value of a JSON text. Whole numbers too long for Python become infinite, which no range takes."""
    try:
        return json.loads(text, parse_int=_whole)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def number(value: object, low: float, high: float) -> float:
    """A number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{short(value)} is not a number from {low:g} to {high:g}")
    return float(value)


def whole(value: object, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{short(value)} is not a whole number from {low} to {high}")
    return value


def words(value: object, most: int) -> str:
    """A text of at most so many letters, see `whole_letters`."""
    if not isinstance(value, str):
        raise ValueError(f"{short(value)} is not text")
    if len(value) > most:
        raise ValueError(f"a text has {len(value)} letters, but {most} is the maximum")
    return whole_letters(value)


def whole_letters(text: str) -> str:
    """A text that every file takes: half a letter, of which UTF-8 has no bytes, becomes U+FFFD."""
    return text if text.isascii() else _HALVES.sub("\ufffd", text)


def listing(value: object, most: int, least: int = 0) -> list[Any]:
    """A list of `least` to `most` values."""
    if not isinstance(value, list):
        raise ValueError(f"{short(value)} is not a list")
    values = cast("list[Any]", value)
    if not least <= len(values) <= most:
        raise ValueError(f"a list has {len(values)} values and {least} to {most} are allowed")
    return values


def record(value: object, *names: str) -> Json:
    """An object that has these names."""
    if not isinstance(value, dict):
        raise ValueError(f"{short(value)} is not a JSON object")
    values = cast("Json", value)
    if missing := [name for name in names if name not in values]:
        raise ValueError(f"it lacks {', '.join(map(repr, missing))}")
    return values


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST else float("-inf" if digits.startswith("-") else "inf")
