"""JSON of weight files, parsed whole and within bounds, or refused by an error that names the file.

`json_values` is for single values, of chains and marks.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn, cast

from ..errors import CheckpointError
from .shorten import short

MOST_BYTES = 64 * 2**20  # of a file; the largest that is known, a tokenizer's, has 17 MB
_MOST_DIGITS = 100  # of a whole number; transformers writes one of 31 (model_max_length)
_DEEPEST = 64  # lists and objects in each other


class _Unusable(ValueError):
    """JSON that is valid and is not read all the same; the message says why."""


def read_object(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file.

    Raises:
        CheckpointError: if it is not there, cannot be read, or holds anything else.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > MOST_BYTES:
        raise CheckpointError(
            f"{path} has more than {MOST_BYTES // 2**20} MiB, which no JSON of a model needs"
        )
    return parse_object(content, str(path))


def parse_object(text: str | bytes, where: str) -> dict[str, Any]:
    """Parse one JSON object.

    Args:
        text: bytes are taken for UTF-8; a byte order mark at the beginning is passed over.
        where: what to call it in a message, with the file's name.
    Raises:
        CheckpointError: if it is anything else.
    """
    parsed = parse(text, where)
    if not isinstance(parsed, dict):
        raise CheckpointError(f"{where} is not a JSON object")
    return cast("dict[str, Any]", parsed)


def parse(text: str | bytes, where: str) -> Any:
    """Parse any JSON value: no key twice, no NaN, no number beyond measure, no endless nesting.

    Args:
        text: as for `parse_object`.
        where: as for `parse_object`.
    Raises:
        CheckpointError: if it is not that.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    try:
        parsed = json.loads(
            text.removeprefix("\ufeff"),
            object_pairs_hook=_object,
            parse_int=_whole,
            parse_float=_float,
            parse_constant=_constant,
        )
    except _Unusable as error:
        raise CheckpointError(f"{where} {error}") from error
    except RecursionError as error:
        raise CheckpointError(f"{where} {_TOO_DEEP}") from error
    except ValueError as error:
        raise CheckpointError(f"{where} is not valid JSON: {error}") from error
    if _is_too_deep(parsed):
        raise CheckpointError(f"{where} {_TOO_DEEP}")
    return parsed


_TOO_DEEP = f"is nested deeper than {_DEEPEST} levels"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        ((double, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise _Unusable(f"names {short(double)} twice")
    return result


def _whole(text: str) -> int:
    digits = len(text.lstrip("-"))
    if digits > _MOST_DIGITS:
        raise _Unusable(f"holds a number of {digits:,} digits, but {_MOST_DIGITS} is the maximum")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Unusable(f"holds a number that starts with {text[:20]} and is too large to compute with")
    return value


def _constant(text: str) -> NoReturn:
    raise _Unusable(f"holds {text}, which is not a number in JSON")


def _is_too_deep(value: Any) -> bool:
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        level = [inner for outer in level for inner in _inside(outer) if isinstance(inner, dict | list)]
        if not level:
            return False
    return True


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
