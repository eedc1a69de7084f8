"""What stands between the matrix products of a block, in plain torch; other kernels must give the same.

B batch, L tokens, H heads, D channels of a head, C the model's width. Vectors of modulation are (B or 1, 1,
C). `reader` is the linear that reads a result: it makes no difference here; the Triton kernels quantise what
a `Float8Linear` reads.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .float8_rows import Float8Rows, pack_rows
from .interface import QKV


def modulate(x: Tensor, shift: Tensor, scale: Tensor, reader: nn.Module | None = None) -> Tensor:
    """(1 + scale) * LayerNorm(x) + shift.

    Args:
        x: (B, L, C).
    """
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)


def add_gated(x: Tensor, gate: Tensor, update: Tensor) -> Tensor:
    """x + gate * update; in float16 kept within the finite range, where the residual stream can leave it."""
    x = torch.addcmul(x, gate, update)
    return x.clamp(-65504, 65504) if x.dtype == torch.float16 else x


def add_gated_modulated(
    x: Tensor, gate: Tensor, update: Tensor, shift: Tensor, scale: Tensor, reader: nn.Module | None = None
) -> tuple[Tensor, Tensor]:
    """`add_gated`, and `modulate` of that."""
    x = add_gated(x, gate, update)
    return x, modulate(x, shift, scale)


def qk_norm_rope(streams: Sequence[QKV], pe: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """RMS-normalise queries and keys, apply RoPE, and concatenate the streams.

    Args:
        streams: their qkv is not read again by anybody, and may be written over.
        pe: see `rope.rotary_table`.
    Returns: three of (B, L, H, D).
    """
    normed = [
        F.rms_norm(qkv[:, :, :2], qkv.shape[-1:], eps=1e-6) * torch.stack([query, key])[:, None]
        for qkv, query, key in streams
    ]
    values = [qkv[:, :, 2] for qkv, _, _ in streams]
    joined = normed[0] if len(normed) == 1 else torch.cat(normed, dim=1)
    q, k = rotate(joined, pe).unbind(2)
    return q, k, values[0] if len(values) == 1 else torch.cat(values, dim=1)


def gelu_concat(attended: Tensor, mlp: Tensor, reader: nn.Module | None = None) -> Tensor:
    """[attended | tanh-GELU of mlp], what a single block's last linear reads.

    Args:
        attended: (B, L, C).
        mlp: (B, L, the MLP's width).
    """
    return torch.cat([attended, F.gelu(mlp, approximate="tanh")], dim=-1)


def linear_gelu(linear: nn.Module, x: Tensor, reader: nn.Module | None = None) -> Tensor:
    """tanh-GELU of a linear's output."""
    return F.gelu(linear(x), approximate="tanh")


def quantise_rows(x: Tensor) -> Float8Rows:
    """Numbers in float8 with a factor for each row of the last dimension."""
    return pack_rows(x)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn interleaved pairs of channels by the table's angles, in float32.

    Args:
        x: (B, L, ..., D).
        table: (B or 1, L, D / 2), see `rotary_table`.
    Returns: x's shape and dtype.
    """
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    table = table.view(*table.shape[:2], *[1] * (pairs.ndim - 3), table.shape[-1])
    return torch.view_as_real(pairs * table).flatten(-2).to(x.dtype)
