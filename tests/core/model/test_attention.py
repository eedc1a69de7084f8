"""Weights on keys: their effect, in every dtype, and what they leave unchanged."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kontext_core.model.attention import attention, key_weights

FREE, LENGTHS = 7, (3, 5)


@pytest.fixture
def qkv() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, FREE + sum(LENGTHS), 4, 32, generator=generator) for _ in range(3)]


def weighed(q: Tensor, k: Tensor, v: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Compute by definition: each key's exponential times its weight, for the queries of text and target."""
    logits = torch.einsum("bqhd,bkhd->bhqk", q, k).double() * 32**-0.5
    by_key = torch.ones(FREE)
    for length, weight in zip(LENGTHS, weights, strict=True):
        by_key = torch.cat([by_key, torch.full((length,), weight)])
    table = torch.ones(q.shape[1], k.shape[1])
    table[:FREE] = by_key
    shares = logits.exp() * table
    shares = shares / shares.sum(-1, keepdim=True)
    return torch.einsum("bhqk,bkhd->bqhd", shares, v.double()).flatten(2).float()


@pytest.mark.parametrize("weights", [(0.5, 1.0), (2.0, 0.25), (1e-3, 1.7)])
def test_a_weight_multiplies_the_keys_share(
    qkv: list[Tensor], weights: tuple[float, ...], assert_close: Callable[..., float]
) -> None:
    made = attention(*qkv, key_weights(FREE, LENGTHS, weights, 32))
    assert_close(made, weighed(*qkv, weights), 1e-5)


def test_two_means_as_if_it_stood_there_twice(qkv: list[Tensor], assert_close: Callable[..., float]) -> None:
    q, k, v = qkv
    made = attention(q, k, v, key_weights(FREE, LENGTHS, (2.0, 1.0), 32))
    twice = slice(FREE, FREE + LENGTHS[0])
    doubled = attention(q[:, :FREE], torch.cat([k, k[:, twice]], 1), torch.cat([v, v[:, twice]], 1))
    assert_close(made[:, :FREE], doubled, 1e-5)


def test_references_see_what_they_saw(qkv: list[Tensor], assert_close: Callable[..., float]) -> None:
    made = attention(*qkv, key_weights(FREE, LENGTHS, (0.1, 2.0), 32))
    assert_close(made[:, FREE:], attention(*qkv)[:, FREE:], 1e-6)


def test_one_costs_nothing() -> None:
    assert key_weights(FREE, LENGTHS, (1.0, 1.0), 32) is None
    assert key_weights(FREE, (), (), 32) is None


@pytest.mark.parametrize("wanted", [slice(2, 5), slice(FREE)])
def test_some_queries_alone(qkv: list[Tensor], wanted: slice, assert_close: Callable[..., float]) -> None:
    q, k, v = qkv
    weights = key_weights(FREE, LENGTHS, (0.3, 1.2), 32)
    assert weights is not None
    part = attention(q[:, wanted], k, v, weights.narrow(wanted))
    assert_close(part, attention(q, k, v, weights)[:, wanted], 1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("head_dim", [32, 128])
def test_half_precision_keeps_the_weight(dtype: torch.dtype, head_dim: int) -> None:
    """Queries and keys of zero: only weights are left, and the error is that of the values' own rounding."""
    shape = (1, FREE + sum(LENGTHS), 1, head_dim)
    q, k, v = torch.zeros(shape), torch.zeros(shape), torch.zeros(shape)
    v[:, FREE : FREE + LENGTHS[0]] = 1.0
    weights = key_weights(FREE, LENGTHS, (0.07, 1.0), head_dim)
    assert weights is not None
    made = attention(q.to(dtype), k.to(dtype), v.to(dtype), weights.to(torch.device("cpu"), dtype))
    wanted = 3 * 0.07 / (FREE + 5 + 3 * 0.07)
    assert made[0, 0, 0].item() == pytest.approx(wanted, rel=0.01)


def test_without_weights_it_is_torchs(qkv: list[Tensor]) -> None:
    q, k, v = (part.transpose(1, 2) for part in qkv)
    expected = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    assert torch.equal(attention(*qkv), expected)
