"""The cost in precision and the gain in memory of packing on loading."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kontext_core.quant import four_bits, schemes
from tests.core.loading.conftest import lazily

# Relative L2 error of normal numbers. Uniform steps: a fp8 row 2.6 %, 8 bits 0.6 %, 4 bits 9 to 10 %.
ERRORS = {
    "fp8": 0.027, "fp8_tensor": 0.028, "int8": 0.0065, "int8_zero": 0.006, "int4": 0.1, "int4_zero": 0.095, "nf4": 0.095,
}  # fmt: skip


@pytest.mark.parametrize("scheme", schemes.SCHEMES)
def test_error_and_size(weight: Tensor, scheme: str) -> None:
    packed = schemes.pack(weight, scheme)
    error = (packed.dequantise(torch.float32) - weight).norm() / weight.norm()
    assert ERRORS[scheme] / 2 < error < ERRORS[scheme]
    size = sum(buffer.nbytes for buffer in packed.buffers()) / weight.numel()
    table = 64 / weight.numel()  # NF4's sixteen numbers; fp8 has a factor a row
    assert schemes.BYTES[scheme] <= size <= schemes.BYTES[scheme] + max(table, 4 / weight.shape[1])


@pytest.mark.parametrize("scheme", schemes.SCHEMES)
@pytest.mark.parametrize("value", [0.0, 1e-9, -3.0, 300.0])
def test_a_matrix_of_one_number(scheme: str, value: float) -> None:
    result = schemes.pack(torch.full((2, 128), value), scheme).dequantise(torch.float32)
    assert result.isfinite().all()
    assert torch.allclose(result, torch.full((2, 128), value), rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("scheme", ["fp8", "int8", "int4", "nf4"])
def test_zero_stays_zero(weight: Tensor, scheme: str) -> None:
    holes = weight.clone()
    holes[:, ::3] = 0
    assert not schemes.pack(holes, scheme).dequantise(torch.float32)[:, ::3].any()


def test_a_large_row_does_not_spoil_the_others(weight: Tensor) -> None:
    weight = weight * 1e-3
    weight[0] = 1e3
    errors = {
        scheme: (schemes.pack(weight, scheme).dequantise(torch.float32) - weight)[1:].norm()
        / weight[1:].norm()
        for scheme in ("fp8", "fp8_tensor")
    }
    assert errors["fp8"] < 0.03 < errors["fp8_tensor"]


def test_the_table_of_nf4_is_that_of_its_paper() -> None:
    """Quantiles of the normal distribution, halfway to each other, the halves scaled to
    1. arXiv:2305.14314, eq. 4.
    """
    offset = 0.9677083  # of bitsandbytes' create_normal_map
    positive = torch.special.ndtri(torch.linspace(offset, 0.5, 9)[:-1].double())
    negative = -torch.special.ndtri(torch.linspace(offset, 0.5, 8)[:-1].double())
    table = torch.cat([positive, negative, torch.zeros(1)]).sort().values / positive.max()
    assert torch.allclose(torch.tensor(four_bits.NF4).double(), table, atol=1e-6)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("factors", ["nested", "plain"])
def test_bitsandbytes_own_numbers(kind: str, factors: str) -> None:
    from kontext_core.loading.bitsandbytes import unpack

    tensors = load_file(Path(__file__).parents[2] / "data" / "bitsandbytes.safetensors")
    expected = tensors[f"expected.{kind}.{factors}"]
    name = f"{kind}.{factors}.weight"
    weights, form = unpack(lazily({key: one for key, one in tensors.items() if key.startswith(name)}))
    assert form == f"{kind.upper()} of bitsandbytes"
    assert set(weights) == {name}
    assert torch.equal(weights[name].read(), expected)
    assert weights[name].packed is not None
    (piece,) = weights[name].packed()
    size = sum(buffer.nbytes for buffer in piece.buffers())
    assert size <= math.prod(expected.shape) / 2 + (1600 if factors == "nested" else 500)


def test_an_unknown_scheme() -> None:
    assert schemes.checked("nf4") == "nf4"
    with pytest.raises(
        ValueError, match=r"quantise is 'int3'; it must be one of fp8, .*, full for none at all"
    ):
        schemes.checked("int3")
