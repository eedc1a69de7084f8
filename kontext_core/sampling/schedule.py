"""Noise levels: the shift by resolution, and the list of sigmas of a run."""

import math

# The shift grows linearly with the number of target tokens, through these two points.
# Source: flux sampling.py, get_schedule (base_shift, max_shift).
_TOKENS_LOW, _MU_LOW = 256, 0.5
_TOKENS_HIGH, _MU_HIGH = 4096, 1.15


def shift_mu(n_target_tokens: int) -> float:
    """Compute the shift mu for a picture of so many target tokens. References and text never count.

    Source: arXiv:2506.15742 appendix A.2; flux sampling.py, get_lin_function.
    """
    slope = (_MU_HIGH - _MU_LOW) / (_TOKENS_HIGH - _TOKENS_LOW)
    return _MU_LOW + slope * (n_target_tokens - _TOKENS_LOW)


def sigmas(steps: int, n_target_tokens: int, *, mu: float | None = None) -> list[float]:
    """Compute the noise levels of a run: steps + 1 values, falling from 1.0 to 0.0.

    Args:
        steps: of the run.
        n_target_tokens: of the picture being made.
        mu: in place of `shift_mu(n_target_tokens)`; an "alpha shift" is log(alpha); 0 leaves the steps even.
    Raises: ValueError if steps < 1.
    Source: arXiv:2506.15742 eq. 13 with sigma = 1; flux sampling.py, time_shift.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; at least 1 is needed")
    if mu is None:
        mu = shift_mu(n_target_tokens)
    return [_shifted(1.0 - step / steps, mu) for step in range(steps)] + [0.0]


def share_of(steps: int, share: float) -> int:
    """Count a share of the steps: above 0 it is at least one step, at 0 none."""
    return round(steps * share) or int(share > 0 and steps > 0)


def _shifted(t: float, mu: float) -> float:
    """Shift a level t in (0, 1]: e^mu / (e^mu + 1 / t - 1), which is larger than t if mu is above 0."""
    return math.exp(mu) / (math.exp(mu) + (1.0 / t - 1.0))
