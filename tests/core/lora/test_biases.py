"""Changes of biases, norms and whole weights equal arithmetic by hand, beside and merged."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kontext_core.errors import CheckpointError
from kontext_core.lora import Lora
from kontext_core.lora.attach import replace_modules
from kontext_core.lora.layer import LoraLinear
from kontext_core.model.transformer import Transformer
from kontext_core.pipeline import Pipeline
from kontext_core.quant.layer import PackedLinear
from kontext_core.quant.schemes import pack

from .conftest import Tensors, attached, drawn, low_rank, product, viewed

D = 32
PROJ, NAME = "double_blocks.0.img_attn.proj", "diffusion_model.double_blocks.0.img_attn.proj"
Write = Callable[..., Path]
Inputs = Callable[..., dict[str, Tensor]]
Close = Callable[..., float]

both = pytest.mark.parametrize("merged", [False, True], ids=["beside", "merged"])


def changed(transformer: Transformer, changes: dict[str, Tensor]) -> Transformer:
    """A copy with something added to parameters, by name."""
    made = copy.deepcopy(transformer)
    for name, change in changes.items():
        made.get_parameter(name).data += change
    return made


# Tensors of one layer (32, 32), and what they add to weight and bias. The pair has rank 3 and alpha 5.
PAIR = low_rank(NAME, D, D)
DELTA = product(PAIR, NAME)
VECTOR, WHOLE = drawn(D, seed=7), drawn(D, D, seed=8)
CASES: dict[str, tuple[Tensors, Tensor | None, Tensor | None]] = {
    "diff_b beside a pair": (PAIR | {f"{NAME}.diff_b": VECTOR}, DELTA, VECTOR),
    "lora_B.bias": (
        {key.replace("lora_down", "lora_A").replace("lora_up", "lora_B"): one for key, one in PAIR.items()}
        | {f"{NAME}.lora_B.bias": VECTOR},
        DELTA,
        VECTOR * 5 / 3,
    ),
    "lora_up.bias": (PAIR | {f"{NAME}.lora_up.bias": VECTOR}, DELTA, VECTOR * 5 / 3),
    "both biases": (
        PAIR | {f"{NAME}.lora_up.bias": VECTOR, f"{NAME}.diff_b": WHOLE[0]},
        DELTA,
        VECTOR * 5 / 3 + WHOLE[0],
    ),
    "diff": ({f"{NAME}.diff": WHOLE}, WHOLE, None),
    "diff of a convolution of one point": ({f"{NAME}.diff": WHOLE[..., None, None]}, WHOLE, None),
    "diff with an alpha, which is not its": (
        {f"{NAME}.diff": WHOLE, f"{NAME}.alpha": torch.tensor(4.0)},
        WHOLE,
        None,
    ),
    "diff and diff_b": ({f"{NAME}.diff": WHOLE, f"{NAME}.diff_b": VECTOR}, WHOLE, VECTOR),
    "diff beside a pair": (PAIR | {f"{NAME}.diff": WHOLE}, DELTA + WHOLE, None),
    "diff_b alone": ({f"{NAME}.diff_b": VECTOR}, None, VECTOR),
}


@both
@pytest.mark.parametrize(("tensors", "weight", "bias"), CASES.values(), ids=CASES)
def test_by_hand(
    transformer: Transformer,
    inputs: Inputs,
    write: Write,
    assert_close: Close,
    tensors: Tensors,
    weight: Tensor | None,
    bias: Tensor | None,
    merged: bool,
) -> None:
    lora = Lora(write(tensors), -0.7, merged=merged)
    (report,) = attached(transformer, lora).reports
    assert (report.missed, report.notes, report.matched) == ("", (), 1)
    changes = {
        f"{PROJ}.{end}": -0.7 * change
        for end, change in (("weight", weight), ("bias", bias))
        if change is not None
    }
    before, expected = transformer(**inputs()), changed(transformer, changes)(**inputs())
    assert (expected - before).norm() > 1e-4 * before.norm()
    assert_close(viewed(transformer, lora)(**inputs()), expected)
    assert torch.equal(transformer(**inputs()), before)


@both
def test_of_pieces_and_swapped_halves(
    transformer: Transformer, inputs: Inputs, write: Write, assert_close: Close, merged: bool
) -> None:
    """Diffusers' names: k of q, k, v; and (scale, shift), which is (shift, scale) here."""
    k, last = "transformer.transformer_blocks.0.attn.to_k", "transformer.norm_out.linear"
    tensors = {
        f"{k}.diff_b": drawn(D, seed=1),
        f"{k}.diff": drawn(D, D, seed=2),
        f"{last}.diff_b": drawn(2 * D, seed=3),
        f"{last}.diff": drawn(2 * D, D, seed=4),
    }
    qkv, final = "double_blocks.0.img_attn.qkv", "final_layer.adaLN_modulation.1"
    rows = slice(D, 2 * D)
    weight, bias = torch.zeros(3 * D, D), torch.zeros(3 * D)
    weight[rows], bias[rows] = tensors[f"{k}.diff"], tensors[f"{k}.diff_b"]
    swapped = {end: torch.cat(tensors[f"{last}.{end}"].chunk(2)[::-1]) for end in ("diff", "diff_b")}
    changes = {
        f"{qkv}.weight": weight,
        f"{qkv}.bias": bias,
        f"{final}.weight": swapped["diff"],
        f"{final}.bias": swapped["diff_b"],
    }
    made = viewed(transformer, Lora(write(tensors), merged=merged))
    assert_close(made(**inputs()), changed(transformer, changes)(**inputs()))


