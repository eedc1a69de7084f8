"""Linear layers that multiply in float8: off unless chosen, because they change the picture."""

from typing import cast

import torch
from torch import Tensor, nn

from ..quant.float8 import Float8, quantise
from ..quant.layer import PackedLinear
from .dispatch import kernels_for
from .float8_rows import E4M3, Float8Reader, Float8Rows, card_product, pack_rows, product


class Float8Linear(PackedLinear, Float8Reader):
    """A packed linear of one piece, whose numbers are multiplied as they are stored.

    Args:
        weight: float8_e4m3fn, with one factor a row. Both widths are multiples of 16.
    """

    def __init__(self, weight: Float8, bias: nn.Parameter | None) -> None:
        super().__init__([weight], bias)

    @classmethod
    def of(cls, linear: nn.Module) -> "Float8Linear | None":
        """Make one of a plain linear, or of one stored in this format, as it is; None for others."""
        if type(linear) is nn.Linear:
            pieces = [quantise(linear.weight.detach(), by_row=True)]
        elif isinstance(linear, PackedLinear):
            pieces = [
                piece for piece in linear.pieces if isinstance(piece, Float8) and piece.stored.dtype == E4M3
            ]
            if len(pieces) < len(linear.pieces):
                return None
        else:
            return None
        if any(side % 16 for side in (linear.in_features, linear.out_features)):
            return None
        stored, factors = [piece.stored for piece in pieces], [_factors(piece) for piece in pieces]
        weight = Float8(*(parts[0] if len(parts) == 1 else torch.cat(parts) for parts in (stored, factors)))
        return cls(weight, cast("nn.Parameter | None", linear.bias))

    def forward(self, x: Tensor | Float8Rows) -> Tensor:
        return self._product(x if isinstance(x, Float8Rows) else kernels_for(x).quantise_rows(x), slice(None))

    def multiply_on_card(self, x: Tensor) -> Tensor:
        """Compute `forward` by the card's own products, wherever x is."""
        weight, bias = cast("Float8", self.pieces[0]), cast("Tensor | None", self.bias)
        return card_product(pack_rows(x), weight.stored, cast("Tensor", weight.factor), bias)

    def split_forward(self, x: Tensor | Float8Rows, first: int, tokens: slice) -> tuple[Tensor, Tensor]:
        rows = x if isinstance(x, Float8Rows) else kernels_for(x).quantise_rows(x)
        # products read factors from aligned memory, and where the wanted ones begin may lie anywhere
        some = Float8Rows(rows.stored[:, tokens], rows.factors[:, tokens].clone(), rows.dtype)
        return self._product(rows, slice(first)), self._product(some, slice(first, None))

    def _product(self, rows: Float8Rows, features: slice) -> Tensor:
        weight, bias = cast("Float8", self.pieces[0]), cast("Tensor | None", self.bias)
        factors = cast("Tensor", weight.factor)
        multiply = card_product if rows.stored.is_cuda else product
        return multiply(
            rows, weight.stored[features], factors[features], None if bias is None else bias[features]
        )


def _factors(piece: Float8) -> Tensor:
    """(rows, 1)."""
    rows = piece.stored.shape[0]
    if piece.factor is None:
        return torch.ones(rows, 1, device=piece.stored.device)
    return piece.factor.expand(rows, 1).contiguous()
