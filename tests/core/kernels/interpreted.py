"""Fused kernels against plain torch, run by `test_fused.py` where Triton's interpreter stands in for a card.

What is allowed is an error to a float64 evaluation of at most 1.05 times that of the
plain form in the same dtype.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy
import pytest
import torch
import triton.language as tl
from torch import Tensor
from triton.runtime import interpreter

from kontext_core.kernels import dispatch, group_norm, reference, triton_blocks, triton_group_norm
from kontext_core.kernels.float8_linear import Float8Linear
from kontext_core.kernels.float8_rows import Float8Rows
from kontext_core.kernels.options import use_compute_options
from kontext_core.model.positions import text_ids
from kontext_core.model.transformer import Transformer
from kontext_core.model.vae import VAE
from kontext_core.model_spec import ComputeOptions
from tests.conftest import relative_error
from tests.core.conftest import SMALL, SMALL_VAE, built

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# (batch, tokens, heads, head's width): odd lengths, heads that are no power of two, the published width
SHAPES = [(1, 1, 2, 16), (2, 5, 4, 32), (3, 3, 3, 20), (1, 2, 24, 128)]
FUSED = ComputeOptions(kernels="fused")
FEW_BLOCKS = replace(SMALL, depth=1, depth_single_blocks=2)


@pytest.fixture(autouse=True)
def _as_on_a_card(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No gradients; and numbers are rounded to the nearest, where the interpreter cuts their digits off.

    That compiled kernels round float8 so is looked at in `compiled.py`.
    """
    narrow = {tl.bfloat16: (torch.bfloat16, torch.uint16), tl.float8e4nv: (torch.float8_e4m3fn, torch.uint8)}
    cut = interpreter._convert_float

    def convert(data: Any, source: Any, target: Any, mode: Any) -> Any:
        if source != tl.float32 or target not in narrow:
            return cut(data, source, target, mode)
        rounded, bits = narrow[target]
        values = torch.from_numpy(numpy.ascontiguousarray(data, dtype=numpy.float32))
        return values.to(rounded).view(bits).numpy().reshape(data.shape)

    monkeypatch.setattr(interpreter, "_convert_float", convert)
    with torch.no_grad():
        yield


def draw(generator: torch.Generator, dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator).to(dtype)


def as_exact(found: Tensor, rounded: Tensor, exact: Tensor) -> None:
    """The fused result is as near to the exact one as the plain form's in that dtype."""
    assert found.dtype == rounded.dtype
    assert relative_error(found, exact) <= max(1.05 * relative_error(rounded, exact), 3e-7)


def compared(operation: Callable[..., object], *tensors: Tensor) -> None:
    """Args: operation: of a form's kernels and tensors."""
    results = [
        operation(reference, *(one.double() if one.is_floating_point() else one for one in tensors)),
        operation(reference, *tensors),
        operation(triton_blocks, *tensors),
    ]
    exact, rounded, found = (one if isinstance(one, tuple) else (one,) for one in results)
    for parts in zip(found, rounded, exact, strict=True):
        as_exact(*parts)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("by_sample", [False, True])
def test_rows(dtype: torch.dtype, shape: tuple[int, ...], by_sample: bool) -> None:
    batch, length, heads, dim = shape
    generator = torch.Generator().manual_seed(length)
    x, update = (3 + 2 * draw(generator, dtype, batch, length + 2, heads * dim) for _ in range(2))
    mod = draw(generator, dtype, batch if by_sample else 1, 3, 1, heads * dim)
    x, update = x[:, 1:-1], update[:, 2:]  # rows may lie anywhere
    shift, scale, gate = mod.unbind(1)
    compared(lambda form, *given: form.modulate(*given), x, shift, scale)
    compared(lambda form, *given: form.add_gated(*given), x, gate, update)
    compared(lambda form, *given: form.add_gated_modulated(*given), x, gate, update, shift, scale)


def test_float16_stays_finite() -> None:
    x = torch.full((1, 1, 2), 60_000.0, dtype=torch.float16)
    assert triton_blocks.add_gated(x, torch.ones_like(x), x).tolist() == [[[65504.0, 65504.0]]]
    assert triton_blocks.add_gated(x.float(), torch.ones(1, 1, 2), x.float()).tolist() == [
        [[120_000.0, 120_000.0]]
    ]


def test_what_is_no_number_is_seen() -> None:
    """NaN stays NaN, as in plain torch: limits do not replace it with a number."""
    x = torch.ones(1, 2, 32, dtype=torch.float16)
    x[0, 1, 3] = torch.nan
    zero = torch.zeros(1, 1, 32, dtype=torch.float16)
    assert triton_blocks.add_gated(x, zero, x).isnan().sum() == 1
    assert triton_blocks.quantise_rows(x).stored.float().isnan().nonzero().tolist() == [[0, 1, 3]]


