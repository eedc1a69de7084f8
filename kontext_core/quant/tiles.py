"""Weights as 8-bit integers or floats, with a factor for each tile: factor * (number - zero)."""

import torch
from torch import Tensor

from .layer import PackedWeight


class Tiles(PackedWeight):
    """Numbers of 8 bits with a factor for each tile of the matrix.

    Args:
        stored: (rows, columns), int8 or 8-bit floats.
        factor: (rows of tiles, columns of tiles); tiles are as large as that makes them.
        zero: the same, or None for 0.
    """

    stored: Tensor
    factor: Tensor
    zero: Tensor | None

    def __init__(self, stored: Tensor, factor: Tensor, zero: Tensor | None = None) -> None:
        super().__init__((stored.shape[0], stored.shape[1]))
        self.register_buffer("stored", stored)
        self.register_buffer("factor", factor)
        self.register_buffer("zero", zero)

    def dequantise(self, dtype: torch.dtype) -> Tensor:
        down, across = self.factor.shape
        tiles = self.stored.float().view(down, self.shape[0] // down, across, self.shape[1] // across)
        if self.zero is not None:
            tiles -= self.zero.float()[:, None, :, None]
        tiles *= self.factor.float()[:, None, :, None]
        return tiles.view(self.shape).to(dtype)