def packed_view(transformer: Transformer, layer: str, scheme: str) -> tuple[Transformer, Transformer]:
    """A model with a layer of packed weights, and the same with that layer multiplied out."""
    linear = transformer.get_submodule(layer)
    packed = PackedLinear([pack(linear.weight.detach(), scheme)], linear.bias)
    plain = copy.deepcopy(transformer)
    plain.get_submodule(layer).weight.data = packed.dequantise(torch.float32)
    return replace_modules(transformer, {layer: packed}), plain


@pytest.mark.parametrize("scheme", ["nf4", "int8", "fp8"])
def test_on_packed_weights(
    make_transformer: Callable[..., Transformer],
    inputs: Inputs,
    write: Write,
    assert_close: Close,
    scheme: str,
) -> None:
    """Beside them all of it acts; merged what needs no weight."""
    transformer = make_transformer(hidden_size=64, axes_dim=(8, 12, 12))
    layer, name = "single_blocks.0.linear2", "lora_unet_single_blocks_0_linear2"
    shape = transformer.get_submodule(layer).weight.shape
    packed, plain = packed_view(transformer, layer, scheme)
    tensors = low_rank(name, *shape) | {
        f"{name}.diff": drawn(*shape, seed=5),
        f"{name}.lora_up.bias": drawn(shape[0], seed=6),
        f"{name}.diff_b": drawn(shape[0], seed=7),
    }
    bias = tensors[f"{name}.lora_up.bias"] * 5 / 3 + tensors[f"{name}.diff_b"]
    changes = {
        f"{layer}.weight": product(tensors, name) + tensors[f"{name}.diff"],
        f"{layer}.bias": bias,
    }
    file = write(tensors)
    assert_close(viewed(packed, Lora(file))(**inputs()), changed(plain, changes)(**inputs()))
    with pytest.raises(ValueError, match="linear2 holds packed weights"):
        viewed(packed, Lora(file, merged=True))
    alone = write({f"{name}.diff_b": tensors[f"{name}.diff_b"]}, "alone.safetensors")
    expected = changed(plain, {f"{layer}.bias": tensors[f"{name}.diff_b"]})(**inputs())
    merged = viewed(packed, Lora(alone, merged=True))
    assert_close(merged(**inputs()), expected)
    assert isinstance(merged.single_blocks[0].linear2, PackedLinear)
    assert merged.single_blocks[0].linear2.pieces is packed.single_blocks[0].linear2.pieces


