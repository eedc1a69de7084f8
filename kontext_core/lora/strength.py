"""How strongly a LoRA acts: the one check of that number, from wherever it comes."""

import math
import sys
from contextlib import suppress
from numbers import Real

MOST = 1000.0  # beyond, half precision overflows before anything is to be seen
ANY = sys.float_info.max  # for a record of what was


def checked_strength(strength: object, most: float = MOST) -> float:
    """Give back a strength that can be computed with.

    Args:
        strength: any value, from a wire or a file.
        most: the largest amount that is allowed.
    Raises:
        ValueError: in one sentence if it is no such number.
    """
    number: float = math.nan
    if not isinstance(strength, bool) and isinstance(strength, Real):
        with suppress(OverflowError):  # of a fraction that no float holds
            number = int(strength) if isinstance(strength, int) else float(strength)
    if not abs(number) <= most:
        allowed = f"from {-most:g} to {most:g}" if most < ANY else "that is finite"
        raise ValueError(
            f"the strength of a LoRA is {shown(strength)} and must be a number {allowed}, 1 being as trained"
        )
    return number


def shown(value: object, longest: int = 40) -> str:
    """A value for a message, cut short."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= longest else f"{text[:longest]}..."
