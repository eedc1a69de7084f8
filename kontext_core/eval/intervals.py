"""How far a counted rate can be trusted."""

import math
from collections.abc import Sequence

_DEVIATIONS = 1.959964  # of a normal distribution, that hold 95 % of it


def wilson(right: int, count: int) -> tuple[float, float]:
    """The interval that holds the true rate behind `right` of `count` tries, 95 times in 100.

    Raises: ValueError unless 0 <= right <= count and count > 0.
    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22
    (1927).
    """
    if not 0 <= right <= count or count < 1:
        raise ValueError(f"{right} of {count} is no rate")
    rate, weight = right / count, _DEVIATIONS**2 / count
    middle = (rate + weight / 2) / (1 + weight)
    reach = _DEVIATIONS * math.sqrt(rate * (1 - rate) / count + weight / (4 * count)) / (1 + weight)
    return max(middle - reach, 0.0), min(middle + reach, 1.0)


def rate_text(right: int, count: int) -> str:
    """A rate as it is to be shown: "93.5 % of 200 (89.2 to 96.2)"."""
    low, high = wilson(right, count)
    return f"{right / count:.1%} of {count} ({100 * low:.1f} to {100 * high:.1f})".replace("%", " %", 1)


def rounded(rights: Sequence[int], count: int) -> list[list[float]]:
    """Intervals of several rates, as a file of results holds them."""
    return [[round(end, 4) for end in wilson(right, count)] for right in rights]