@both
def test_where_the_layer_has_no_bias(
    make_transformer: Callable[..., Transformer],
    inputs: Inputs,
    write: Write,
    assert_close: Close,
    merged: bool,
) -> None:
    transformer = make_transformer(qkv_bias=False)
    layer = "double_blocks.0.img_attn.qkv"
    tensors = {f"diffusion_model.{layer}.diff_b": drawn(3 * D)}
    expected = copy.deepcopy(transformer)
    expected.get_submodule(layer).bias = nn.Parameter(drawn(3 * D), requires_grad=False)
    made = viewed(transformer, Lora(write(tensors), merged=merged))
    assert_close(made(**inputs()), expected(**inputs()))
    assert transformer.get_submodule(layer).bias is None


@both
def test_with_dora_in_a_range_and_in_half_precision(
    make_transformer: Callable[..., Transformer],
    inputs: Inputs,
    write: Write,
    assert_close: Close,
    merged: bool,
) -> None:
    """The bias has no part in DoRA's norm; merged weights and biases are of the model's dtype."""
    transformer = make_transformer()
    tensors = PAIR | {f"{NAME}.dora_scale": 1 + drawn(D, 1).abs(), f"{NAME}.diff_b": VECTOR}
    weight = transformer.get_submodule(PROJ).weight
    turned = weight + DELTA
    delta = tensors[f"{NAME}.dora_scale"] * turned / turned.norm(dim=1, keepdim=True) - weight
    expected = changed(transformer, {f"{PROJ}.weight": delta, f"{PROJ}.bias": VECTOR})(**inputs())
    file = write(tensors)
    assert_close(viewed(transformer, Lora(file, merged=merged))(**inputs()), expected)
    half = viewed(copy.deepcopy(transformer).bfloat16(), Lora(file, merged=merged))
    layer = half.get_submodule(PROJ)
    assert layer.bias.dtype == layer.weight.dtype == torch.bfloat16
    if not merged:
        stages = attached(transformer, Lora(file, start=0.5)).stages
        assert stages[0][1] is transformer
        assert isinstance(stages[1][1].get_submodule(PROJ), LoraLinear)


def test_two_files_change_one_bias(
    transformer: Transformer, inputs: Inputs, write: Write, assert_close: Close
) -> None:
    first = write({f"{NAME}.diff_b": VECTOR}, "first.safetensors")
    second = write(PAIR | {f"{NAME}.diff_b": WHOLE[0]}, "second.safetensors")
    changes = {f"{PROJ}.bias": 0.5 * VECTOR - 2 * WHOLE[0], f"{PROJ}.weight": -2 * DELTA}
    expected = changed(transformer, changes)(**inputs())
    for flags in ((False, False), (True, False), (False, True), (True, True)):
        loras = Lora(first, 0.5, merged=flags[0]), Lora(second, -2, merged=flags[1])
        assert_close(viewed(transformer, *loras)(**inputs()), expected)


NORMS = {
    "ComfyUI's": "diffusion_model.double_blocks.1.txt_attn.norm.key_norm",
    "ComfyUI's with the parameter": "diffusion_model.double_blocks.1.txt_attn.norm.key_norm.scale",
    "diffusers'": "transformer.transformer_blocks.1.attn.norm_added_k",
    "kohya's": "lora_unet_double_blocks_1_txt_attn_norm_key_norm",
}


@both
@pytest.mark.parametrize("end", ["diff", "w_norm"])
@pytest.mark.parametrize("name", NORMS.values(), ids=NORMS)
def test_norms(
    transformer: Transformer,
    inputs: Inputs,
    write: Write,
    assert_close: Close,
    name: str,
    end: str,
    merged: bool,
) -> None:
    size = transformer.double_blocks[1].txt_attn.norm.key_norm.scale.shape[0]
    change = drawn(size)
    lora = Lora(write({f"{name}.{end}": change}), 0.6, merged=merged)
    assert attached(transformer, lora).reports[0].missed == ""
    expected = changed(transformer, {"double_blocks.1.txt_attn.norm.key_norm.scale": 0.6 * change})
    before = transformer(**inputs())
    assert_close(viewed(transformer, lora)(**inputs()), expected(**inputs()))
    assert torch.equal(transformer(**inputs()), before)


