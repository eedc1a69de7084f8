from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kontext_core.kernels import float8_linear, float8_rows, reference
from kontext_core.kernels.float8_linear import Float8Linear
from kontext_core.kernels.reference import add_gated
from kontext_core.model.transformer import Transformer
from kontext_core.quant.layer import PackedLinear, UnquantisedRows

Inputs = Callable[..., dict[str, Tensor]]
N_TARGET = 6


@pytest.mark.parametrize("n_target", [N_TARGET, 1, 14])
def test_target_is_a_slice_of_everything(
    transformer: Transformer, inputs: Inputs, n_target: int, assert_close: Callable[..., float]
) -> None:
    everything = transformer(**inputs(2))
    target = transformer(**inputs(2), n_target=n_target)
    assert target.shape == (2, n_target, 64)
    assert_close(target, everything[:, :n_target], 1e-6)


@torch.no_grad()
def test_parts_make_up_forward(
    transformer: Transformer, inputs: Inputs, assert_close: Callable[..., float]
) -> None:
    """All steps' modulation at once, and what stays constant prepared once, as the loop does it."""
    given = inputs(2)
    img, times = given["img"], torch.tensor([[0.9, 0.4], [0.5, 0.3], [0.1, 0.8]])
    prepared = transformer.prepare(given["txt"], given["txt_ids"], given["img_ids"], img[:, N_TARGET:])
    modulation = transformer.modulation(times, given["pooled"], given["guidance"])
    for step in range(3):
        expected = transformer(**given | {"timesteps": times[step]}, n_target=N_TARGET)
        velocity = transformer.velocity(img[:, :N_TARGET], prepared, modulation, step)
        assert_close(velocity, expected, 1e-6)


@torch.no_grad()
def test_one_time_serves_the_batch(transformer: Transformer, inputs: Inputs) -> None:
    given = inputs(2)
    rows = [
        transformer.modulation(times, given["pooled"], given["guidance"]).single[0]
        for times in (torch.tensor([[0.9], [0.4]]), torch.tensor([[0.9, 0.9], [0.4, 0.4]]))
    ]
    torch.testing.assert_close(*rows)


def test_batch_equals_one_by_one(
    transformer: Transformer, inputs: Inputs, assert_close: Callable[..., float]
) -> None:
    """Each row with its own time, guidance and words."""
    given = inputs(3)
    together = transformer(**given)
    for i in range(3):
        alone = {name: tensor if "ids" in name else tensor[i : i + 1] for name, tensor in given.items()}
        assert_close(together[i : i + 1], transformer(**alone))


def test_ids_of_each_row(
    transformer: Transformer, inputs: Inputs, assert_close: Callable[..., float]
) -> None:
    given = inputs(2)
    ids = torch.cat([given["img_ids"], given["img_ids"].flip(1)])
    together = transformer(**given | {"img_ids": ids})
    alone = {name: tensor[1:] for name, tensor in given.items() if "ids" not in name}
    assert_close(together[1:], transformer(**alone, img_ids=ids[1:], txt_ids=given["txt_ids"]))
    assert not torch.allclose(together[1], transformer(**given)[1])


@pytest.mark.parametrize("name", ["img", "img_ids", "txt", "timesteps", "pooled", "guidance"])
def test_every_input_counts(transformer: Transformer, inputs: Inputs, name: str) -> None:
    given = inputs()
    assert not torch.allclose(transformer(**given), transformer(**given | {name: given[name] * 0.5 + 0.1}))


def test_text_of_any_length(transformer: Transformer, inputs: Inputs) -> None:
    given = inputs()
    for length in (1, 3):
        cut = {"txt": given["txt"][:, :length], "txt_ids": given["txt_ids"][:, :length]}
        assert transformer(**given | cut).shape == given["img"].shape


def test_missing_guidance_is_said(transformer: Transformer, inputs: Inputs) -> None:
    given = inputs() | {"guidance": None}
    with pytest.raises(
        ValueError, match=r"takes a guidance scale, but none was given; pass guidance, for example 2\.5"
    ):
        transformer(**given)


def test_guidance_is_ignored_where_there_is_none(
    make_transformer: Callable[..., Transformer], inputs: Inputs
) -> None:
    schnell = make_transformer(guidance_embed=False)
    given = inputs()
    assert torch.equal(schnell(**given), schnell(**given | {"guidance": None}))
    assert not any("guidance" in name for name in schnell.state_dict())


def test_without_bias(make_transformer: Callable[..., Transformer], inputs: Inputs) -> None:
    unbiased = make_transformer(qkv_bias=False)
    assert "double_blocks.0.img_attn.qkv.bias" not in unbiased.state_dict()
    assert unbiased(**inputs()).isfinite().all()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.02), (torch.float16, 0.003)])
def test_half_precision(
    transformer: Transformer,
    make_transformer: Callable[..., Transformer],
    inputs: Inputs,
    dtype: torch.dtype,
    tolerance: float,
    assert_close: Callable[..., float],
) -> None:
    """Inputs may stay float32; positions and times are never rounded to the weights' dtype."""
    half = make_transformer().to(dtype)
    result = half(**inputs(2))
    assert result.dtype == dtype
    assert result.isfinite().all()
    assert_close(result, transformer(**inputs(2)), tolerance)


