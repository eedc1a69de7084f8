"""The fit of a registration: a warp, and a gain and a bias for each channel, by robust Gauss-Newton.

From coarse to fine. What was edited differs by more than what is typical, and counts for little.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..fitting import Size
from ..masks import dilated, gaussian
from .gate import EDITED, REFRAMED, RIM, Verdict, judge
from .start import Shift, votes, whole_shift
from .warping import IDENTITY, Affine, Surface, composed, corner_motion, sampled_places, within

_ROUNDS, _LAST_ROUNDS = 12, 6  # of a level, and of the finest one
_STOP, _LAST_STOP = 0.01, 0.001  # px at the corners that a round moves
_POLISHING, _CERTAIN = 2, 0.1  # times that a fit is polished, and px at the corners that need none
_LEAST_SIDE = 24  # px, of the coarsest level
_RIM = 10.0  # px of a level along its edges that count for nothing, at most an eighth of a side
_GAINS = (0.7, 1.4)
_EVEN = 0.05  # deviation of a channel that says half of what is to be known of its gain
_SCALES = (0.004, 0.05)  # of the differences that are typical
_SAMPLED = 2**16  # pixels that these are estimated from
_LOST = 0.25  # of a side: a corner that moves further has run away

Freedom = NDArray[np.float64]  # the columns of (A, t) by rows that a fit is free to change

AFFINE: Freedom = np.eye(6)
SIMILAR: Freedom = np.array(
    [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64
)


@dataclass(frozen=True)
class Pair:
    """Two pictures (1, 3, H, W) of one scale; where they count, (1, 1, H, W) of 0 and 1, or all over."""

    before: Tensor
    after: Tensor
    known: Tensor | None

    @property
    def size(self) -> Size:
        return self.after.shape[-2], self.after.shape[-1]

    def pooled(self, factor: int) -> "Pair":
        """The pair at a fraction of its size; what is unknown in part is unknown."""
        if factor == 1:
            return self
        known = None if self.known is None else 1 - F.max_pool2d(1 - self.known, factor)
        return Pair(F.avg_pool2d(self.before, factor), F.avg_pool2d(self.after, factor), known)

    def level(self, factor: int) -> "Pair":
        """The pair as it is compared: pooled, and blurred by 1 px."""
        pair = self.pooled(factor)
        known = None if pair.known is None else 1 - dilated(1 - pair.known, 2)
        before, after = (gaussian(values, 1.0, edges="replicate") for values in (pair.before, pair.after))
        return Pair(before, after, known)

    def valid(self, places: Tensor, rim: float) -> Tensor:
        """Where both are known, (H, W) bool: away from the edges and from what is left out."""
        valid = within(places, self.size, rim)
        if self.known is not None:
            other = F.grid_sample(self.known, places, padding_mode="border", align_corners=False)
            valid &= (torch.minimum(other, self.known) > 0.99)[0, 0]
        return valid


@dataclass(frozen=True)
class Fit:
    """A warp in px of its level, and the colours: (3, 1, 1) each."""

    affine: Affine
    gain: Tensor
    bias: Tensor

    def scaled(self, ratio: float) -> "Fit":
        """The same at a size `ratio` times as large."""
        return replace(self, affine=self.affine * np.array([1, 1, ratio]))


def accepted_fit(pair: Pair) -> tuple[Fit, Verdict]:
    """Fit from the shift of the whole, then from that of most blocks: affine, then similar, until accepted.

    Returns: the fit and the gate's verdict; where all are refused, the verdict that knows most.
    """
    fits: list[tuple[Fit, Verdict]] = []
    for freedom in (AFFINE, SIMILAR):
        for shift, factors in _starts(pair):
            fits.append(_polished(pair, _from_coarse_to_fine(pair, shift, factors, freedom)))
            if fits[-1][1].refusal in ("", REFRAMED):
                return fits[-1]
    return next((fit for fit in fits if fit[1].refusal == EDITED), fits[0])


def _polished(pair: Pair, fit: Fit) -> tuple[Fit, Verdict]:
    """Judge a fit, and fit again where blocks agree alone, as long as that makes the corners more certain."""
    verdict = _verdict(pair, fit)
    for _ in range(_POLISHING):
        if verdict.agreeing is None or verdict.error_px < _CERTAIN:
            break
        level = pair.level(1)
        known = verdict.agreeing if level.known is None else verdict.agreeing * level.known
        better = refined(replace(level, known=known), fit, AFFINE, _LAST_ROUNDS)
        again = _verdict(pair, better)
        if again.error_px >= verdict.error_px:
            break
        fit, verdict = better, again
    return fit, verdict


def refined(level: Pair, fit: Fit, freedom: Freedom, rounds: int, stop: float = _LAST_STOP) -> Fit:
    """Take so many rounds at one level, or until the corners move by less than `stop` px; a lost one ends."""
    surface = Surface(level.before)
    for _ in range(rounds):
        fit, motion = _round(surface, level, fit, freedom)
        if motion < stop or corner_motion(fit.affine, level.size) > _LOST * max(level.size):
            break
    return fit


def _starts(pair: Pair) -> Iterator[tuple[Shift, tuple[int, ...]]]:
    yield whole_shift(pair.before, pair.after, pair.known), (8, 4, 2, 1)
    yield votes(pair.before, pair.after, pair.known), (2, 1)


def _start(pair: Pair, shift: Shift) -> Fit:
    colours = torch.ones(3, 1, 1, device=pair.after.device)
    return Fit(np.column_stack((IDENTITY[:, :2], shift)), colours, torch.zeros_like(colours))


def _from_coarse_to_fine(pair: Pair, shift: Shift, factors: tuple[int, ...], freedom: Freedom) -> Fit:
    fit = _start(pair, shift)
    for factor in factors:
        if factor > 1 and min(pair.size) < factor * _LEAST_SIDE:
            continue
        rounds, stop = (_LAST_ROUNDS, _LAST_STOP) if factor == 1 else (_ROUNDS, _STOP)
        fit = refined(pair.level(factor), fit.scaled(1 / factor), freedom, rounds, stop).scaled(factor)
    return fit


def _verdict(pair: Pair, fit: Fit) -> Verdict:
    places = sampled_places(fit.affine, pair.size, pair.after.device)
    warped = Surface(pair.before.mean(1, keepdim=True)).at(places)
    return judge(warped, pair.after, pair.valid(places, RIM), fit.affine)


def _round(surface: Surface, level: Pair, fit: Fit, freedom: Freedom) -> tuple[Fit, float]:
    """One round of Gauss-Newton: the better fit, and how far a corner moved in px."""
    places = sampled_places(fit.affine, level.size, level.after.device)
    warped, after = surface.at(places)[0], level.after[0]
    valid = level.valid(places, min(_RIM, min(level.size) / 8))
    weight = _weights((after - (fit.gain * warped + fit.bias)).abs().mean(0), valid)
    gain, bias = _colours(warped, after, weight)
    step = _step(gain * warped, after - bias, weight, freedom)
    return Fit(composed(fit.affine, step), gain, bias), corner_motion(step, level.size)


def _weights(differences: Tensor, valid: Tensor) -> Tensor:
    """Geman-McClure, from the absolute differences (H, W) and where they are valid."""
    stride = max(int((differences.numel() / _SAMPLED) ** 0.5), 1)
    typical = differences[::stride, ::stride][valid[::stride, ::stride]]
    if typical.numel() == 0:
        return torch.zeros_like(differences)
    quantile = float(typical.kthvalue(int(0.2 * (typical.numel() - 1)) + 1).values)
    scale = min(max(3 * quantile, _SCALES[0]), _SCALES[1])
    return valid / (1 + (differences / (2.5 * scale)).square()).square()


def _colours(warped: Tensor, after: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The gain and bias of each channel, (3, 1, 1), by weighted regression; that of an even one is near 1."""
    weights = weight.flatten()
    total = weights.sum().clamp_min(1e-6)
    source, target = warped.flatten(1), after.flatten(1)
    means = [(values @ weights / total)[:, None] for values in (source, target)]
    source, target = source - means[0], target - means[1]
    weighted = source * weights
    variance = (weighted * source).sum(1) / total
    covariance = (weighted * target).sum(1) / total
    gain = ((covariance + _EVEN**2) / (variance + _EVEN**2)).clamp(*_GAINS)[:, None]
    return gain[..., None], (means[1] - gain * means[0])[..., None]