def test_norms_and_biases_of_text_encoders(pipeline: Pipeline, write: Write, assert_close: Close) -> None:
    """CLIP's norms have a bias."""
    size = pipeline.text.clip.config.hidden_size
    name = "text_model.encoder.layers.0.layer_norm1"
    own = next(one for one, _ in pipeline.text.clip.named_modules() if one.endswith("layers.0.layer_norm1"))
    tensors = {f"text_encoder.{name}.diff": drawn(size), f"text_encoder.{name}.diff_b": drawn(size, seed=1)}
    made = pipeline.with_loras([Lora(write(tensors), 0.5)])
    clip = copy.deepcopy(pipeline.text.clip)
    clip.get_parameter(f"{own}.weight").data += 0.5 * drawn(size)
    clip.get_parameter(f"{own}.bias").data += 0.5 * drawn(size, seed=1)
    ids = torch.tensor([[1, 5, 7, 2]])
    assert_close(made.text.clip(ids).last_hidden_state, clip(ids).last_hidden_state)
    assert made.text.clip.get_submodule(own) is not pipeline.text.clip.get_submodule(own)


BAD: dict[str, tuple[Tensors, str]] = {
    "bias of another size": (
        PAIR | {f"{NAME}.diff_b": torch.ones(5)},
        r"'diff_bias' of .* has the shape "
        r"\(5,\), but the layer here has \(32,\)",
    ),
    "bias that is a matrix": ({f"{NAME}.diff_b": torch.ones(8, 4)}, r"has the shape \(8, 4\)"),
    "difference of another size": (
        {f"{NAME}.diff": torch.ones(5, D)},
        r"the difference of .* has the shape "
        r"\(5, 32\), but the layer here has \(32, 32\)",
    ),
    "difference of NaN": (
        {f"{NAME}.diff": torch.full((D, D), float("nan"))},
        "'diff' of .* holds numbers that are not finite",
    ),
    "bias of NaN": (
        {f"{NAME}.diff_b": torch.full((D,), float("nan"))},
        "'diff_bias' of .* holds numbers that are not finite",
    ),
    "bias without its factors": (
        {f"{NAME}.lora_B.bias": VECTOR},
        "has a tensor 'up_bias' and no 'up' that belongs to it|no 'down'",
    ),
    "norm with factors": (
        low_rank("double_blocks.0.img_attn.norm.key_norm", 16, 16),
        "is a norm here, which has no 'down'|no 'alpha'|no 'up'",
    ),
    "norm with a bias": (
        {"double_blocks.0.img_attn.norm.key_norm.b_norm": torch.ones(16)},
        "is a norm here, which has no 'diff_bias'",
    ),
}


@pytest.mark.parametrize(("tensors", "said"), BAD.values(), ids=BAD)
def test_what_does_not_fit(transformer: Transformer, write: Write, tensors: Tensors, said: str) -> None:
    with pytest.raises(CheckpointError, match=said) as error:
        viewed(transformer, Lora(write(tensors)))
    assert "\n" not in str(error.value)


def test_kinds_in_the_report(transformer: Transformer, write: Write) -> None:
    tensors = PAIR | {f"{NAME}.diff_b": VECTOR, "double_blocks.0.img_attn.qkv.diff": torch.zeros(3 * D, D)}
    tensors |= {"double_blocks.0.txt_attn.proj.diff_b": drawn(D, seed=2), "img_in.diff": torch.zeros(D, 64)}
    (report,) = attached(transformer, Lora(write(tensors))).reports
    assert report.kinds == {"whole difference": 2, "LoRA with bias": 1, "bias": 1}


def test_a_difference_is_read_once_for_all_strengths(transformer: Transformer, write: Write) -> None:
    file = write({f"{NAME}.diff": WHOLE})
    made = [attached(transformer, Lora(file, strength)) for strength in (0.5, 2.0)]
    first, second = (one.stages[0][1].get_submodule(PROJ).changes[0].delta for one in made)
    assert first is second
