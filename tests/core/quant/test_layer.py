"""A packed layer works as a linear layer and stays packed."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kontext_core.quant.layer import PackedLinear, UnquantisedRows, packed_bytes, whole_state_dict
from kontext_core.quant.schemes import SCHEMES, pack


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_the_linear_of_its_weight(weight: Tensor, scheme: str, dtype: torch.dtype) -> None:
    bias = nn.Parameter(torch.randn(48, dtype=dtype))
    layer = PackedLinear([pack(weight, scheme)], bias)
    assert (layer.in_features, layer.out_features, layer.bias is bias) == (128, 48, True)
    x = torch.randn(2, 5, 128).to(dtype)
    assert torch.equal(layer(x), F.linear(x, layer.dequantise(dtype), bias))
    assert layer(x).dtype == dtype
    assert layer.dequantise(dtype).shape == (48, 128)


def test_pieces_are_rows_one_below_the_other(weight: Tensor) -> None:
    pieces = [pack(weight[:16], "int8"), UnquantisedRows(weight[16:32].bfloat16()), pack(weight[32:], "nf4")]
    layer = PackedLinear(pieces)
    assert layer.bias is None
    assert layer.out_features == 48
    expected = torch.cat([piece.dequantise(torch.float32) for piece in pieces])
    assert torch.equal(layer.dequantise(torch.float32), expected)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_change_of_dtype_leaves_what_is_packed(weight: Tensor, scheme: str) -> None:
    layer = PackedLinear([pack(weight, scheme)], nn.Parameter(torch.zeros(48)))
    before, size = layer.dequantise(torch.float32), packed_bytes(layer)
    layer.to(torch.bfloat16)
    assert layer.bias.dtype == torch.bfloat16
    assert torch.equal(layer.dequantise(torch.float32), before)
    assert packed_bytes(layer) == size
    assert {buffer.device.type for buffer in layer.to("meta").buffers()} == {"meta"}


def test_the_state_dict_as_if_nothing_were_packed(weight: Tensor) -> None:
    layer = PackedLinear([pack(weight, "int8")], nn.Parameter(torch.zeros(48)))
    model = nn.ModuleDict({"a": layer, "b": nn.Linear(2, 3)})
    whole = whole_state_dict(model, torch.bfloat16)
    assert set(whole) == {"a.weight", "a.bias", "b.weight", "b.bias"}
    assert torch.equal(whole["a.weight"], layer.dequantise(torch.bfloat16))
