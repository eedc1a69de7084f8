"""Weights in 8-bit floats: plain casts, and with one factor a matrix or a row, weight = factor * stored."""

import torch
from torch import Tensor

from .layer import PackedWeight

FLOAT8_DTYPES = (torch.float8_e4m3fn, torch.float8_e5m2)


class Float8(PackedWeight):
    """Numbers of 8 bits with a factor.

    Args:
        stored: (rows, columns), one of `FLOAT8_DTYPES`.
        factor: one number, one a row, or None for a plain cast.
    """

    stored: Tensor
    factor: Tensor | None

    def __init__(self, stored: Tensor, factor: Tensor | None = None) -> None:
        super().__init__((stored.shape[0], stored.shape[1]))
        self.register_buffer("stored", stored)
        self.register_buffer("factor", None if factor is None else factor.float().reshape(-1, 1))

    def dequantise(self, dtype: torch.dtype) -> Tensor:
        if self.factor is None:
            return self.stored.to(dtype)
        return self.stored.float().mul_(self.factor).to(dtype)


def quantise(weight: Tensor, *, by_row: bool) -> Float8:
    """float8_e4m3fn, scaled so that the largest number of a row, or the matrix, is the format's largest."""
    weight = weight.float()
    largest = weight.abs().amax(dim=1, keepdim=True) if by_row else weight.abs().max()
    factor = (largest / torch.finfo(torch.float8_e4m3fn).max).clamp(min=1e-30)
    return Float8((weight / factor).to(torch.float8_e4m3fn), factor)
