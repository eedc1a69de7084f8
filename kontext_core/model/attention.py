"""Attention over all tokens, with weights of keys and with keys of other devices.

`kernels.attention_backends` chooses what computes it.
"""

import math
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..kernels.attention_backends import attention_backend_for, call

ADDED_CHANNELS = 8  # behind those of a head where keys have weights; kernels want a multiple of it

Exchange = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # (k, v) of some tokens to those of all
_exchange: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


@contextmanager
def exchanging(exchange: Exchange) -> Generator[None]:
    """Pass the keys and values of every `attention` through `exchange`, which joins those of all devices.

    Blocks that were compiled would not see it, so they run uncompiled meanwhile.
    """
    token = _exchange.set(exchange)
    compiles = "torch._dynamo" in sys.modules  # which is slow to import, and there if anything is compiled
    try:
        with torch.compiler.set_stance("force_eager") if compiles else nullcontext():
            yield
    finally:
        _exchange.reset(token)


def is_exchanging() -> bool:
    """Tell whether devices share the sequence now."""
    return _exchange.get() is not None


@dataclass(frozen=True)
class KeyWeights:
    """Weights of some keys, as channels that are appended to those of queries and keys.

    A key of weight w counts as if it stood there w times: softmax(q k / sqrt(D) + log w). The appended
    channels add sqrt(D) log w to the product q k, in any attention kernel, in one call and without a mask.

    Args:
        query: (1, L, 1, 8), float32.
        key: likewise.
    """

    query: Tensor
    key: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> "KeyWeights":
        """Convert to the device and dtype that the model computes in."""
        return KeyWeights(self.query.to(device, dtype), self.key.to(device, dtype))

    def narrow(self, queries: slice) -> "KeyWeights":
        """Keep only some of the queries, and all keys."""
        return KeyWeights(self.query[:, queries], self.key)


def key_weights(
    n_free: int, lengths: Sequence[int], weights: Sequence[float], head_dim: int
) -> KeyWeights | None:
    """Weight the references' keys for the queries of text and target.

    The references themselves see all keys alike.

    Args:
        n_free: tokens of text and target, which stand before the references.
        lengths: tokens of each reference.
        weights: of each reference, above 0.
        head_dim: channels of a head, D.
    Returns: None where every weight is 1, which costs nothing.
    """
    if all(weight == 1.0 for weight in weights):
        return None
    logits = torch.cat(
        [torch.zeros(n_free)]
        + [torch.full((length,), math.log(weight)) for length, weight in zip(lengths, weights, strict=True)]
    )
    exact = logits * head_dim**0.5  # attention divides by sqrt(D)
    coarse = exact.bfloat16().float()  # in two parts, so that bfloat16 keeps 16 bits of it
    query = torch.zeros(1, len(logits), 1, ADDED_CHANNELS)
    query[:, :n_free, :, :2] = 1.0
    key = torch.zeros_like(query)
    key[0, :, 0, 0], key[0, :, 0, 1] = coarse, exact - coarse
    return KeyWeights(query, key)


def attention(q: Tensor, k: Tensor, v: Tensor, weights: KeyWeights | None = None) -> Tensor:
    """Compute softmax(q k / sqrt(D)) v, without a mask.

    Args:
        q: (B, L_q, H, D).
        k: (B, L, H, D).
        v: likewise; all three of one dtype.
        weights: of the keys, for these queries.
    Returns: (B, L_q, H * D), heads side by side.
    """
    dim = q.shape[-1]  # of a head as the model has it: appended channels do not change the scale
    exchange = None if torch.compiler.is_compiling() else _exchange.get()
    if exchange is not None:
        k, v = exchange(k, v)
    if weights is not None:
        q, k = _append_channels(q, weights.query), _append_channels(k, weights.key)
        v = F.pad(v, (0, ADDED_CHANNELS))
    out = call(attention_backend_for(q, k, q.shape[-1] - dim), q, k, v, dim**-0.5)
    return out[..., :dim].flatten(2)


def _append_channels(x: Tensor, channels: Tensor) -> Tensor:
    return torch.cat([x, channels.expand(*x.shape[:3], -1)], dim=-1)
