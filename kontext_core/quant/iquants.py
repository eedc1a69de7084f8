"""Blocks of GGUF's smaller types: i-quants, ternary ones, and 4-bit floats in groups of 16 or 32.

An i-quant holds in place of numbers the places of whole points, of 4 or 8 numbers each, in a table ("grid"),
and which of them are below zero. The tables are those of the gguf package, which whoever opened the file has.
Source: ggml-org/ggml ggml-common.h (block_iq2_xxs ... block_tq2_0, block_mxfp4) and ggml-quants.c. N blocks.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from .bits import half, in_order, planes, word

# Type: numbers in a block, bytes of a block.
BLOCKS: dict[str, tuple[int, int]] = {
    "IQ1_S": (256, 50), "IQ1_M": (256, 56), "IQ2_XXS": (256, 66), "IQ2_XS": (256, 74), "IQ2_S": (256, 82),
    "IQ3_XXS": (256, 98), "IQ3_S": (256, 110), "IQ4_NL": (32, 18), "IQ4_XS": (256, 136), "TQ1_0": (256, 54),
    "TQ2_0": (256, 66), "MXFP4": (32, 17), "NVFP4": (64, 36),
}  # fmt: skip

WITH_TABLES = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"})

_IQ4 = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
_FP4 = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)  # twice the numbers of E2M1
_POWERS = (1, 3, 9, 27, 81)
_SHIFT = 0.125  # of the grid of one bit


@cache
@torch.inference_mode(False)
def _table(values: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)


@cache
@torch.inference_mode(False)
def _grid(kind: str, device: torch.device) -> Tensor:
    """(points, numbers of a point) of a type."""
    quants: Any = import_module("gguf.quants")
    theirs = getattr(quants, kind)
    theirs.init_grid()
    return torch.tensor(theirs.grid.reshape(theirs.grid_shape), dtype=torch.float32, device=device)


@cache
@torch.inference_mode(False)
def _seven_signs(device: torch.device) -> Tensor:
    """(128,) bytes: seven signs and an eighth that makes their number even."""
    index = torch.arange(128, dtype=torch.uint8)
    odd = in_order(index[:, None], 1).sum(dim=1) % 2
    return (index | (odd << 7).to(torch.uint8)).to(device)


def _points(kind: str, index: Tensor) -> Tensor:
    """The points (..., numbers) at places (...)."""
    return _grid(kind, index.device)[index.long()]


def _signs(stored: Tensor) -> Tensor:
    """Bytes (N, k) to (N, 8 k) of 1 and -1."""
    return 1 - 2 * in_order(stored, 1).float()


def _scaled(scale: Tensor, numbers: Tensor) -> Tensor:
    """Multiply numbers by the scales of their groups.

    Args:
        scale: (N, groups).
        numbers: (N, ...), as many in each group.
    """
    return (scale[..., None] * numbers.reshape(*scale.shape, -1)).flatten(1)


def _iq1_s(blocks: Tensor) -> Tensor:
    """8 groups of 4 points; each has upper bits of their places, a scale of 3 bits, and a shift's sign."""
    high = word(blocks[:, 34:50].view(-1, 8, 2), 2)
    scale = half(blocks, 0) * (2 * (high >> 12 & 7) + 1).float()
    shift = _SHIFT - 2 * _SHIFT * (high >> 15).float()
    upper = high[..., None] >> 3 * _four(blocks) & 7
    points = _points("IQ1_S", blocks[:, 2:34].view(-1, 8, 4) | upper << 8)
    return _scaled(scale, points.flatten(2) + shift[..., None])


def _iq1_m(blocks: Tensor) -> Tensor:
    """16 groups of 2 points; the block's scale is in four pieces of 4 bits, and each point has a shift."""
    scales = word(blocks[:, 48:56].view(-1, 4, 2), 2)
    pieces = (scales & 0xF000) >> 12 - 4 * _four(blocks)
    whole = pieces.sum(dim=-1, keepdim=True).to(torch.int16).view(torch.float16).float()
    groups = (scales[..., None] >> 3 * _four(blocks) & 7).flatten(1)
    high = in_order(blocks[:, 32:48], 4)
    points = _points("IQ1_M", blocks[:, :32] | (high & 7).long() << 8)
    shift = _SHIFT - 2 * _SHIFT * (high >> 3).float()
    return _scaled(whole * (2 * groups + 1).float(), points + shift[..., None])


def _iq2_xxs(blocks: Tensor) -> Tensor:
    """8 groups of 4 points: their places, then 7 signs of each and a scale in 4 bytes."""
    words = blocks[:, 2:66].view(-1, 8, 8)
    return _with_seven_signs("IQ2_XXS", half(blocks, 0) * _quarter(words), words[..., :4], words, 0.25)


def _iq2_xs(blocks: Tensor) -> Tensor:
    """32 points in 16 groups: 9 bits of place, 7 of signs."""
    words = word(blocks[:, 2:66].view(-1, 32, 2), 2)
    scale = half(blocks, 0) * (0.5 + in_order(blocks[:, 66:74], 4).float()) * 0.25
    return _scaled(scale, _points("IQ2_XS", words & 511)) * _signs(_seven_signs(blocks.device)[words >> 9])


def _iq2_s(blocks: Tensor) -> Tensor:
    """32 points in 16 groups: 8 bits of place and 2 further, 8 signs."""
    upper = in_order(blocks[:, 66:74], 2).long()
    scale = half(blocks, 0) * (0.5 + in_order(blocks[:, 74:82], 4).float()) * 0.25
    return _scaled(scale, _points("IQ2_S", blocks[:, 2:34] | upper << 8)) * _signs(blocks[:, 34:66])


