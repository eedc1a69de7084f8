"""Linear layers that multiply in float8, rows by rows: off unless chosen, because they change the picture.

Each row of the input and each row of the weight has a factor of its own, number = factor * float8; the factors are put
on the product's sums. Source: arXiv:2209.05433 (the format e4m3); torch._scaled_mm, its row-wise scales.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..packed.float8 import Float8, quantise
from ..packed.layer import PackedLinear

FLOAT8 = torch.float8_e4m3fn
LARGEST = 448.0  # of the format
LEAST = 1e-12  # factor of a row of zeros


@dataclass(frozen=True)
class Rows:
    """Numbers in float8 with a factor for each row. Args: stored (..., C), float8; factors (..., 1), float32; dtype."""

    stored: Tensor
    factors: Tensor
    dtype: torch.dtype  # of what they stand for

    def unpacked(self) -> Tensor:
        return (self.stored.float() * self.factors).to(self.dtype)


def pack_rows(x: Tensor) -> Rows:
    """The largest number of a row becomes the largest of the format; the others are rounded to the nearest, ties to even."""
    wide = x.float()
    factors = (wide.abs().amax(-1, keepdim=True) / LARGEST).clamp(min=LEAST)
    return Rows((wide / factors).clamp(-LARGEST, LARGEST).to(FLOAT8), factors, x.dtype)


def product(rows: Rows, weight: Tensor, factors: Tensor, bias: Tensor | None) -> Tensor:
    """What `Float8Linear` computes, in float32 and by the book.

    Args: rows (..., in); weight (out, in), float8; factors (out, 1); bias (out,).
    """
    sums = F.linear(rows.stored.float(), weight.float()) * rows.factors * factors.squeeze(-1)
    return (sums if bias is None else sums + bias.float()).to(rows.dtype)


def card_product(rows: Rows, weight: Tensor, factors: Tensor, bias: Tensor | None) -> Tensor:
    """The same on a card's float8 units. Sums come in bfloat16, the one form that cards with row-wise factors have."""
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


class Float8Linear(PackedLinear):
    """A packed linear of one piece, whose numbers are multiplied as they are stored.

    Args: weight: float8_e4m3fn, with one factor a row. Both widths are multiples of 16.
    """

    def __init__(self, weight: Float8, bias: nn.Parameter | None) -> None:
        super().__init__([weight], bias)

    @classmethod
    def of(cls, linear: nn.Module) -> "Float8Linear | None":
        """Of a plain linear, or of one that is stored in this format already, which keeps its numbers; None for others."""
        if type(linear) is nn.Linear:
            pieces = [quantise(linear.weight.detach(), by_row=True)]
        elif isinstance(linear, PackedLinear):
            pieces = [one for one in linear.pieces if isinstance(one, Float8) and one.stored.dtype == FLOAT8]
            if len(pieces) < len(linear.pieces):
                return None
        else:
            return None
        if any(side % 16 for side in (linear.in_features, linear.out_features)):
            return None
        stored, factors = [one.stored for one in pieces], [_factors(one) for one in pieces]
        weight = Float8(*(parts[0] if len(parts) == 1 else torch.cat(parts) for parts in (stored, factors)))
        return cls(weight, cast("nn.Parameter | None", linear.bias))

    def forward(self, x: Tensor | Rows) -> Tensor:
        return self._product(x if isinstance(x, Rows) else _kernels(x).packed(x), slice(None))

    def multiply_on_card(self, x: Tensor) -> Tensor:
        """Compute `forward` by the card's own products, wherever x is."""
        weight, bias = cast("Float8", self.pieces[0]), cast("Tensor | None", self.bias)
        return card_product(pack_rows(x), weight.stored, cast("Tensor", weight.factor), bias)

    def in_parts(self, x: Tensor | Rows, first: int, wanted: slice) -> tuple[Tensor, Tensor]:
        rows = x if isinstance(x, Rows) else _kernels(x).packed(x)
        # products read factors from aligned memory, and where the wanted ones begin may lie anywhere
        some = Rows(rows.stored[:, wanted], rows.factors[:, wanted].clone(), rows.dtype)
        return self._product(rows, slice(first)), self._product(some, slice(first, None))

    def _product(self, rows: Rows, features: slice) -> Tensor:
        weight, bias = cast("Float8", self.pieces[0]), cast("Tensor | None", self.bias)
        factors = cast("Tensor", weight.factor)
        multiply = card_product if rows.stored.is_cuda else product
        return multiply(
            rows, weight.stored[features], factors[features], None if bias is None else bias[features]
        )


def _kernels(x: Tensor) -> Any:
    from . import chosen  # which imports this file

    return chosen(x)


def _factors(piece: Float8) -> Tensor:
    """(rows, 1)."""
    rows = piece.stored.shape[0]
    if piece.factor is None:
        return torch.ones(rows, 1, device=piece.stored.device)
    return piece.factor.expand(rows, 1).contiguous()
