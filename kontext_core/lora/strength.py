"""How strongly a LoRA acts: the one check of that number, from wherever it comes."""

import sys
from typing import Any

from ..edit_settings import Allowed, short

ALLOWED = Allowed(-1000, 1000)  # beyond, half precision overflows before anything is to be seen
ANY = Allowed(-sys.float_info.max, sys.float_info.max)  # in a record of what was


def checked_strength(strength: Any, allowed: Allowed = ALLOWED) -> float:
    """Give back a strength that can be computed with.

    Args:
        strength: any value, from a wire or a file.
        allowed: its range.
    Raises:
        ValueError: in one sentence if it is no such number.
    """
    if not allowed.admits(strength):
        kind = "a finite number" if allowed is ANY else allowed
        raise ValueError(
            f"the strength of a LoRA is {short(strength)} and must be {kind}, 1 being as trained"
        )
    return int(strength) if isinstance(strength, int) else float(strength)
