"""Weights as 4-bit indices into a table of 16 numbers, a factor a block: bitsandbytes' NF4 and FP4.

The matrix is read as one row, its blocks do not care where a row of it ends. Of a byte the upper half comes
first. The factors may be packed themselves: 8-bit indices into a table of 256, blocks with a factor each, and
one offset.
Source: bitsandbytes functional.py (QuantState); arXiv:2305.14314, section 3 and appendix E (the table of
NF4).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .layer import PackedWeight

NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip

_AT_ONCE = 1 << 24  # numbers that are multiplied out together: what comes between needs little room then
_HELD = 17  # bytes in between for each of them


@dataclass(frozen=True)
class PackedFactors:
    """How the factors of blocks are packed.

    Args:
        table: (256,).
        factors: (blocks,).
        block: factors in one; offset.
    """

    table: Tensor
    factors: Tensor
    block: int
    offset: float


class FourBits(PackedWeight):
    """Numbers of four bits that stand for entries of a table, with a factor for each block.

    Args:
        stored: (rows * columns / 2,) bytes.
        table: (16,).
        block: numbers in a block.
        factors: (blocks,), float, or 8-bit indices where `packed` says what of.
    """

    stored: Tensor
    table: Tensor
    factors: Tensor
    factor_table: Tensor | None
    factor_factors: Tensor | None

    def __init__(
        self,
        stored: Tensor,
        table: Tensor,
        factors: Tensor,
        *,
        shape: tuple[int, int],
        block: int,
        packed: PackedFactors | None = None,
    ) -> None:
        super().__init__(shape)
        self.block = block
        self.factor_block = packed.block if packed else 0
        self.factor_offset = packed.offset if packed else 0.0
        self.register_buffer("stored", stored.flatten())
        self.register_buffer("table", table.float())
        self.register_buffer("factors", factors)
        self.register_buffer("factor_table", packed.table.float() if packed else None)
        self.register_buffer("factor_factors", packed.factors.float() if packed else None)

    def dequantise(self, dtype: torch.dtype) -> Tensor:
        numbers, factors = self.shape[0] * self.shape[1], self._factors()
        result = torch.empty(numbers, dtype=dtype, device=self.stored.device)
        step = _AT_ONCE // (2 * self.block) * 2  # blocks, of whole bytes
        for first in range(0, factors.numel(), step):
            some = slice(first * self.block, (first + step) * self.block)
            stored = self.stored[some.start // 2 : some.stop // 2]
            indices = torch.stack([stored >> 4, stored & 15], dim=-1).flatten()
            values = self.table[indices.int()]
            values = F.pad(values, (0, -values.numel() % self.block)).view(-1, self.block)
            values = (values * factors[first : first + step, None]).flatten()
            result[some] = values[: numbers - some.start]
        return result.view(self.shape)

    def dequantise_bytes(self, dtype: torch.dtype) -> int:
        numbers = self.shape[0] * self.shape[1]
        return numbers * dtype.itemsize + _HELD * min(numbers, _AT_ONCE) + numbers // self.block * 8

    def _factors(self) -> Tensor:
        if self.factor_table is None or self.factor_factors is None:
            return self.factors.float()
        values = self.factor_table[self.factors.int()]
        blocks = F.pad(values, (0, -values.numel() % self.factor_block)).view(-1, self.factor_block)
        return (blocks * self.factor_factors[:, None]).flatten()[: values.numel()] + self.factor_offset


def quantise(weight: Tensor, block: int = 64) -> FourBits:
    """NF4, the factors in float16. Rows must be whole blocks."""
    blocks = weight.float().reshape(-1, block)
    factors = blocks.abs().amax(dim=1).half().clamp(min=1e-7)
    table = torch.tensor(NF4, device=weight.device)
    middles = (table[1:] + table[:-1]) / 2
    indices = torch.bucketize(blocks / factors.float()[:, None], middles).to(torch.uint8).flatten()
    stored = indices[::2] << 4 | indices[1::2]
    return FourBits(stored, table, factors, shape=(weight.shape[0], weight.shape[1]), block=block)
