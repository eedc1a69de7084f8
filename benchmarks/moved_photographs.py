"""Photographs that are moved, and edited in part, to see how well they are laid back onto what they were."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage import data, transform
from torch import Tensor

from kontext_core.images.registration.register import Registration

PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "rocket", "hubble_deep_field", "coins")
SMOOTH = "retina"  # has hardly any texture at this size
MARGIN = 24  # px around the picture that come into sight when it is moved

Picture = NDArray[np.float64]  # (height, width, 3) in [0, 1]


@dataclass(frozen=True)
class Motion:
    """What is done to a picture, at most: px, and parts of 1."""

    shift: float = 8.0
    zoom: float = 0.02
    aspect: float = 0.01
    gain: float = 0.04
    bias: float = 0.02
    blur: float = 0.6
    noise: float = 0.005


MOVED = Motion()
STILL = Motion(0, 0, 0)


@dataclass(frozen=True)
class Draw:
    """A picture before and after, (1, H, W, 3), and how it was moved: A, t, gain, bias."""

    before: Tensor
    after: Tensor
    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]
    gain: NDArray[np.float64]
    bias: NDArray[np.float64]

    def worst_corner(self, registration: Registration) -> float:
        height, width = self.before.shape[1:3]
        ends = np.array([(x * width / 2, y * height / 2) for x in (-1, 1) for y in (-1, 1)])
        off = ends @ (np.array(registration.matrix) - self.matrix).T + registration.shift_px - self.shift
        return float(np.linalg.norm(off, axis=1).max())


@cache
def photograph(name: str, least: int) -> Picture:
    """A photograph with three channels, whose shorter side has from `least` px to a half more."""
    values = np.asarray(getattr(data, name)(), dtype=np.float64) / 255
    values = np.stack([values] * 3, axis=-1) if values.ndim == 2 else values[..., :3]
    ratio = least / min(values.shape[:2])
    if not 1 / 1.5 <= ratio <= 1:
        ratio = ratio if ratio > 1 else 1.5 * ratio
        size = [max(round(side * ratio), least) for side in values.shape[:2]]
        values = transform.resize(values, size, order=3, anti_aliasing=True)
    return values.clip(0, 1)


def part(name: str, side: int, random: Random) -> Picture:
    """A part of a photograph, of `side` px and a margin."""
    values, whole = photograph(name, side + 2 * MARGIN), side + 2 * MARGIN
    top, left = (random.randint(0, length - whole) for length in values.shape[:2])
    return values[top : top + whole, left : left + whole]


def drawn(
    name: str,
    other: str,
    share: float,
    random: Random,
    motion: Motion = MOVED,
    side: int = 320,
    edit: Callable[[Picture], Picture] = lambda picture: picture,
) -> Draw:
    """Move a part of a photograph, edit its colours, and replace a share of it by another one."""
    wide, foreign = part(name, side, random), part(other, side, random)[MARGIN:-MARGIN, MARGIN:-MARGIN]
    zoom, aspect = (1 + random.uniform(-most, most) for most in (motion.zoom, motion.aspect))
    matrix = np.diag([zoom * aspect, zoom / aspect])
    shift = np.array([random.uniform(-motion.shift, motion.shift) for _ in "xy"])
    gain, bias = (
        np.array([random.uniform(-most, most) for _ in "rgb"]) for most in (motion.gain, motion.bias)
    )
    noise = np.random.default_rng(random.randrange(2**31))
    after = edit(moved(wide, matrix, shift, side))
    if share:
        blobs = ndimage.gaussian_filter(noise.standard_normal((side, side)), side / 8, mode="wrap")
        after = np.where((blobs > np.quantile(blobs, 1 - share))[..., None], foreign, after)
    if motion.blur:
        after = ndimage.gaussian_filter(after, (motion.blur, motion.blur, 0))
    after = after * (1 + gain) + bias + motion.noise * noise.standard_normal(after.shape)
    before = wide[MARGIN:-MARGIN, MARGIN:-MARGIN]
    return Draw(tensor(before), tensor(after), matrix, shift, 1 + gain, bias)


def moved(wide: Picture, matrix: NDArray[np.float64], shift: NDArray[np.float64], side: int) -> Picture:
    """The middle of a picture, sampled at A x + t."""
    y, x = np.mgrid[0:side, 0:side] - (side - 1) / 2
    middle = (wide.shape[0] - 1) / 2
    places = [row[0] * x + row[1] * y + offset + middle for row, offset in zip(matrix, shift, strict=True)]
    if np.array_equal(matrix, np.eye(2)) and not shift.any():
        return wide[MARGIN:-MARGIN, MARGIN:-MARGIN]
    planes = [ndimage.map_coordinates(wide[..., c], places[::-1], order=5, mode="nearest") for c in range(3)]
    return np.stack(planes, axis=-1).clip(0, 1)


def tensor(picture: Picture) -> Tensor:
    """A picture of 8 bit as the project holds it."""
    return torch.from_numpy(np.rint(picture.clip(0, 1) * 255) / 255).float()[None]
