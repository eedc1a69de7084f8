"""Attention over all tokens, weights of keys, and keys of other devices.

What computes it: `attention_backends`.
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
    """Within it, `attention` sees what `exchange` makes of its keys and values: devices share a sequence so.

    Compiled blocks, which could not see it, run as they are.
    """
    token = _exchange.set(exchange)
    compiles = "torch._dynamo" in sys.modules  # which is slow to import, and there if anything is compiled
    try:
        with torch.compiler.set_stance("force_eager") if compiles else nullcontext():
            yield
    finally:
        _exchange.reset(token)


def is_exchanging() -> bool:
    """Whether devices share the sequence now."""
    return _exchange.get() is not None


@dataclass(frozen=True)
class KeyWeights:
    """Weights on some keys, as channels that are put behind those of queries and keys.

    A weight w means as if the key stood there w times: log w more in its logit. A product of two more
    channels adds that in any attention kernel, in one call and without a mask.

    Args:
        query: (1, L, 1, 8), float32.
        key: likewise.
    """

    query: Tensor
    key: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> "KeyWeights":
        """As the model computes."""
        return KeyWeights(self.query.to(device, dtype), self.key.to(device, dtype))

    def narrow(self, queries: slice) -> "KeyWeights":
        """For some of the queries only."""
        return KeyWeights(self.query[:, queries], self.key)


def key_weights(
    n_free: int, lengths: Sequence[int], weights: Sequence[float], head_dim: int
) -> KeyWeights | None:
    """Weights of the references' keys for the tokens before them.

    The references themselves see all keys alike.

    Args:
        n_free: tokens of text and target.
        lengths: (above 0): of each reference.
        weights: likewise.
    Returns: None where every weight is 1, which costs nothing.
    """
    if all(weight == 1.0 for weight in weights):
        return None
    logits = torch.cat(
        [torch.zeros(n_free)]
        + [torch.full((length,), math.log(weight)) for length, weight in zip(lengths, weights, strict=True)]
    )
    exact = logits * head_dim**0.5  # attention divides by it
    coarse = exact.bfloat16().float()  # in two parts, so that bfloat16 keeps 16 bits of it
    query = torch.zeros(1, len(logits), 1, ADDED_CHANNELS)
    query[:, :n_free, :, :2] = 1.0
    key = torch.zeros_like(query)
    key[0, :, 0, 0], key[0, :, 0, 1] = coarse, exact - coarse
    return KeyWeights(query, key)


def attention(q: Tensor, k: Tensor, v: Tensor, weights: KeyWeights | None = None) -> Tensor:
    """Full softmax attention, without mask.

    Args:
        q: (B, L_q, H, D).
        k: (B, L, H, D), of one dtype. weights of the keys, for these queries.
        v: likewise.
    Returns: (B, L_q, H * D), heads side by side.
    """
    dim = q.shape[-1]
    exchange = None if torch.compiler.is_compiling() else _exchange.get()
    if exchange is not None:
        k, v = exchange(k, v)
    if weights is not None:
        q, k = _longer(q, weights.query), _longer(k, weights.key)
        v = F.pad(v, (0, ADDED_CHANNELS))
    out = call(attention_backend_for(q, k, q.shape[-1] - dim), q, k, v, dim**-0.5)
    return out[..., :dim].flatten(2)


def _longer(x: Tensor, channels: Tensor) -> Tensor:
    return torch.cat([x, channels.expand(*x.shape[:3], -1)], dim=-1)