def _step(source: Tensor, target: Tensor, weight: Tensor, freedom: Freedom) -> Affine:
    """The warp that brings the source (3, H, W) nearer to the target, in px: one least-squares step."""
    along_x = (source[:, 1:-1, 2:] - source[:, 1:-1, :-2]) / 2
    along_y = (source[:, 2:, 1:-1] - source[:, :-2, 1:-1]) / 2
    off, inner = (target - source)[:, 1:-1, 1:-1], weight[1:-1, 1:-1]
    pairs = ((along_x, along_x), (along_x, along_y), (along_y, along_y), (along_x, off), (along_y, off))
    xx, xy, yy, x_off, y_off = (_moments((a * b).sum(0) * inner) for a, b in pairs)
    normal = np.block([[_outer(xx), _outer(xy)], [_outer(xy), _outer(yy)]])
    right = np.concatenate([[values[0, 1], values[1, 0], values[0, 0]] for values in (x_off, y_off)])
    normal, right = freedom.T @ normal @ freedom, freedom.T @ right
    normal += np.diag(1e-6 * np.diag(normal) + 1e-12)
    step = (freedom @ np.linalg.solve(normal, right)).reshape(2, 3)
    step[:, :2] /= max(source.shape[-2:]) / 2
    return IDENTITY + step


def _moments(values: Tensor) -> NDArray[np.float64]:
    """The sums of (H, W) times y^i x^j, i and j from 0 to 2; the longer side from -1 to 1."""
    scale = (max(values.shape) + 2) / 2
    powers = [
        ((torch.arange(side, device=values.device) - (side - 1) / 2) / scale)
        ** torch.arange(3, device=values.device)[:, None]
        for side in values.shape
    ]
    return (powers[0] @ values @ powers[1].T).double().cpu().numpy()


def _outer(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of (x, y, 1) times itself, from moments."""
    return np.array(
        [
            [moments[0, 2], moments[1, 1], moments[0, 1]],
            [moments[1, 1], moments[2, 0], moments[1, 0]],
            [moments[0, 1], moments[1, 0], moments[0, 0]],
        ]
    )