@pytest.mark.parametrize("shape", [(32,), (5, 32), (2, 3, 4, 32)])
def test_packed_rows_of_any_number_of_dimensions(shape: tuple[int, ...]) -> None:
    x = draw(torch.Generator().manual_seed(0), torch.float32, *shape)
    rows, expected = triton_blocks.quantise_rows(x), reference.quantise_rows(x)
    assert torch.equal(rows.stored.float(), expected.stored.float())
    torch.testing.assert_close(rows.factors, expected.factors)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("by_sample", [False, True])
@pytest.mark.parametrize("lengths", [(1.0,), (0.4, 0.6)])
def test_turned(
    dtype: torch.dtype, shape: tuple[int, ...], by_sample: bool, lengths: tuple[float, ...]
) -> None:
    """One stream out of a wider buffer, or two; one table for all, or one for each."""
    batch, length, heads, dim = shape
    length = max(length, len(lengths))
    generator = torch.Generator().manual_seed(length)
    buffer = draw(generator, dtype, batch, length, 3 * heads * dim + 5)
    qkv = buffer[..., : 3 * heads * dim].unflatten(-1, (3, heads, dim))
    scales = [1 + draw(generator, dtype, dim) for _ in range(2 * len(lengths))]
    pe = torch.polar(torch.ones(1), torch.randn(batch if by_sample else 1, length, dim // 2) * 3)
    sizes = [length] if len(lengths) == 1 else [max(1, int(0.4 * length)), length - max(1, int(0.4 * length))]

    def operation(form: object, qkv: Tensor, *scales: Tensor) -> object:
        streams = [
            (part.clone() if part.is_contiguous() else part, *scales[2 * i : 2 * i + 2])
            for i, part in enumerate(qkv.split(sizes, 1))
        ]
        return form.qk_norm_rope(streams, pe)

    kept = buffer.clone()
    compared(operation, qkv, *scales)
    if len(lengths) == 1:
        assert torch.equal(buffer[..., 2 * heads * dim :], kept[..., 2 * heads * dim :]), "values and MLP"
    else:
        assert torch.equal(buffer, kept)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("front", "back"), [(32, 128), (20, 61), (3072, 12288)])
def test_beside(dtype: torch.dtype, front: int, back: int) -> None:
    generator = torch.Generator().manual_seed(back)
    rows = 1 if front > 1000 else 7
    both = 4 * draw(generator, dtype, 2, rows, front + back + 3)
    attended, mlp = both[..., :front].contiguous(), both[..., front + 3 :]  # behind qkv in linear1's buffer
    compared(lambda form, *given: form.gelu_concat(*given), attended, mlp)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [32, 48, 3072])
def test_float8_rows(dtype: torch.dtype, width: int) -> None:
    generator = torch.Generator().manual_seed(width)
    reader, wider = (Float8Linear.of(torch.nn.Linear(side, 16)) for side in (width, 2 * width))
    x, update = (draw(generator, dtype, 2, 3, width) for _ in range(2))
    x[0, 1] *= 1000
    gate, shift, scale = draw(generator, dtype, 2, 3, 1, width).unbind(1)
    x[1, 2], update[1, 2], shift[1] = 0, 0, 0  # a row of zeros
    same = torch.nn.Identity()
    added = reference.add_gated(x, gate, update).double()
    found: list[tuple[object, Tensor]] = [
        (
            triton_blocks.modulate(x, shift, scale, reader),
            reference.modulate(x.double(), shift.double(), scale.double()),
        ),
        (
            triton_blocks.add_gated_modulated(x, gate, update, shift, scale, reader)[1],
            reference.modulate(added, shift.double(), scale.double()),
        ),
        (triton_blocks.gelu_concat(x, update, wider), reference.gelu_concat(x.double(), update.double())),
        (triton_blocks.linear_gelu(same, update, reader), reference.linear_gelu(same, update.double())),
        (triton_blocks.quantise_rows(x), x.double()),
    ]
    for rows, exact in found:
        assert isinstance(rows, Float8Rows)
        assert rows.dtype == dtype
        expected = reference.quantise_rows(exact)
        torch.testing.assert_close(rows.factors, expected.factors, rtol=4e-3, atol=1e-9)
        rounding = relative_error(expected.stored.float() * expected.factors, exact.float())
        assert relative_error(rows.stored.float() * rows.factors, exact.float()) < 1.02 * rounding


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("swish", [False, True])
@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        ((1, 32, 1, 2), 32),
        ((2, 8, 31, 37), 4),
        ((2, 128, 9, 13), 32),
        ((1, 512, 5, 7), 32),
        ((1, 16, 40, 26), 1),
    ],
)
def test_group_norm_and_swish(dtype: torch.dtype, swish: bool, shape: tuple[int, ...], groups: int) -> None:
    """Of pictures in either layout, whose mean is far from zero, of fewer positions than
    a program has and of many.
    """
    generator = torch.Generator().manual_seed(shape[1])
    norm = torch.nn.GroupNorm(groups, shape[1], eps=1e-6)
    norm.weight.copy_(1 + 0.3 * torch.randn(shape[1], generator=generator))
    norm.bias.copy_(torch.randn(shape[1], generator=generator))
    norm = norm.to(dtype)
    x = 3 + 2 * draw(generator, dtype, *shape)
    exact = copy.deepcopy(norm).double()(x.double())
    rounded = norm(x)
    if swish:
        exact, rounded = torch.nn.functional.silu(exact), torch.nn.functional.silu(rounded)
    for given in (x, x.contiguous(memory_format=torch.channels_last)):
        kept = given.clone()
        found = triton_group_norm.group_norm(norm, given, swish)
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(given, kept)
        as_exact(found, rounded, exact)


