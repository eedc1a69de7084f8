"""What `reference` defines, in fewer passes: for float32 on a CPU, without gradients.

The same numbers up to rounding.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from . import reference
from .interface import QKV
from .reference import add_gated, quantise_rows

__all__ = [
    "add_gated",
    "add_gated_modulated",
    "gelu_concat",
    "linear_gelu",
    "modulate",
    "qk_norm_rope",
    "quantise_rows",
]

_FIRST = torch.tensor(2 * math.sqrt(2 / math.pi), device="cpu")
_THIRD = 2 * math.sqrt(2 / math.pi) * 0.044715
_EPS = torch.tensor(1e-6, device="cpu")
_ONE = torch.tensor(1.0, device="cpu")  # a number would be made a tensor at each call


def modulate(x: Tensor, shift: Tensor, scale: Tensor, reader: nn.Module | None = None) -> Tensor:
    """Vectors that are the same for the whole batch go as the norm's own weight and bias."""
    if scale.shape[0] > 1:
        return reference.modulate(x, shift, scale)
    return torch.layer_norm(x, x.shape[-1:], (_ONE + scale).view(-1), shift.view(-1), 1e-6)


def add_gated_modulated(
    x: Tensor, gate: Tensor, update: Tensor, shift: Tensor, scale: Tensor, reader: nn.Module | None = None
) -> tuple[Tensor, Tensor]:
    x = add_gated(x, gate, update)
    return x, modulate(x, shift, scale)


def qk_norm_rope(streams: Sequence[QKV], pe: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Written over the streams' own numbers, or over a joined copy of them."""
    joined = streams[0][0] if len(streams) == 1 else torch.cat([qkv for qkv, _, _ in streams], dim=1)
    if joined.stride(1) % 2:
        joined = joined.contiguous()  # a pair of channels begins at an even place
    q, k, v = joined.unbind(2)
    qk = joined[:, :, :2]
    norms = torch.linalg.vector_norm(qk, dim=-1, keepdim=True)
    qk.mul_(torch.addcmul(_EPS, norms, norms, value=1 / qk.shape[-1]).rsqrt_())
    start = 0
    for qkv, query, key in streams:
        its_q, its_k, length = q, k, qkv.shape[1]
        if len(streams) > 1:
            its_q, its_k = q.narrow(1, start, length), k.narrow(1, start, length)
        its_q.mul_(query)
        its_k.mul_(key)
        start += length
    torch.view_as_complex(qk.unflatten(-1, (-1, 2))).mul_(pe.view(*pe.shape[:2], 1, 1, -1))
    return q, k, v


def gelu_concat(attended: Tensor, mlp: Tensor, reader: nn.Module | None = None) -> Tensor:
    width = attended.shape[-1]
    out = attended.new_empty(*mlp.shape[:-1], width + mlp.shape[-1])
    out[..., :width] = attended
    torch.mul(_sigmoid(mlp), mlp, out=out[..., width:])
    return out


def linear_gelu(linear: nn.Module, x: Tensor, reader: nn.Module | None = None) -> Tensor:
    return gelu(linear(x))


def gelu(x: Tensor) -> Tensor:
    """tanh-GELU as x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)): an exponential, twice as fast as a tanh."""
    return _sigmoid(x).mul_(x)


def _sigmoid(x: Tensor) -> Tensor:
    return torch.addcmul(_FIRST, x, x, value=_THIRD).mul_(x).sigmoid_()
