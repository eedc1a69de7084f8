"""The inside of closed outlines, each pixel by the part that is covered, as in web/js/marks/coverage.js."""

import math
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LEVELS = 255  # of a mask: what rounding leaves far from an outline is none of it

Point = tuple[float, float]


def fill(pieces: Iterable[tuple[Point, Point]], height: int, width: int) -> Tensor:
    """Fill what straight pieces in pixels go around, however often: (height, width) in [0, 1].

    A piece adds the height that it crosses to the pixel it goes through, by the share right of it, and the
    rest to the next one; sums along a row are areas, rounded to 1/255.
    """
    sums = np.zeros((height, width + 1))
    for start, end in pieces:
        if start[1] != end[1]:
            _cross(sums, start, end)
    areas = np.abs(np.cumsum(sums, axis=1)[:, :-1]).clip(max=1)
    return torch.from_numpy((np.rint(areas * _LEVELS) / _LEVELS).astype(np.float32))


def _cross(sums: NDArray[np.float64], start: Point, end: Point) -> None:
    """Add one piece, cut where it goes from pixel to pixel."""
    height, width = sums.shape[0], sums.shape[1] - 1
    (x0, y0), (x1, y1) = start, end
    along_x, along_y = x1 - x0, y1 - y0
    low, high = sorted(((0 - y0) / along_y, (height - y0) / along_y))
    low, high = max(low, 0.0), min(high, 1.0)
    if low >= high:
        return
    cuts = [np.array([low, high]), (_between(y0, y1, height) - y0) / along_y]
    if along_x:
        cuts.append((_between(x0, x1, width) - x0) / along_x)
    shares = np.sort(np.concatenate(cuts).clip(low, high))
    middle, rises = (shares[1:] + shares[:-1]) / 2, np.diff(shares) * along_y
    x = (x0 + middle * along_x).clip(0, width)
    rows = np.floor(y0 + middle * along_y).astype(int).clip(0, height - 1)
    columns = np.floor(x).astype(int).clip(0, width)
    right = np.where(columns < width, columns + 1 - x, 0)
    np.add.at(sums, (rows, columns), rises * right)
    np.add.at(sums, (rows, (columns + 1).clip(max=width)), rises * (1 - right))


def _between(first: float, second: float, size: int) -> NDArray[np.float64]:
    """Find the edges of pixels between two ends, as far as there are pixels."""
    low, high = max(math.ceil(min(first, second)), 0), min(math.floor(max(first, second)), size)
    return np.arange(low, high + 1, dtype=np.float64)
