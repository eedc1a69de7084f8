"""The faster methods on a CPU against the plain ones."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from kontext_core.kernels import cpu, dispatch, reference, self_check
from kontext_core.kernels.options import use_compute_options
from kontext_core.model_spec import ComputeOptions


def test_same_numbers() -> None:
    assert self_check.difference(cpu, torch.device("cpu"), torch.float32) < 1e-5


@pytest.mark.parametrize("width", [3 * 2 * 8 + 5, 3 * 2 * 8 + 6])
def test_queries_and_keys_beside_other_numbers(width: int, assert_close: Callable[..., float]) -> None:
    """As they lie in a single block's first product, at an odd distance from token to token too."""
    qkv = torch.randn(2, 5, width)[..., : 3 * 2 * 8].unflatten(-1, (3, 2, 8))
    pe = torch.polar(torch.ones(1, 5, 4), torch.randn(1, 5, 4))
    scales = torch.rand(8), torch.rand(8)
    expected = reference.qk_norm_rope([(qkv.clone(), *scales)], pe)
    for one, other in zip(cpu.qk_norm_rope([(qkv, *scales)], pe), expected, strict=True):
        assert_close(one, other, 1e-6)


def test_gelu() -> None:
    x = torch.cat([torch.linspace(-20, 20, 4001), torch.tensor([0.0, -0.0, 1e-30, 1e30, -1e30])])
    expected = F.gelu(x.double(), approximate="tanh").float()
    torch.testing.assert_close(cpu.gelu(x), expected, rtol=2e-6, atol=1e-7)


def test_only_where_they_fit() -> None:
    x = torch.zeros(1)
    assert dispatch.kernels_for(x) is reference  # gradients
    with torch.no_grad():
        assert dispatch.kernels_for(x) is cpu
        assert dispatch.kernels_for(x.bfloat16()) is reference
        with use_compute_options(ComputeOptions(kernels="plain")):
            assert dispatch.kernels_for(x) is reference