def _iq3_xxs(blocks: Tensor) -> Tensor:
    """8 groups of 8 points of 4 numbers; 7 signs of each 8 numbers and a scale in 4 bytes."""
    words = blocks[:, 66:98].view(-1, 8, 4)
    places = blocks[:, 2:66].view(-1, 8, 8)
    return _with_seven_signs("IQ3_XXS", half(blocks, 0) * _quarter(words), places, words, 0.5)


def _iq3_s(blocks: Tensor) -> Tensor:
    """64 points of 4 numbers in 8 groups: 8 bits of place and 1 further, 8 signs of 8 numbers."""
    upper = in_order(blocks[:, 66:74], 1).long()
    scale = half(blocks, 0) * (1 + 2 * in_order(blocks[:, 106:110], 4)).float()
    return _scaled(scale, _points("IQ3_S", blocks[:, 2:66] | upper << 8)) * _signs(blocks[:, 74:106])


def _quarter(words: Tensor) -> Tensor:
    """0.5 and the upper 4 bits of a group's last word."""
    return 0.5 + (words[..., -1] >> 4).float()


def _with_seven_signs(kind: str, scale: Tensor, places: Tensor, words: Tensor, factor: float) -> Tensor:
    """Multiply out 8 groups whose signs are 7 bits for each 8 numbers.

    Args:
        kind: of the grid.
        scale: (N, 8).
        places: (N, 8, points of a group), in the grid.
        words: (N, 8, k), the last four bytes hold the signs.
        factor: of all.
    """
    index = (word(words[..., -4:], 4)[..., None] >> 7 * _four(words) & 127).flatten(1)
    return _scaled(scale * factor, _points(kind, places)) * _signs(_seven_signs(words.device)[index])


def _four(like: Tensor) -> Tensor:
    return torch.arange(4, device=like.device)


def _iq4_nl(blocks: Tensor) -> Tensor:
    return (
        half(blocks, 0)
        * _table(_IQ4, torch.float32, blocks.device)[planes(blocks[:, 2:18], 4).flatten(1).long()]
    )


def _iq4_xs(blocks: Tensor) -> Tensor:
    """8 groups of 32, with scales of 6 bits."""
    upper = word(blocks[:, 2:4], 2)[:, None] >> 2 * torch.arange(8, device=blocks.device) & 3
    scale = half(blocks, 0) * ((in_order(blocks[:, 4:8], 4).long() | upper << 4) - 32).float()
    index = planes(blocks[:, 8:136].reshape(-1, 8, 16), 4).flatten(1)
    return _scaled(scale, _table(_IQ4, torch.float32, blocks.device)[index.long()])


def _tq1_0(blocks: Tensor) -> Tensor:
    """Five numbers of -1, 0 and 1 a byte, in three runs of different order."""
    powers = _table(_POWERS, torch.uint8, blocks.device)
    runs = (blocks[:, :32], blocks[:, 32:48], blocks[:, 48:52])
    digits = [run[:, None] * powers[: 5 if i < 2 else 4, None] for i, run in enumerate(runs)]
    ternary = torch.cat([run.flatten(1) for run in digits], dim=1).short() * 3 >> 8
    return half(blocks, 52) * (ternary - 1).float()


def _tq2_0(blocks: Tensor) -> Tensor:
    q = planes(blocks[:, :64].view(-1, 2, 32), 2).flatten(1)
    return half(blocks, 64) * (q.short() - 1).float()


def _mxfp4(blocks: Tensor) -> Tensor:
    """A factor is a power of two, of which the byte is the exponent."""
    exponent = blocks[:, :1].int()
    bits = torch.where(exponent < 2, 0x00200000 << exponent.clamp(max=1), (exponent - 1).clamp(min=0) << 23)
    return (
        bits.view(torch.float32)
        * _table(_FP4, torch.float32, blocks.device)[planes(blocks[:, 1:17], 4).flatten(1).long()]
    )


def _nvfp4(blocks: Tensor) -> Tensor:
    """Four groups of 16; a factor is a float of 4 bits of exponent and 3 of mantissa, without a sign."""
    exponent, mantissa = (blocks[:, :4] >> 3 & 15).int(), (blocks[:, :4] & 7).float()
    small = mantissa * 2.0**-9
    scale = torch.where(exponent == 0, small, (1 + mantissa / 8) * torch.exp2((exponent - 7).float())) * 0.5
    scale = torch.where((blocks[:, :4] == 0) | (blocks[:, :4] == 0x7F), 0.0, scale)
    index = planes(blocks[:, 4:36].reshape(-1, 4, 8), 4).flatten(1)
    return _scaled(scale, _table(_FP4, torch.float32, blocks.device)[index.long()])


READERS: dict[str, Callable[[Tensor], Tensor]] = {
    "IQ1_S": _iq1_s, "IQ1_M": _iq1_m, "IQ2_XXS": _iq2_xxs, "IQ2_XS": _iq2_xs, "IQ2_S": _iq2_s,
    "IQ3_XXS": _iq3_xxs, "IQ3_S": _iq3_s, "IQ4_NL": _iq4_nl, "IQ4_XS": _iq4_xs, "TQ1_0": _tq1_0,
    "TQ2_0": _tq2_0, "MXFP4": _mxfp4, "NVFP4": _nvfp4,
}  # fmt: skip
