"""Group norm and swish of channels-last pictures, in Triton kernels that read twice and write once.

A program has some positions with all their channels. Mean and variance are made of those of each program's
positions, so that nothing large is subtracted from anything large. No gradients. Source: pictures.py;
doi:10.1080/00031305.1983.10483115.
"""
# pyright: basic

from typing import Any, cast

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn

_NUMBERS = 8192  # in one program


@triton.jit
def _moments_kernel(
    x, means, squares, positions, ROWS: tl.constexpr, GROUPS: tl.constexpr, WIDTH: tl.constexpr
):
    """Of each group of `WIDTH` channels of x (B, positions, channels): mean, and sum of squares around it."""
    part, batch = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    row, at = part * ROWS + tl.arange(0, ROWS), tl.arange(0, GROUPS * WIDTH)
    inside = (row < positions)[:, None]
    place = x + (batch * positions + row)[:, None] * (GROUPS * WIDTH) + at[None, :]
    value = tl.load(place, mask=inside, other=0.0).to(tl.float32)
    left = positions - part * ROWS
    count = tl.where(left < ROWS, left, ROWS).to(tl.float32) * WIDTH
    mean = tl.sum(tl.reshape(tl.sum(value, 0), (GROUPS, WIDTH)), 1) / count
    own = tl.reshape(tl.broadcast_to(mean[:, None], (GROUPS, WIDTH)), (GROUPS * WIDTH,))
    centred = tl.where(inside, value - own[None, :], 0.0)
    square = tl.sum(tl.reshape(tl.sum(centred * centred, 0), (GROUPS, WIDTH)), 1)
    # what the mean is off by, in whatever order its numbers were added
    off = tl.sum(tl.reshape(tl.sum(centred, 0), (GROUPS, WIDTH)), 1) / count
    mean += off
    square -= off * off * count
    out = (batch * tl.num_programs(0) + part) * GROUPS + tl.arange(0, GROUPS)
    tl.store(means + out, mean)
    tl.store(squares + out, square)


@triton.jit
def _apply_kernel(
    x, mean, factor, added, out, positions, ROWS: tl.constexpr, CHANNELS: tl.constexpr, SWISH: tl.constexpr
):
    """out = swish((x - mean) * factor + added), or without swish; mean, factor (B, C), added (C), float32."""
    part, batch = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    row, at = part * ROWS + tl.arange(0, ROWS), tl.arange(0, CHANNELS)
    inside = (row < positions)[:, None]
    place = (batch * positions + row)[:, None] * CHANNELS + at[None, :]
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    value -= tl.load(mean + batch * CHANNELS + at)[None, :]
    value *= tl.load(factor + batch * CHANNELS + at)[None, :]
    value += tl.load(added + at)[None, :]
    if SWISH:
        value = value / (1.0 + tl.exp(-value))
    tl.store(out + place, value.to(out.dtype.element_ty), mask=inside)


def fits(norm: nn.GroupNorm) -> bool:
    """Whether channels and groups are powers of two, as those of all published autoencoders are."""
    return all(number & (number - 1) == 0 for number in (norm.num_channels, norm.num_groups))


def group_norm(norm: nn.GroupNorm, x: Tensor, swish: bool) -> Tensor:
    """See `group_norm.group_norm`.

    Args:
        x: (B, C, H, W). Returns: the same, channels side by side.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    batch, channels, height, width = x.shape
    groups, positions = norm.num_groups, height * width
    rows = max(1, _NUMBERS // channels)
    parts = triton.cdiv(positions, rows)
    means = torch.empty(batch, parts, groups, dtype=torch.float32, device=x.device)
    squares = torch.empty_like(means)
    out = torch.empty_like(x)
    warps = max(1, min(8, rows * channels // 512))
    with torch.cuda.device_of(x):
        cast("Any", _moments_kernel)[(parts, batch)](
            x, means, squares, positions,
            ROWS=rows, GROUPS=groups, WIDTH=channels // groups, num_warps=warps,
        )  # fmt: skip
        mean, factor = _combined(norm, means, squares, positions, rows)
        cast("Any", _apply_kernel)[(parts, batch)](
            x, mean, factor, norm.bias.float(), out, positions,
            ROWS=rows, CHANNELS=channels, SWISH=swish, num_warps=warps,
        )  # fmt: skip
    return out


def _combined(
    norm: nn.GroupNorm, means: Tensor, squares: Tensor, positions: int, rows: int
) -> tuple[Tensor, Tensor]:
    """What is taken from each channel, and what it is multiplied by then: (B, channels) each, contiguous."""
    width = norm.num_channels // norm.num_groups
    counts = torch.full((means.shape[1], 1), float(rows), device=means.device)
    counts[-1] = positions - (means.shape[1] - 1) * rows
    mean = (means * counts).sum(1) / positions
    between = (counts * (means - mean[:, None]).square()).sum(1) * width
    variance = (squares.sum(1) + between) / (positions * width)
    factor = (variance + norm.eps).rsqrt().repeat_interleave(width, 1) * norm.weight.float()
    return mean.repeat_interleave(width, 1), factor
