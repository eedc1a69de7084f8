"""Blocks of GGUF files, multiplied out in plain torch on whatever device they are.

A row is cut into blocks of 32 or 256 numbers; a block holds small integers, and what to scale and shift them
by.
Source: ggml-org/ggml ggml-common.h (layouts of block_q4_0 ... block_q6_K) and docs/gguf.md. N blocks.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from . import iquants
from .bits import half, planes
from .layer import PackedWeight

# Type: numbers in a block, bytes of a block.
BLOCK_SIZES: dict[str, tuple[int, int]] = {
    "Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34),
    "Q2_K": (256, 84), "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210),
    **iquants.BLOCKS,
}  # fmt: skip

_AT_ONCE = 1 << 22  # numbers that are multiplied out together: what comes between needs little room then
_HELD = 15  # bytes in between for each of them


class Blocks(PackedWeight):
    """Blocks of a GGUF file as they are stored.

    Args:
        kind: one of `BLOCK_SIZES`.
        stored: bytes (rows, bytes of a row).
    """

    stored: Tensor

    def __init__(self, kind: str, stored: Tensor) -> None:
        numbers, size = BLOCK_SIZES[kind]
        super().__init__((stored.shape[0], stored.shape[1] // size * numbers))
        self.kind = kind
        self.register_buffer("stored", stored)

    def dequantise(self, dtype: torch.dtype) -> Tensor:
        return dequantise(self.kind, self.stored, dtype).view(self.shape)

    def dequantise_bytes(self, dtype: torch.dtype) -> int:
        numbers = self.shape[0] * self.shape[1]
        return numbers * dtype.itemsize + _HELD * min(numbers, _AT_ONCE)

    def extra_repr(self) -> str:
        return f"{self.kind}, {self.shape}"


def dequantise(kind: str, stored: Tensor, dtype: torch.dtype) -> Tensor:
    """All numbers of a run of blocks, in one row.

    Args:
        kind: one of `BLOCK_SIZES`.
        stored: bytes of any shape.
    """
    numbers, size = BLOCK_SIZES[kind]
    blocks = stored.reshape(-1, size)
    result = torch.empty(blocks.shape[0], numbers, dtype=dtype, device=stored.device)
    step = _AT_ONCE // numbers
    for start in range(0, blocks.shape[0], step):
        result[start : start + step] = _READERS[kind](blocks[start : start + step])
    return result.flatten()


def _q4_0(blocks: Tensor) -> Tensor:
    return half(blocks, 0) * (planes(blocks[:, 2:18], 4).flatten(1).float() - 8)


def _q4_1(blocks: Tensor) -> Tensor:
    return half(blocks, 0) * planes(blocks[:, 4:20], 4).flatten(1).float() + half(blocks, 2)


def _q5_0(blocks: Tensor) -> Tensor:
    return half(blocks, 0) * (_five_bits(blocks[:, 2:6], blocks[:, 6:22]).float() - 16)


def _q5_1(blocks: Tensor) -> Tensor:
    return half(blocks, 0) * _five_bits(blocks[:, 4:8], blocks[:, 8:24]).float() + half(blocks, 2)


def _q8_0(blocks: Tensor) -> Tensor:
    return half(blocks, 0) * blocks[:, 2:34].view(torch.int8).float()


def _q2_k(blocks: Tensor) -> Tensor:
    """16 groups of 16, each with a 4-bit scale and a 4-bit minimum."""
    scale = half(blocks, 80) * (blocks[:, :16] & 15).float()
    minimum = half(blocks, 82) * (blocks[:, :16] >> 4).float()
    q = planes(blocks[:, 16:80].view(-1, 2, 32), 2).reshape(-1, 16, 16).float()
    return (scale[..., None] * q - minimum[..., None]).flatten(1)


def _q3_k(blocks: Tensor) -> Tensor:
    """16 groups of 16, each with a signed 6-bit scale. A set high bit means that 4 is not taken off."""
    low, high = planes(blocks[:, 96:104], 4).flatten(1), planes(blocks[:, 104:108], 2).flatten(1)
    scale = half(blocks, 108) * ((low | high << 4).float() - 32)
    q = planes(blocks[:, 32:96].view(-1, 2, 32), 2).flatten(1)
    kept = planes(blocks[:, :32], 1).flatten(1)
    return (scale[..., None] * (q.float() - 4 + 4 * kept.float()).view(-1, 16, 16)).flatten(1)


def _q4_k(blocks: Tensor) -> Tensor:
    q = planes(blocks[:, 16:144].reshape(-1, 4, 32), 4).reshape(-1, 8, 32)
    return _scaled_and_shifted(blocks, q)


def _q5_k(blocks: Tensor) -> Tensor:
    low = planes(blocks[:, 48:176].reshape(-1, 4, 32), 4).reshape(-1, 8, 32)
    return _scaled_and_shifted(blocks, low | planes(blocks[:, 16:48], 1) << 4)


def _q6_k(blocks: Tensor) -> Tensor:
    """16 groups of 16, each with a signed 8-bit scale."""
    low = planes(blocks[:, :128].view(-1, 2, 64), 4).flatten(1)
    high = planes(blocks[:, 128:192].view(-1, 2, 32), 2).flatten(1)
    scale = half(blocks, 208) * blocks[:, 192:208].view(torch.int8).float()
    return (scale[..., None] * ((low | high << 4).float() - 32).view(-1, 16, 16)).flatten(1)


def _scaled_and_shifted(blocks: Tensor, q: Tensor) -> Tensor:
    """Q4_K and Q5_K: 8 groups of 32 (N, 8, 32), scales and minimums of 6 bits each, packed in 12 bytes.

    Bytes 0 to 3 and 4 to 7: low 6 bits are scales and minimums of groups 0 to 3; the upper 2 are the upper
    bits of those of groups 4 to 7, whose lower 4 bits are bytes 8 to 11: scale, then minimum.
    """
    scales, minimums, low = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scale = torch.cat([scales & 63, low & 15 | scales >> 6 << 4], dim=1).float()
    minimum = torch.cat([minimums & 63, low >> 4 | minimums >> 6 << 4], dim=1).float()
    scale, minimum = half(blocks, 0) * scale, half(blocks, 2) * minimum
    return (scale[..., None] * q.float() - minimum[..., None]).flatten(1)


def _five_bits(high: Tensor, low: Tensor) -> Tensor:
    """(N, 4) bytes of fifth bits, in order, and (N, 16) of the lower four, to (N, 32)."""
    shifts = torch.arange(8, dtype=torch.uint8, device=high.device)
    fifth = (high[..., None] >> shifts & 1).flatten(1)
    return planes(low, 4).flatten(1) | fifth << 4


_READERS: dict[str, Callable[[Tensor], Tensor]] = {
    "Q4_0": _q4_0, "Q4_1": _q4_1, "Q5_0": _q5_0, "Q5_1": _q5_1, "Q8_0": _q8_0,
    "Q2_K": _q2_k, "Q3_K": _q3_k, "Q4_K": _q4_k, "Q5_K": _q5_k, "Q6_K": _q6_k, **iquants.READERS,
}  # fmt: skip
