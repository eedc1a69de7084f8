"""Values that people, pages and other nodes provide: numbers, choices, texts, checked in one sentence."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..kontext_core.checks.shorten import short

_LONGEST = 60  # letters of a value that a sentence repeats
_MOST_NAMED = 20  # options that it lists
_MOST_LISTED = 300  # letters of them together, unless the first alone has more


def whole(value: object, name: str, least: int | None = None, most: int | None = None) -> int:
    """Check that a value is a whole number, of Python or another library; booleans and 2.0 are not.

    Args:
        value: the value of the input.
        name: its name in an error.
        least: the smallest that is allowed; None is no bound.
        most: the largest that is allowed; None is no bound.
    Raises: ValueError in one sentence.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not _within(value, least, most):
        raise wrong(value, name, f"a whole number{_range(least, most)}")
    return int(value)


def number(value: object, name: str, least: float | None = None, most: float | None = None) -> float:
    """Check that a value is a finite number, whole or not. Args and Raises: as for `whole`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not _within(value, least, most):
        raise wrong(value, name, f"a number{_range(least, most)}")
    return float(value)


def text(value: object, name: str) -> str:
    """Check that a value is text. Raises: ValueError in one sentence."""
    if not isinstance(value, str):
        raise wrong(value, name, "text")
    return value


def switch(value: object, name: str) -> bool:
    """Check that a value is true or false. Raises: ValueError in one sentence."""
    if not isinstance(value, bool):
        raise wrong(value, name, "true or false")
    return value


def choice(value: object, name: str, options: Sequence[Any]) -> Any:
    """Check that a value is one of the options. Raises: ValueError in one sentence."""
    if not isinstance(value, str | int) or isinstance(value, bool) or value not in options:
        named = [str(option) for option in options[:_MOST_NAMED]]
        while len(named) > 1 and len(", ".join(named)) > _MOST_LISTED:
            named.pop()
        more = f" and {len(options) - len(named)} more" if len(options) > len(named) else ""
        raise ValueError(f"{name} is {described(value)}; choose one of {', '.join(named)}{more}")
    return value


def validity(check: Callable[[Any], object], value: object) -> bool | str:
    """Answer ComfyUI before a run: True if a value is usable or not known yet (None), else why not.

    Args:
        check: raises a ValueError about a value that is not usable.
        value: the value in the widget.
    """
    try:
        if value is not None:
            check(value)
    except ValueError as error:
        return str(error)
    return True


def wrong(value: object, name: str, allowed: str) -> ValueError:
    """Make the error about a value of another kind."""
    return ValueError(f"{name} is {described(value)}; it must be {allowed}")


def described(value: object) -> str:
    """Describe any value, short enough for a sentence."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return repr(value) if len(value) <= _LONGEST else f"{value[:_LONGEST]!r} and so on"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, numbers.Integral):
        return short(int(value))
    if isinstance(value, numbers.Real):
        return str(value)
    if isinstance(value, Tensor):
        form = "" if value.layout == torch.strided else f" {str(value.layout).removeprefix('torch.')}"
        nowhere = " without memory" if value.is_meta else ""
        return f"a{form} tensor {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}{nowhere}"
    if isinstance(value, Mapping):
        samples = value.get("samples")
        return f"a LATENT whose 'samples' are {described(samples)}" if "samples" in value else "a dictionary"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    return f"of the type {type(value).__name__}"


def _within(value: Any, least: float | None, most: float | None) -> bool:
    """Tell whether a number is within its bounds; NaN and infinity never are."""
    low, high = -math.inf if least is None else least, math.inf if most is None else most
    try:
        return bool(low <= value <= high) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return least is not None and most is not None and bool(least <= value <= most)


def _range(least: float | None, most: float | None) -> str:
    if least is None or most is None:
        return ""
    low, high = (f"{bound:g}" if isinstance(bound, float) else str(bound) for bound in (least, most))
    return f" from {low} to {high}"


class FileNames(list[str]):
    """Names of files that a node offers, with either slash: workflows from Windows have the other one."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (super().__contains__(name) or slashed(name) in map(slashed, self))


def slashed(name: str) -> str:
    """Write a name with plain slashes."""
    return name.replace("\\", "/")
