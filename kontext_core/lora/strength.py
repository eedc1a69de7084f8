"""How strongly a LoRA acts: the one check of that number, from wherever it comes."""

from typing import Any

from ..checks.ranges import LORA_STRENGTH
from ..checks.sentences import short


def checked_strength(strength: Any) -> float:
    """Give back a strength that can be computed with.

    Args:
        strength: any value, from a wire or a file.
    Raises:
        ValueError: in one sentence if it is no such number.
    """
    if not LORA_STRENGTH.admits(strength):
        raise ValueError(
            f"the strength of a LoRA is {short(strength)} and must be {LORA_STRENGTH}, 1 being as trained"
        )
    return int(strength) if isinstance(strength, int) else float(strength)
