"""Weights as integers of 8 or 4 bits in groups along a row: scale * integer, or that + lowest."""

import torch
from torch import Tensor

from .layer import PackedWeight

GROUP = 64  # numbers


class Integers(PackedWeight):
    """Integers of 8 or 4 bits with a scale for each group of a row.

    Args:
        stored: (rows, columns) int8, or (rows, columns / 2) bytes of two 4-bit integers, the lower half
            first.
        scale: (rows, groups).
        lowest: (rows, groups) for integers from 0; None: they are signed, of 4 bits from 0 to 15 for -8 to 7.
    """

    stored: Tensor
    scale: Tensor
    lowest: Tensor | None

    def __init__(self, stored: Tensor, scale: Tensor, lowest: Tensor | None, *, bits: int) -> None:
        super().__init__((stored.shape[0], stored.shape[1] * 8 // bits))
        self.bits = bits
        self.register_buffer("stored", stored)
        self.register_buffer("scale", scale)
        self.register_buffer("lowest", lowest)

    def dequantise(self, dtype: torch.dtype) -> Tensor:
        if self.bits == 4:
            stored = torch.stack([self.stored & 15, self.stored >> 4], dim=-1)
        else:
            stored = self.stored if self.lowest is None else self.stored.view(torch.uint8)
        numbers = stored.view(*self.scale.shape, -1).float()
        if self.bits == 4 and self.lowest is None:
            numbers -= 8
        numbers *= self.scale.float()[..., None]
        if self.lowest is not None:
            numbers += self.lowest.float()[..., None]
        return numbers.view(self.shape).to(dtype)

    def dequantise_bytes(self, dtype: torch.dtype) -> int:
        return super().dequantise_bytes(dtype) + self.shape[0] * self.shape[1]  # as bytes


def quantise(weight: Tensor, bits: int, *, symmetric: bool = True) -> Integers:
    """Round a weight to integers.

    Args:
        weight: (rows, columns), whole groups in a row.
        bits: 8 or 4.
        symmetric: 0 stays 0.

    Scales are rounded to float16 before they are used, so that what rounding them does is made good by the
    integers.
    """
    groups = weight.float().unflatten(1, (-1, GROUP))
    lowest = None
    if symmetric:
        extreme = groups.gather(-1, groups.abs().argmax(dim=-1, keepdim=True))[..., 0]
        scale = _float16(extreme / -(1 << bits - 1))  # the largest number becomes the lowest integer
    else:
        lowest = groups.amin(dim=-1).half()
        scale = _float16((groups.amax(dim=-1) - lowest.float()) / ((1 << bits) - 1))
        groups = groups - lowest.float()[..., None]
    numbers = (groups / scale.float()[..., None]).round()
    least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if symmetric else (0, (1 << bits) - 1)
    numbers = numbers.clamp(least, most).flatten(1)
    if bits == 8:
        stored = numbers.to(torch.int8) if symmetric else numbers.to(torch.uint8).view(torch.int8)
    else:
        pairs = (numbers - least).to(torch.uint8)
        stored = pairs[:, ::2] | pairs[:, 1::2] << 4
    return Integers(stored, scale, lowest, bits=bits)


def _float16(scale: Tensor) -> Tensor:
    """In float16, and never 0: a group of zeros is divided by it too."""
    half = scale.half()
    return torch.where(half == 0, torch.ones_like(half), half)