def test_rotary_table_does_not_depend_on_the_dtype(
    transformer: Transformer, make_transformer: Callable[..., Transformer], inputs: Inputs
) -> None:
    given = inputs()
    arguments = given["txt"], given["txt_ids"], given["img_ids"] + 1000, given["img"][:, N_TARGET:]
    half = make_transformer().to(torch.bfloat16).prepare(*arguments)
    assert torch.equal(half.pe, transformer.prepare(*arguments).pe)


def test_times_do_not_collapse_in_half_precision(make_transformer: Callable[..., Transformer]) -> None:
    """0.9961 and 0.9980 are one number in bfloat16."""
    half = make_transformer().to(torch.bfloat16)
    times, pooled, guidance = torch.tensor([[0.9961], [0.9980]]), torch.zeros(1, 12), torch.tensor([2.5])
    first, second = half.modulation(times, pooled, guidance).single[0]
    assert not torch.equal(first, second)


def test_float16_keeps_the_stream_finite(
    make_transformer: Callable[..., Transformer], inputs: Inputs
) -> None:
    wild = make_transformer().to(torch.float16)
    with torch.no_grad():
        for block in wild.double_blocks:
            block.img_mlp[2].bias += 60_000
            block.img_mod.lin.bias += 2  # the gate lets it pass twice over
    with torch.no_grad():
        assert wild(**inputs()).isfinite().all()


def test_clamp_is_for_float16_only() -> None:
    x = torch.full((1, 1, 2), 60_000.0)
    gate = torch.ones(1, 1, 2)
    assert add_gated(x.half(), gate.half(), x.half()).tolist() == [[[65504.0, 65504.0]]]
    assert add_gated(x, gate, x).tolist() == [[[120_000.0, 120_000.0]]]


class Swapped(nn.Module):
    """A module in place of a linear, as adapters and quantised layers are."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.inner = linear
        self.out_features = linear.out_features

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def test_linears_may_be_swapped(
    transformer: Transformer,
    make_transformer: Callable[..., Transformer],
    inputs: Inputs,
    assert_close: Callable[..., float],
) -> None:
    swapped = make_transformer()
    for block in swapped.single_blocks:
        block.linear1 = Swapped(block.linear1)
    assert_close(swapped(**inputs(), n_target=N_TARGET), transformer(**inputs(), n_target=N_TARGET), 1e-6)


def test_gradients_reach_every_parameter(
    make_transformer: Callable[..., Transformer], inputs: Inputs
) -> None:
    model = make_transformer().requires_grad_(True)
    model(**inputs(), n_target=N_TARGET).square().sum().backward()
    # the last double block's text stream still feeds the single blocks, so that nothing is left out
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def _of_linear1(kind: str, linear: nn.Linear) -> nn.Module:
    if kind == "swapped":
        return Swapped(linear)
    if kind == "quantise_rows":
        return PackedLinear([UnquantisedRows(linear.weight.detach())], linear.bias)
    made = Float8Linear.of(linear)
    assert made is not None
    return made


@pytest.mark.parametrize("kind", ["swapped", "quantise_rows", "float8"])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_last_block_asks_what_is_in_a_linears_place_once(
    make_transformer: Callable[..., Transformer],
    inputs: Inputs,
    assert_close: Callable[..., float],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    batch: int,
) -> None:
    """Each unpacks its weight, or packs its input, once; the answer is that of a block read in full."""
    model = make_transformer()
    block = model.single_blocks[-1]
    block.linear1 = _of_linear1(kind, block.linear1)
    asked: list[str] = []

    def counted(owner: Any, name: str) -> None:
        whole = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given: asked.append(name) or whole(*given))

    counted(Swapped, "forward")
    counted(UnquantisedRows, "dequantise")
    counted(float8_rows, "pack_rows")
    monkeypatch.setattr(reference, "pack_rows", float8_rows.pack_rows)
    expected = model(**inputs(batch))[:, :N_TARGET]
    asked.clear()
    result = model(**inputs(batch), n_target=N_TARGET)
    assert asked == [{"swapped": "forward", "quantise_rows": "dequantise", "float8": "pack_rows"}[kind]]
    assert_close(result, expected, 1e-5)


def test_in_float8_the_last_block_multiplies_what_is_read(
    make_transformer: Callable[..., Transformer], inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries, keys and values of all tokens, the MLP of the target's."""
    model = make_transformer()
    block = model.single_blocks[-1]
    block.linear1 = Float8Linear.of(block.linear1)
    seen: list[tuple[int, int]] = []

    def watched(rows: float8_rows.Float8Rows, weight: Tensor, *given: Any) -> Tensor:
        seen.append((rows.stored.shape[1], weight.shape[0]))
        return product(rows, weight, *given)

    product = float8_rows.product
    monkeypatch.setattr(float8_linear, "product", watched)
    model(**inputs(), n_target=N_TARGET)
    assert seen == [(5 + inputs()["img"].shape[1], 96), (N_TARGET, 128)]