def test_the_whole_autoencoder() -> None:
    vae = built(lambda: VAE(SMALL_VAE))
    image = torch.rand(1, 3, 24, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = vae.encode(image)
    with use_compute_options(FUSED):
        found, again = vae.encode(image), vae.encode(image)
        picture = vae.decode(expected)
    assert torch.equal(found, again)
    assert not torch.equal(found, expected), "the fused kernel ran"
    assert relative_error(found, expected) < 1e-5
    assert relative_error(picture, vae.decode(expected)) < 1e-5


def test_the_fused_group_norm_is_tried_first() -> None:
    assert group_norm.difference(torch.device("cpu")) < 0.01
    assert not triton_group_norm.fits(torch.nn.GroupNorm(3, 12))


def run(model: Transformer, length: int = 5, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    config = model.config
    ids = torch.randint(0, 9, (1, length, 3), generator=generator).float()
    return model(
        torch.randn(batch, length, 64, generator=generator),
        ids,
        torch.randn(batch, 2, config.context_in_dim, generator=generator),
        text_ids(1, 2),
        torch.rand(batch, generator=generator),
        torch.randn(batch, config.vec_in_dim, generator=generator),
        torch.ones(batch),
        n_target=4,
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_whole_model(dtype: torch.dtype) -> None:
    exact = run(built(lambda: Transformer(FEW_BLOCKS)))
    model = built(lambda: Transformer(FEW_BLOCKS)).to(dtype)
    rounded = run(model)
    with use_compute_options(FUSED):
        found = run(model)
        assert torch.equal(run(model), found), "a second time"
    assert not torch.equal(found, rounded), "fused kernels ran"
    if dtype == torch.float32:
        assert relative_error(found, exact) <= 1e-5
    else:
        assert relative_error(found, exact) <= 1.05 * relative_error(rounded, exact)


def test_the_whole_model_in_float8() -> None:
    """Swapped linears read what kernels packed for them."""
    config = replace(FEW_BLOCKS, hidden_size=64, num_heads=2, axes_dim=(8, 12, 12))
    exact, model = run(built(lambda: Transformer(config))), built(lambda: Transformer(config))
    for block in (*model.double_blocks, *model.single_blocks):
        for name, module in list(block.named_modules()):
            if type(module) is torch.nn.Linear and "mod" not in name:
                block.set_submodule(name, Float8Linear.of(module))
    rounded = run(model)
    with use_compute_options(FUSED):
        found = run(model)
    assert 0.001 < relative_error(rounded, exact) < 0.1
    assert relative_error(found, exact) < 1.2 * relative_error(rounded, exact)


def test_training_keeps_the_plain_form() -> None:
    with use_compute_options(FUSED):
        assert dispatch.kernels_for(torch.zeros(1)) is triton_blocks
        with torch.enable_grad():
            assert dispatch.kernels_for(torch.zeros(1)) is reference


def test_a_wrong_kernel_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cpu")
    dispatch.runs_fused.cache_clear()
    assert dispatch.runs_fused(device)
    dispatch.runs_fused.cache_clear()
    monkeypatch.setattr(triton_blocks, "gelu_concat", lambda *_: reference.gelu_concat(*_) * 1.1)
    assert not dispatch.runs_fused(device)
    dispatch.runs_fused.cache_clear()
    monkeypatch.setattr(triton_blocks, "gelu_concat", lambda *_: 1 / 0)
    assert not dispatch.runs_fused(device)
    dispatch.runs_fused.cache_clear()
