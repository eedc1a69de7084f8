"""Products in float8: the reference by hand and against torch's own on this machine, and
linears that are swapped.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from kontext_core.kernels.float8_linear import Float8Linear
from kontext_core.kernels.float8_rows import E4M3, card_product, pack_rows, product
from kontext_core.model.optimise import multiply_in_float8
from kontext_core.model.transformer import Transformer
from kontext_core.quant import float8, integers
from kontext_core.quant.layer import PackedLinear, UnquantisedRows
from tests.conftest import relative_error
from tests.core.conftest import SMALL, built

WIDE = replace(SMALL, hidden_size=64, num_heads=2, axes_dim=(8, 12, 12))


@pytest.fixture(autouse=True)
def _no_gradients() -> object:
    with torch.no_grad():
        yield


def test_rows_by_hand() -> None:
    rows = pack_rows(torch.tensor([[448.0, 17.0, -0.001], [0.0, 0.0, 0.0], [-0.5, 0.25, 0.1]]))
    assert rows.stored.dtype == E4M3
    assert rows.factors[[0, 2]].flatten().tolist() == pytest.approx([1.0, 0.5 / 448])
    expected = [[448.0, 16.0, -0.001953125], [0, 0, 0], [-448.0, 224.0, 88.0]]  # 17 lies between 16 and 18
    assert rows.stored.float().tolist() == expected
    assert rows.dequantised().isfinite().all()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(5, 32), (2, 7, 64), (1, 1, 3, 48)])
def test_the_reference_is_what_torch_multiplies(shape: tuple[int, ...], bias: bool) -> None:
    """torch._scaled_mm runs on CPUs too; its result is rounded to bfloat16."""
    x = 5 * torch.randn(shape).bfloat16()
    linear = Float8Linear.of(nn.Linear(shape[-1], 16, bias=bias).bfloat16())
    assert linear is not None
    weight = linear.pieces[0]
    given = pack_rows(x), weight.stored, weight.factor, linear.bias
    found, expected = card_product(*given), product(*given)
    assert found.dtype == expected.dtype == torch.bfloat16
    assert found.shape == (*shape[:-1], 16)
    assert relative_error(found, expected) < 0.004
    assert torch.equal(linear(x), expected)


def test_numbers_that_are_stored_so_are_kept() -> None:
    """Of one piece or several, with a factor a row, a matrix or none."""
    matrix = torch.randn(48, 32)
    pieces = [
        float8.quantise(matrix[:16], by_row=True),
        float8.quantise(matrix[16:32], by_row=False),
        float8.Float8(matrix[32:].to(E4M3)),
    ]
    packed = PackedLinear(pieces, nn.Parameter(torch.randn(48)))
    linear = Float8Linear.of(packed)
    assert linear is not None
    torch.testing.assert_close(linear.dequantise(torch.float32), packed.dequantise(torch.float32))
    x = torch.randn(3, 32)
    assert relative_error(linear(x), packed(x)) < 0.04


@pytest.mark.parametrize(
    "linear",
    [
        nn.Linear(24, 16),
        nn.Linear(16, 24),
        nn.LayerNorm(16),
        PackedLinear([integers.quantise(torch.randn(16, 64), 8)]),
        PackedLinear(
            [UnquantisedRows(torch.randn(16, 16)), float8.quantise(torch.randn(16, 16), by_row=True)]
        ),
        PackedLinear([float8.Float8(torch.randn(16, 16).to(torch.float8_e5m2))]),
    ],
)
def test_others_are_left_alone(linear: nn.Module) -> None:
    assert Float8Linear.of(linear) is None


def run(model: Transformer, inputs: Callable[..., dict[str, Tensor]]) -> Tensor:
    return model(**inputs(2), n_target=6)


def test_a_model_with_all_its_products_in_float8(inputs: Callable[..., dict[str, Tensor]]) -> None:
    model = built(lambda: Transformer(WIDE))
    exact = run(model, inputs)
    names = {name for name, module in model.named_modules() if type(module) is nn.Linear}
    assert multiply_in_float8(model) == 2 * 8 + 2 * 2
    left = {name for name, module in model.named_modules() if type(module) is nn.Linear}
    swapped = {name for name, module in model.named_modules() if isinstance(module, Float8Linear)}
    assert left | swapped == names
    assert all("mod" in name for name in left if "blocks" in name)
    assert 0.001 < relative_error(run(model, inputs), exact) < 0.1
    half = model.to(torch.bfloat16)
    assert {one.stored.dtype for one in half.modules() if isinstance(one, float8.Float8)} == {E4M3}
    assert relative_error(run(half, inputs), exact) < 0.1


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_on_the_card_at_hand(dtype: torch.dtype) -> None:
    """Packed by the kernel and by plain torch, and multiplied by the card and by the book."""
    from kontext_core.kernels import triton_blocks

    x = torch.randn(2, 130, 3072, device="cuda", dtype=dtype)
    rows, expected = triton_blocks.quantise_rows(x), pack_rows(x)
    torch.testing.assert_close(rows.factors, expected.factors)
    assert (rows.stored.float() == expected.stored.float()).float().mean() > 0.999
    linear = Float8Linear.of(nn.Linear(3072, 256).to("cuda", dtype))
    assert linear is not None
    weight = linear.pieces[0]
    assert relative_error(linear(x), product(expected, weight.stored, weight.factor, linear.bias)) < 0.01
