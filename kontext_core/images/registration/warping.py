"""Affine sampling of pictures, in pixels from their centre: x to the right, y down."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..fitting import Size

Affine = NDArray[np.float64]  # (2, 3), [A | t]: the place that is sampled for a place x is A x + t

IDENTITY: Affine = np.eye(2, 3)

_STRIP = 128  # rows that are sampled at a time


def corners(size: Size) -> NDArray[np.float64]:
    """The corners of a picture as (x, y, 1), four rows."""
    height, width = size
    return np.array([(x * width / 2, y * height / 2, 1.0) for x in (-1, 1) for y in (-1, 1)])


def composed(outer: Affine, inner: Affine) -> Affine:
    """The places that `outer` samples for the places that `inner` samples."""
    return np.column_stack((outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]))


def inverse(affine: Affine) -> Affine:
    back: NDArray[np.float64] = np.linalg.inv(affine[:, :2]).astype(np.float64)
    return np.column_stack((back, -back @ affine[:, 2]))


def corner_motion(affine: Affine, size: Size) -> float:
    """The longest way in pixels that a corner is moved."""
    return float(np.linalg.norm(corners(size) @ (affine - IDENTITY).T, axis=1).max())


def sampled_places(affine: Affine, size: Size, device: torch.device, rows: slice = slice(None)) -> Tensor:
    """Where `F.grid_sample` looks for each pixel of some rows: (1, rows, width, 2), -1 and 1 at the edges."""
    height, width = size
    y = (torch.arange(height, device=device) - (height - 1) / 2)[rows, None]
    x = (torch.arange(width, device=device) - (width - 1) / 2)[None, :]
    ways = [
        (a * x * (2 / side)) + (b * y + t) * (2 / side)
        for (a, b, t), side in zip(affine.tolist(), (width, height), strict=True)
    ]
    return torch.stack(ways, dim=-1)[None]


class Surface:
    """A picture (1, C, H, W) that is sampled between its pixels: bicubic (Catmull-Rom), edges repeated.

    A shift comes out as that shift, which `F.grid_sample`'s own bicubic (a = -0.75) misses by up to 0.05 px.
    Between two pixels at s, Catmull-Rom is linear interpolation of the picture, less s (1 - s) / 2 times that
    of its second differences; by rows and by columns that makes four pictures to sample.
    """

    def __init__(self, values: Tensor) -> None:
        by_rows = _second_differences(values, 2)
        by_columns = _second_differences(values, 3)
        self._fields = torch.cat((values, by_rows, by_columns, _second_differences(by_rows, 3)), dim=1)

    def at(self, places: Tensor) -> Tensor:
        """The values at places, see `sampled_places`: (1, C, rows, columns)."""
        fields = F.grid_sample(self._fields, places, padding_mode="border", align_corners=False)
        values, by_rows, by_columns, by_both = fields.chunk(4, dim=1)
        height, width = self._fields.shape[-2:]
        in_row, in_column = _bend(places[..., 1], height), _bend(places[..., 0], width)
        return values - in_row * (by_rows - in_column * by_both) - in_column * by_columns


def _second_differences(values: Tensor, axis: int) -> Tensor:
    length = values.shape[axis]
    first, last = values.narrow(axis, 0, 1), values.narrow(axis, length - 1, 1)
    wide = torch.cat((first, values, last), dim=axis)
    return wide.narrow(axis, 0, length) + wide.narrow(axis, 2, length) - 2 * values


def _bend(places: Tensor, side: int) -> Tensor:
    """s (1 - s) / 2 of places (1, rows, columns) along a side: (1, 1, rows, columns)."""
    part = (((places + 1) * side - 1) / 2).clamp(0, side - 1).frac()
    return (part * (1 - part) / 2)[:, None]


def warped(values: Tensor, affine: Affine) -> Tensor:
    """A picture (1, C, H, W) sampled by a warp, in strips from the rows that each needs: bounded memory."""
    height, width = values.shape[-2:]
    result = torch.empty_like(values, memory_format=torch.contiguous_format)
    for top in range(0, height, _STRIP):
        rows = slice(top, min(top + _STRIP, height))
        places = sampled_places(affine, (height, width), values.device, rows)
        ends = ((places[..., 1] + 1) * height - 1) / 2
        first = max(min(int(ends.min()) - 2, height - 1), 0)
        last = min(max(int(ends.max()) + 4, 1), height)
        last = max(last, first + 1)
        places[..., 1] = (2 * (ends - first) + 1) / (last - first) - 1
        result[:, :, rows] = Surface(values[:, :, first:last]).at(places)
    return result


def within(places: Tensor, size: Size, rim: float) -> Tensor:
    """Which pixels, and the places sampled for them, lie no nearer to an edge than `rim` px: (H, W) bool."""
    height, width = size
    inside = torch.zeros(height, width, dtype=torch.bool, device=places.device)
    reach = round(rim)
    inside[reach : height - reach, reach : width - reach] = True
    inside &= places[0, ..., 0].abs() <= 1 - 2 * rim / width
    inside &= places[0, ..., 1].abs() <= 1 - 2 * rim / height
    return inside
