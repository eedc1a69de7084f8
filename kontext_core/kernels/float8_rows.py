"""Rows of numbers in float8 with a factor for each, and products of such rows.

Each row of the input and each row of the weight has a factor of its own, number = factor * float8; the
factors are put on the product's sums. Source: arXiv:2209.05433 (the format e4m3); torch._scaled_mm, its
row-wise scales.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

E4M3 = torch.float8_e4m3fn
LARGEST = 448.0  # of the format
LEAST = 1e-12  # factor of a row of zeros


class Float8Reader(nn.Module):
    """A linear that takes `Float8Rows` too: kernels may quantise what they hand to it alone."""


@dataclass(frozen=True)
class Float8Rows:
    """Numbers in float8 with a factor for each row.

    Args:
        stored: (..., C), float8.
        factors: (..., 1), float32; dtype.
    """

    stored: Tensor
    factors: Tensor
    dtype: torch.dtype  # of what they stand for

    def dequantised(self) -> Tensor:
        return (self.stored.float() * self.factors).to(self.dtype)


def pack_rows(x: Tensor) -> Float8Rows:
    """Scale a row's largest number to the format's largest, and round the others to nearest, ties to even."""
    wide = x.float()
    factors = (wide.abs().amax(-1, keepdim=True) / LARGEST).clamp(min=LEAST)
    return Float8Rows((wide / factors).clamp(-LARGEST, LARGEST).to(E4M3), factors, x.dtype)


def product(rows: Float8Rows, weight: Tensor, factors: Tensor, bias: Tensor | None) -> Tensor:
    """What `Float8Linear` computes, in float32 and by the book.

    Args:
        rows: (..., in).
        weight: (out, in), float8.
        factors: (out, 1).
        bias: (out,).
    """
    sums = F.linear(rows.stored.float(), weight.float()) * rows.factors * factors.squeeze(-1)
    return (sums if bias is None else sums + bias.float()).to(rows.dtype)


def card_product(rows: Float8Rows, weight: Tensor, factors: Tensor, bias: Tensor | None) -> Tensor:
    """The same on a card's float8 units.

    Sums come in bfloat16, the one form that cards with row-wise factors have.
    """
    out = torch._scaled_mm(  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        rows.stored.flatten(0, -2),
        weight.t(),
        scale_a=rows.factors.flatten(0, -2),
        scale_b=factors.t(),
        bias=None if bias is None else bias.bfloat16(),
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )
    return out.unflatten(0, rows.stored.shape[:-1]).to(rows.dtype)
