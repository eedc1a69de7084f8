"""Ranges of values."""

import sys
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from .shorten import short


@dataclass(frozen=True)
class Allowed:
    """What a setting may be.

    Args:
        low: least number; None: it is no number.
        high: largest number.
        whole: whether only whole numbers will do.
        choices: the only texts that will do; empty: any.
        optional: whether it may be None.
    """

    low: float | None = None
    high: float = 0
    whole: bool = False
    choices: tuple[str, ...] = ()
    optional: bool = False

    def __str__(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.low is None:
            return "a text"
        low, high = (str(int(end)) if end == int(end) else f"{end:g}" for end in (self.low, self.high))
        return f"a {'whole ' * self.whole}number from {low} to {high}"

    def admits(self, value: Any) -> bool:
        """Whether a value is allowed. A bool is no number, nor is NaN."""
        if value is None:
            return self.optional
        if self.low is None:
            return isinstance(value, str) and (not self.choices or value in self.choices)
        if isinstance(value, bool) or not isinstance(value, Integral if self.whole else Real):
            return False
        number: Any = value  # Python's or numpy's
        return bool(self.low <= number <= self.high)


LORA_STRENGTH = Allowed(-1000, 1000)  # beyond, half precision overflows before anything is to be seen
REFERENCE_STRENGTH = Allowed(0, 2)
MEMORY_GIB = Allowed(0, sys.float_info.max / 2**30)  # above 0, see `is_memory`


def is_memory(gib: Any) -> bool:
    """Tell whether a value is an amount of memory in GiB: above 0, and a finite number of bytes."""
    return gib is not None and MEMORY_GIB.admits(gib) and gib > 0


def checked_strength(strength: Any) -> float:
    """Give back the strength of a LoRA that can be computed with.

    Args:
        strength: any value, from a wire or a file.
    Raises:
        ValueError: in one sentence if it is no such number.
    """
    if not LORA_STRENGTH.admits(strength):
        raise ValueError(
            f"the strength of a LoRA is {short(strength)} and must be {LORA_STRENGTH} (1 is as trained)"
        )
    return int(strength) if isinstance(strength, int) else float(strength)
