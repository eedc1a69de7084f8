"""Ways from noise to data along a velocity: functions of (velocity, sigmas).

The field: z = (1 - sigma) x + sigma eps, velocity eps - x, so the clean picture is z - sigma velocity.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor

# velocity(tokens, i): the network's answer at sigmas[i].
Velocity = Callable[[Tensor, int], Tensor]
# after(step, tokens, clean): called with each step's result and the clean picture it aims at; returns the
# tokens to go on with.
After = Callable[[int, Tensor, Tensor], Tensor]
Solver = Callable[[Velocity, Tensor, Sequence[float], After], Tensor]


def euler(velocity: Velocity, tokens: Tensor, sigmas: Sequence[float], after: After) -> Tensor:
    """One evaluation a step, first order. Source: arXiv:2506.15742; flux sampling.py, denoise."""
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        v = velocity(tokens, step)
        tokens = after(step, tokens + (sigma_next - sigma) * v, tokens - sigma * v)
    return tokens


def heun(velocity: Velocity, tokens: Tensor, sigmas: Sequence[float], after: After) -> Tensor:
    """Two evaluations a step but the last, second order. Source: arXiv:2206.00364, algorithm 1."""
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        v = velocity(tokens, step)
        clean = tokens - sigma * v
        if sigma_next > 0:
            v = (v + velocity(tokens + (sigma_next - sigma) * v, step + 1)) / 2
        tokens = after(step, tokens + (sigma_next - sigma) * v, clean)
    return tokens


def dpmpp_2m(velocity: Velocity, tokens: Tensor, sigmas: Sequence[float], after: After) -> Tensor:
    """One evaluation a step, second order by the step before. Source: arXiv:2211.01095, algorithm 2.

    With lambda = log((1 - sigma) / sigma). From pure noise, where lambda has no end, and into clean data a
    step is of first order, which is Euler's.
    """
    before: tuple[float, Tensor] | None = None  # lambda and clean picture of the last step
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        v = velocity(tokens, step)
        clean = tokens - sigma * v
        aim = clean
        if before is not None and sigma_next > 0:
            ratio = (_log_snr(sigma) - before[0]) / (_log_snr(sigma_next) - _log_snr(sigma))
            aim = clean + (clean - before[1]) / (2 * ratio)
        if sigma < 1:
            before = _log_snr(sigma), clean
        tokens = after(step, sigma_next / sigma * tokens + (1 - sigma_next / sigma) * aim, clean)
    return tokens


def _log_snr(sigma: float) -> float:
    return math.log((1 - sigma) / sigma)


SOLVERS: dict[str, Solver] = {"euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m}


def find_solver(name: str) -> Solver:
    """Raises: ValueError if there is none of this name."""
    if name not in SOLVERS:
        raise ValueError(f"solver {name!r} is not known; choose one of {', '.join(SOLVERS)}")
    return SOLVERS[name]
