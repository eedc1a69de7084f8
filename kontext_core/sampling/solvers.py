"""Ways from noise to data along a velocity: functions of (velocity, tokens, sigmas, after).

At noise level sigma, z = (1 - sigma) x + sigma eps for the clean picture x and the noise eps. The velocity is
dz / dsigma = eps - x, so x = z - sigma velocity, and a step leads to z + (sigma_next - sigma) velocity.
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
    """Go on along the velocity at each level: one evaluation a step, of first order.

    Source: arXiv:2506.15742; flux sampling.py, denoise.
    """
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        v = velocity(tokens, step)
        tokens = after(step, tokens + (sigma_next - sigma) * v, tokens - sigma * v)
    return tokens


def heun(velocity: Velocity, tokens: Tensor, sigmas: Sequence[float], after: After) -> Tensor:
    """Go on along the mean of the velocities at both ends of each step, of second order.

    That takes two evaluations a step, and one for a step to level 0. Source: arXiv:2206.00364, algorithm 1.
    """
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        v = velocity(tokens, step)
        clean = tokens - sigma * v
        if sigma_next > 0:
            v_next = velocity(tokens + (sigma_next - sigma) * v, step + 1)
            v = (v + v_next) / 2
        tokens = after(step, tokens + (sigma_next - sigma) * v, clean)
    return tokens


def dpmpp_2m(velocity: Velocity, tokens: Tensor, sigmas: Sequence[float], after: After) -> Tensor:
    """Extrapolate the clean picture from this step and the one before: one evaluation a step, second order.

    With lambda = log((1 - sigma) / sigma), h = lambda_next - lambda, r = (lambda - lambda_before) / h:
    aim = clean + (clean - clean_before) / (2 r), and z_next = s z + (1 - s) aim with s = sigma_next / sigma.
    From pure noise, where lambda is infinite, and into clean data a step is of first order, which is Euler's.

    Source: arXiv:2211.01095, algorithm 2.
    """
    before: tuple[float, Tensor] | None = None  # lambda and clean picture of the step before
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        v = velocity(tokens, step)
        clean = tokens - sigma * v
        aim = clean
        if before is not None and sigma_next > 0:
            lambda_before, clean_before = before
            ratio = (_half_log_snr(sigma) - lambda_before) / (
                _half_log_snr(sigma_next) - _half_log_snr(sigma)
            )
            aim = clean + (clean - clean_before) / (2 * ratio)
        if sigma < 1:
            before = _half_log_snr(sigma), clean
        tokens = after(step, sigma_next / sigma * tokens + (1 - sigma_next / sigma) * aim, clean)
    return tokens


def _half_log_snr(sigma: float) -> float:
    """Compute the lambda of `dpmpp_2m`."""
    return math.log((1 - sigma) / sigma)


SOLVERS: dict[str, Solver] = {"euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m}


def find_solver(name: str) -> Solver:
    """Look up a solver. Raises: ValueError if there is none of this name."""
    if name not in SOLVERS:
        raise ValueError(f"solver {name!r} is not known; choose one of {', '.join(SOLVERS)}")
    return SOLVERS[name]
