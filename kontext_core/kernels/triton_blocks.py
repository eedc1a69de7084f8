"""What `reference` defines, in Triton kernels that read and write each number once.

Numbers between are float32. A program has one token: for norms and float8 its whole row, for queries and keys
its heads. No gradients. See `reference` for arguments and results.

Source: triton-lang.org, language reference.
"""
# pyright: basic, reportOperatorIssue=false

from collections.abc import Sequence
from typing import Any, cast

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn

from . import reference
from .float8_rows import E4M3, Float8Reader, Float8Rows
from .interface import QKV

_HEAD_NUMBERS = 4096  # of queries or keys, in one program
_ROW_PIECE = 4096  # numbers of a row in one program, where rows may be cut


@triton.jit
def _kept_within(value, most):
    """In [-most, most]; what is no number stays none, so that it is seen."""
    low = tl.maximum(value, -most, propagate_nan=tl.PropagateNan.ALL)
    return tl.minimum(low, most, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _store(value, out, factors, at, inside, PACK: tl.constexpr):
    """A row's numbers as they are, or in float8 (see `float8_rows.pack_rows`) with the row's factor."""
    if PACK:
        factor = tl.maximum(tl.max(tl.abs(value), 0) / 448.0, 1e-12)
        tl.store(factors, factor)
        value = _kept_within(value / factor, 448.0)
    tl.store(out + at, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _row_kernel(
    x, gate, update, shift, scale, out, normed, factors,
    length, width, x_batch, x_token, update_batch, update_token, gate_batch, shift_batch, scale_batch,
    ADD: tl.constexpr, NORM: tl.constexpr, PACK: tl.constexpr, FINITE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """out = x + gate * update; normed = (1 + scale) * LayerNorm(out) + shift."""
    row = tl.program_id(0).to(tl.int64)
    batch, token = row // length, row % length
    at = tl.arange(0, BLOCK)
    inside = at < width
    value = tl.load(x + batch * x_batch + token * x_token + at, mask=inside, other=0.0).to(tl.float32)
    if ADD:
        factor = tl.load(gate + batch * gate_batch + at, mask=inside, other=0.0).to(tl.float32)
        added = tl.load(update + batch * update_batch + token * update_token + at, mask=inside, other=0.0)
        value += factor * added.to(tl.float32)
        if FINITE:
            value = _kept_within(value, 65504.0)
        stored = value.to(out.dtype.element_ty)
        tl.store(out + row * width + at, stored, mask=inside)
        value = stored.to(tl.float32)
    if NORM:
        centred = tl.where(inside, value - tl.sum(value, 0) / width, 0.0)
        value = centred * tl.rsqrt(tl.sum(centred * centred, 0) / width + 1e-6)
        high = tl.load(scale + batch * scale_batch + at, mask=inside, other=0.0).to(tl.float32)
        low = tl.load(shift + batch * shift_batch + at, mask=inside, other=0.0).to(tl.float32)
        _store((1.0 + high) * value + low, normed + row * width, factors + row, at, inside, PACK)


@triton.jit
def _turn_kernel(
    qkv, q_scale, k_scale, pe, out,
    length, qkv_batch, qkv_token, out_batch, out_token, pe_batch, pe_token, heads, dim,
    HEADS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Kind 0 are queries, 1 keys, 2 values, which are only copied.

    Heads lie side by side, kinds after each other.
    """
    row = tl.program_id(0).to(tl.int64)
    batch, token = row // length, row % length
    kind = tl.program_id(2)
    head, at = tl.program_id(1) * HEADS + tl.arange(0, HEADS), tl.arange(0, BLOCK)
    inside = (head[:, None] < heads) & (at[None, :] < dim)
    place = (kind * heads + head[:, None]) * dim + at[None, :]
    x = tl.load(qkv + batch * qkv_batch + token * qkv_token + place, mask=inside, other=0.0).to(tl.float32)
    if kind < 2:
        x *= tl.rsqrt(tl.sum(x * x, 1) / dim + 1e-6)[:, None]
        own = q_scale
        if kind == 1:
            own = k_scale
        x *= tl.load(own + at, mask=at < dim, other=0.0).to(tl.float32)[None, :]
        angles = tl.load(pe + batch * pe_batch + token * pe_token + at, mask=at < dim, other=0.0)
        cos, sin = tl.split(tl.reshape(angles, (BLOCK // 2, 2)))
        real, imaginary = tl.split(tl.reshape(x, (HEADS, BLOCK // 2, 2)))
        turned_real = real * cos[None, :] - imaginary * sin[None, :]
        turned_imaginary = real * sin[None, :] + imaginary * cos[None, :]
        x = tl.reshape(tl.join(turned_real, turned_imaginary), (HEADS, BLOCK))
    tl.store(out + batch * out_batch + token * out_token + place, x.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _beside_kernel(
    first, second, out, factors,
    length, front, width, first_batch, first_token, second_batch, second_token,
    PACK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A row of `front` numbers as they are, and behind them tanh-GELU of others, up to `width`."""
    row = tl.program_id(0).to(tl.int64)
    batch, token = row // length, row % length
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    plain_at = first + batch * first_batch + token * first_token + at
    value = tl.load(plain_at, mask=at < front, other=0.0).to(tl.float32)
    gelu_at = second + batch * second_batch + token * second_token + at - front
    x = tl.load(gelu_at, mask=inside & (at >= front), other=0.0).to(tl.float32)
    inner = 0.7978845608028654 * (x + 0.044715 * x * x * x)  # sqrt(2 / pi)
    # 0.5 (1 + tanh(u)) is the logistic function of 2 u
    value = tl.where(at < front, value, x / (1.0 + tl.exp(-2.0 * inner)))
    _store(value, out + row * width, factors + row, at, inside, PACK)


def modulate(x: Tensor, shift: Tensor, scale: Tensor, reader: nn.Module | None = None) -> Tensor:
    return cast("Tensor", _rows(x, None, None, shift, scale, reader)[1])


def add_gated(x: Tensor, gate: Tensor, update: Tensor) -> Tensor:
    return _rows(x, gate, update, None, None, None)[0]


def add_gated_modulated(
    x: Tensor, gate: Tensor, update: Tensor, shift: Tensor, scale: Tensor, reader: nn.Module | None = None
) -> tuple[Tensor, Tensor]:
    out, normed = _rows(x, gate, update, shift, scale, reader)
    return out, cast("Tensor", normed)


def qk_norm_rope(streams: Sequence[QKV], pe: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One stream is turned where it lies; several are written into one piece of memory (B, L, 3, H, D)."""
    angles = torch.view_as_real(pe).flatten(-2)
    if len(streams) == 1:
        qkv = _rows_of_heads(streams[0][0])
        _turn(streams[0], qkv, qkv, angles, kinds=2)
        q, k, v = qkv.unbind(2)
        return q, k, v
    batch, _, *rest = streams[0][0].shape
    joined = streams[0][0].new_empty(batch, sum(stream[0].shape[1] for stream in streams), *rest)
    start = 0
    for stream in streams:
        stop = start + stream[0].shape[1]
        _turn(stream, _rows_of_heads(stream[0]), joined[:, start:stop], angles[:, start:stop], kinds=3)
        start = stop
    q, k, v = joined.unbind(2)
    return q, k, v


def gelu_concat(attended: Tensor, mlp: Tensor, reader: nn.Module | None = None) -> Tensor:
    return _beside(attended, mlp, attended.shape[-1], mlp.shape[-1], isinstance(reader, Float8Reader))


def linear_gelu(linear: nn.Module, x: Tensor, reader: nn.Module | None = None) -> Tensor:
    """The card's GEMM with tanh-GELU at its end; not on the CPU, where it would be the exact GELU."""
    if isinstance(reader, Float8Reader):
        hidden = linear(x)
        return _beside(hidden, hidden, 0, hidden.shape[-1], True)
    if type(linear) is nn.Linear and x.is_cuda and x.dtype != torch.float32 and linear.bias is not None:
        flat = torch._addmm_activation(  # pyright: ignore[reportPrivateImportUsage]
            linear.bias, x.flatten(0, -2), linear.weight.t(), use_gelu=True
        )
        return flat.unflatten(0, x.shape[:-1])
    return reference.linear_gelu(linear, x)


def quantise_rows(x: Tensor) -> Float8Rows:
    """Of any number of dimensions, as linears take them."""
    rows = x.reshape(1, -1, x.shape[-1])
    packed = cast("Float8Rows", _beside(rows, rows, x.shape[-1], 0, True))
    return Float8Rows(packed.stored.view(x.shape), packed.factors.view(*x.shape[:-1], 1), x.dtype)


def _rows(
    x: Tensor,
    gate: Tensor | None,
    update: Tensor | None,
    shift: Tensor | None,
    scale: Tensor | None,
    reader: nn.Module | None,
) -> tuple[Tensor, Tensor | None]:
    """(x + gate * update or x, its modulated norm or None)."""
    x, add, norm, pack = _dense(x), update is not None, scale is not None, isinstance(reader, Float8Reader)
    batch, length, width = x.shape
    update = x if update is None else _dense(update)
    gate, shift, scale = (x if tensor is None else _dense(tensor) for tensor in (gate, shift, scale))
    out = x.new_empty(x.shape) if add else x
    normed = torch.empty(x.shape, dtype=E4M3 if pack else x.dtype, device=x.device) if norm else x
    factors = torch.empty(batch, length, 1, device=x.device) if pack else x
    block = triton.next_power_of_2(width)
    with torch.cuda.device_of(x):
        cast("Any", _row_kernel)[(batch * length,)](
            x, gate, update, shift, scale, out, normed, factors,
            length, width, x.stride(0), x.stride(1), update.stride(0), update.stride(1),
            _batch_stride(gate), _batch_stride(shift), _batch_stride(scale),
            ADD=add, NORM=norm, PACK=pack, FINITE=x.dtype == torch.float16, BLOCK=block, num_warps=_warps(block),
        )  # fmt: skip
    if not norm:
        return out, None
    return out, cast("Tensor", Float8Rows(normed, factors, x.dtype)) if pack else normed


def _turn(stream: QKV, qkv: Tensor, out: Tensor, angles: Tensor, kinds: int) -> None:
    batch, length, _, heads, dim = qkv.shape
    block = triton.next_power_of_2(dim)
    at_once = max(1, min(triton.next_power_of_2(heads), _HEAD_NUMBERS // block))
    with torch.cuda.device_of(qkv):
        cast("Any", _turn_kernel)[(batch * length, triton.cdiv(heads, at_once), kinds)](
            qkv, stream[1], stream[2], angles, out,
            length, qkv.stride(0), qkv.stride(1), out.stride(0), out.stride(1),
            _batch_stride(angles), angles.stride(1), heads, dim,
            HEADS=at_once, BLOCK=block, num_warps=_warps(at_once * block),
        )  # fmt: skip


def _beside(first: Tensor, second: Tensor, front: int, back: int, pack: bool) -> Any:
    first, second, width = _dense(first), _dense(second), front + back
    shape = (*first.shape[:-1], width)
    out = torch.empty(shape, dtype=E4M3 if pack else first.dtype, device=first.device)
    factors = torch.empty(*shape[:-1], 1, device=first.device) if pack else out
    block = triton.next_power_of_2(width)
    block = block if pack else min(block, _ROW_PIECE)
    with torch.cuda.device_of(first):
        cast("Any", _beside_kernel)[(shape[0] * shape[1], triton.cdiv(width, block))](
            first, second, out, factors, shape[1], front, width,
            first.stride(0), first.stride(1), second.stride(0), second.stride(1),
            PACK=pack, BLOCK=block, num_warps=_warps(block),
        )  # fmt: skip
    return Float8Rows(out, factors, first.dtype) if pack else out


def _dense(x: Tensor) -> Tensor:
    """Rows may lie anywhere, the numbers of one side by side."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _rows_of_heads(qkv: Tensor) -> Tensor:
    """Tokens may lie anywhere, their (3, H, D) side by side."""
    _, _, _, heads, dim = qkv.shape
    return qkv if qkv.stride()[2:] == (heads * dim, dim, 1) else qkv.contiguous()


def _batch_stride(x: Tensor) -> int:
    """Of a vector for each sample, or of one for all."""
    return 0 if x.shape[0] == 1 else x.stride(0)


def _warps(numbers: int) -> int:
    return min(16, max(1, numbers // 512))
