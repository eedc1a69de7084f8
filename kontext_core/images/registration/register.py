"""Where an edit has put the picture: sub-pixel shift, zoom, aspect, and drift of colours, and their undo.

A robust Gauss-Newton fit of an affine warp and of a gain and a bias for each channel, from coarse to fine, in
which what was edited counts for nothing; `gate` decides whether the warp is to be believed.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..fitting import Size, check_image
from .fit import AFFINE, Fit, Pair, accepted_fit, refined
from .gate import FLAT, MOST_ERROR
from .warping import IDENTITY, Affine, composed, corner_motion, inverse, sampled_places, warped

LEAST_MOTION_PX = 0.05  # at a corner: below that resampling costs more than it mends
LEAST_GAIN, LEAST_BIAS = 0.005, 0.5 / 255
MOST_DRIFT = 0.08  # of black or of white: beyond that the colours were edited

_MOST_PX = 2**21  # of the pictures that are compared; larger ones are halved
_WHOLE_PX = (
    400_000  # up to which the whole fit runs at full size; above that at half, and three rounds in full
)
_FULL_ROUNDS = 3

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Registration:
    """How a picture became another: out(x) = gain * source(A x + t) + bias, x in px from the centre.

    Args:
        matrix: A, for (x, y), x to the right and y down.
        shift_px: t, (x, y).
        gain, bias: by channel.
        moved_px: the longest way that a corner went; 0 where nothing moved.
        refusal: one sentence that says why all else says "as it was"; "" where it was found.
    """

    matrix: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 0.0), (0.0, 1.0))
    shift_px: tuple[float, float] = (0.0, 0.0)
    gain: Colour = (1.0, 1.0, 1.0)
    bias: Colour = (0.0, 0.0, 0.0)
    moved_px: float = 0.0
    refusal: str = ""

    @property
    def affine(self) -> Affine:
        return np.column_stack((np.array(self.matrix), np.array(self.shift_px)))

    @property
    def recolours(self) -> bool:
        """Whether the colours are to be brought back: off by what is seen, but by no more than drift is."""
        gain, bias = np.array(self.gain), np.array(self.bias)
        seen = np.abs(gain - 1).max() > LEAST_GAIN or np.abs(bias).max() > LEAST_BIAS
        return bool(seen and max(np.abs(bias).max(), np.abs(gain + bias - 1).max()) <= MOST_DRIFT)


def register(before: Tensor, after: Tensor, ignore: Tensor | None = None) -> Registration:
    """Find how the picture before an edit lies in the one after it.

    Args:
        before, after: (1, H, W, 3) in [0, 1], of one size.
        ignore: (H, W) bool, places that count for nothing: known to be edited, or beside the picture.
    Raises: ValueError in one sentence if the sizes differ, or a picture is unusable.
    """
    _check(before, after, ignore)
    whole, offset = _cropped(before, after, ignore)
    if min(whole.size) == 0:
        return Registration(refusal=FLAT)
    factor = 1
    while whole.size[0] * whole.size[1] > _MOST_PX * factor**2:
        factor *= 2
    whole = whole.pooled(factor)
    halved = whole.size[0] * whole.size[1] > _WHOLE_PX
    fit, verdict = accepted_fit(whole.pooled(2) if halved else whole)
    if verdict.refusal:
        return Registration(refusal=verdict.refusal)
    error = verdict.error_px * factor
    if halved:
        fit, error = _at_full_size(whole, fit.scaled(2)), 2 * error
    return _registration(fit.scaled(factor), offset, (before.shape[1], before.shape[2]), error)


def undo(after: Tensor, registration: Registration) -> Tensor:
    """Bring a picture back to where, and to the colours that, the one before the edit had.

    Places that the picture no longer shows get its nearest edge; `shown` says which those are.

    Args:
        after: (B, H, W, 3) in [0, 1].
    Returns: the same tensor where nothing is to be done; what moved by under 0.05 px is not resampled.
    """
    check_image(after)
    result = after
    if registration.moved_px > 0:
        back, planes = inverse(registration.affine), after.float().permute(0, 3, 1, 2)
        result = torch.cat([warped(picture[None], back).permute(0, 2, 3, 1) for picture in planes])
    if registration.recolours:
        gain, bias = (
            torch.tensor(values, device=after.device) for values in (registration.gain, registration.bias)
        )
        result = (result.float() - bias) / gain
    return result if result is after else result.clamp(0, 1)


def shown(registration: Registration, size: Size) -> Tensor:
    """Which places of the picture before the edit the one after it still shows: (H, W) bool."""
    if registration.moved_px == 0:
        return torch.ones(size, dtype=torch.bool)
    places = sampled_places(inverse(registration.affine), size, torch.device("cpu"))
    return (places[0].abs() <= 1).all(-1)


def _at_full_size(whole: Pair, fit: Fit) -> Fit:
    """A fit of the halves, refined; as it was should it be led away from what was judged."""
    better = refined(whole.level(1), fit, AFFINE, _FULL_ROUNDS)
    led = corner_motion(composed(inverse(fit.affine), better.affine), whole.size)
    return better if led < 2 * MOST_ERROR else fit


def _check(before: Tensor, after: Tensor, ignore: Tensor | None) -> None:
    check_image(before)
    check_image(after)
    if before.shape != after.shape or before.shape[0] != 1:
        raise ValueError(
            f"pictures of {tuple(before.shape)} and {tuple(after.shape)} cannot be registered: both must be one "
            "picture, of the same size"
        )
    if ignore is not None and ignore.shape != before.shape[1:3]:
        raise ValueError(
            f"what a registration ignores must be of the picture's size {tuple(before.shape[1:3])}, not "
            f"{tuple(ignore.shape)}"
        )


def _cropped(before: Tensor, after: Tensor, ignore: Tensor | None) -> tuple[Pair, NDArray[np.float64]]:
    """The pair cut to multiples of 16 px, so that its levels have one centre; how far that moved, (x, y)."""
    height, width = before.shape[1:3]
    rows, columns = height - height % 16, width - width % 16
    device = before.device
    cut = [picture[:, :rows, :columns].float().permute(0, 3, 1, 2).to(device) for picture in (before, after)]
    known = None if ignore is None else (~ignore[:rows, :columns].bool()).float()[None, None].to(device)
    return Pair(cut[0], cut[1], known), np.array([columns - width, rows - height]) / 2


def _registration(fit: Fit, offset: NDArray[np.float64], size: Size, error_px: float) -> Registration:
    """What is known of a fit at full size; a motion below what is certain is none."""
    matrix, shift = fit.affine[:, :2], fit.affine[:, 2]
    affine = np.column_stack((matrix, shift + offset - matrix @ offset))
    moved = corner_motion(affine, size)
    if moved < max(LEAST_MOTION_PX, error_px):
        affine, moved = IDENTITY, 0.0
    (a, b, x), (c, d, y) = affine.tolist()
    gain, bias = (tuple(values.flatten().tolist()) for values in (fit.gain, fit.bias))
    return Registration(((a, b), (c, d)), (x, y), gain, bias, moved)
