"""Views of a model: nothing is copied or changed, and each LoRA acts with its strength and range."""

import gc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kontext_core.lora import Lora
from kontext_core.lora.attach import replace_modules
from kontext_core.lora.layer import LoraLinear
from kontext_core.memory.block_streaming import StreamedTransformer
from kontext_core.model.latents import noise
from kontext_core.model.transformer import Transformer
from kontext_core.pipeline import Pipeline
from kontext_core.sampling.denoise import denoise
from kontext_core.sampling.schedule import sigmas
from kontext_core.sampling.solvers import SOLVERS

from .conftest import NO_TEXT, Tensors, attached, changed, drawn, low_rank, product, viewed

D = 32
QKV, LINEAR1 = "lora_unet_double_blocks_0_img_attn_qkv", "lora_unet_single_blocks_1_linear1"
MODULATION, IMG_IN = "lora_unet_single_blocks_0_modulation_lin", "lora_unet_img_in"
LAYERS = {
    QKV: ("double_blocks.0.img_attn.qkv", 3 * D, D),
    LINEAR1: ("single_blocks.1.linear1", 7 * D, D),
    MODULATION: ("single_blocks.0.modulation.lin", 3 * D, D),
    IMG_IN: ("img_in", D, 64),
}
Write = Callable[..., Path]
Inputs = Callable[..., dict[str, Tensor]]
Close = Callable[..., float]


def tensors_of(*modules: str, seed: int = 0) -> Tensors:
    made: Tensors = {}
    for i, module in enumerate(modules):
        made |= low_rank(module, *LAYERS[module][1:], seed=seed + i)
    return made


def deltas_of(tensors: Tensors, factor: float = 1.0) -> dict[str, Tensor]:
    return {
        LAYERS[module][0]: factor * product(tensors, module)
        for module in LAYERS
        if f"{module}.alpha" in tensors
    }


def tensors_in(model: nn.Module) -> dict[int, int]:
    """Return the bytes of everything that a model holds, by address."""
    held = (*model.parameters(), *model.buffers())
    return {one.data_ptr(): one.nbytes for one in held}


def test_weights_are_shared_and_stay_as_they_are(
    transformer: Transformer, inputs: Inputs, write: Write
) -> None:
    before = {name: one.clone() for name, one in transformer.state_dict().items()}
    modules, answer = dict(transformer.named_modules()), transformer(**inputs())
    first = viewed(transformer, Lora(write(tensors_of(QKV, LINEAR1), "a.safetensors")))
    second = viewed(transformer, Lora(write(tensors_of(QKV, IMG_IN, seed=9), "b.safetensors")))
    own = tensors_in(transformer)
    for one, modules_changed in ((first, 2), (second, 2)):
        held = tensors_in(one)
        assert own.items() <= held.items()
        assert len(held) == len(own) + 2 * modules_changed, "the factors are all that is new"
        assert not torch.equal(one(**inputs()), answer)
    assert first.double_blocks[1] is transformer.double_blocks[1]
    assert dict(transformer.named_modules()) == modules
    assert torch.equal(transformer(**inputs()), answer)
    after = transformer.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(one, after[name]) for name, one in before.items())


def test_merged_weights_are_new_ones_for_changed_layers_alone(
    transformer: Transformer, inputs: Inputs, write: Write
) -> None:
    answer, own = transformer(**inputs()), tensors_in(transformer)
    made = viewed(transformer, Lora(write(tensors_of(QKV)), merged=True))
    new = tensors_in(made).keys() - own.keys()
    assert new == {made.double_blocks[0].img_attn.qkv.weight.data_ptr()}
    assert made.double_blocks[0].img_attn.qkv.bias is transformer.double_blocks[0].img_attn.qkv.bias
    assert type(made.double_blocks[0].img_attn.qkv) is nn.Linear
    assert torch.equal(transformer(**inputs()), answer)


def test_merging_rounds_once(make_transformer: Callable[..., Transformer], write: Write) -> None:
    """Two LoRAs in bfloat16 are added up in float32."""
    half = make_transformer().bfloat16()
    first, second = tensors_of(QKV), tensors_of(QKV, seed=7)
    loras = [Lora(write(one, f"{i}.safetensors"), merged=True) for i, one in enumerate((first, second))]
    weight = half.double_blocks[0].img_attn.qkv.weight
    rounded = [{key: value.bfloat16().float() for key, value in one.items()} for one in (first, second)]
    expected = weight.float() + sum(product(one, QKV) for one in rounded)
    assert torch.equal(viewed(half, *loras).double_blocks[0].img_attn.qkv.weight, expected.bfloat16())


def test_without_strength_it_is_the_model_itself(transformer: Transformer, write: Write) -> None:
    file = write(tensors_of(QKV))
    made = attached(transformer, Lora(file, 0.0), Lora(file, 0.0, merged=True))
    assert made.stages == ((0.0, transformer),)
    assert made.text is NO_TEXT
    assert [one.matched for one in made.reports] == [1, 1]
    assert viewed(transformer) is transformer


@pytest.mark.parametrize("second", [False, True], ids=["second beside", "second merged"])
@pytest.mark.parametrize("first", [False, True], ids=["first beside", "first merged"])
def test_several_add_up(
    transformer: Transformer, inputs: Inputs, write: Write, assert_close: Close, first: bool, second: bool
) -> None:
    one, two = tensors_of(QKV, LINEAR1, MODULATION), tensors_of(QKV, IMG_IN, seed=9)
    files = write(one, "a.safetensors"), write(two, "b.safetensors")
    made = viewed(transformer, Lora(files[0], 0.8, merged=first), Lora(files[1], -1.5, merged=second))
    expected = changed(changed(transformer, deltas_of(one, 0.8)), deltas_of(two, -1.5))
    assert_close(made(**inputs(2), n_target=6), expected(**inputs(2), n_target=6))


def test_two_doras_each_upon_the_weight_itself(
    transformer: Transformer, inputs: Inputs, write: Write, assert_close: Close
) -> None:
    weight = transformer.double_blocks[0].img_attn.qkv.weight
    loras: list[Lora] = []
    total = torch.zeros_like(weight)
    for seed in range(2):
        tensors = tensors_of(QKV, seed=seed)
        turned = weight + product(tensors, QKV)
        tensors[f"{QKV}.dora_scale"] = magnitude = 1 + drawn(3 * D, 1, seed=seed).abs()
        total += magnitude * turned / turned.norm(dim=1, keepdim=True) - weight
        loras.append(Lora(write(tensors, f"{seed}.safetensors")))
    expected = changed(transformer, {"double_blocks.0.img_attn.qkv": total})(**inputs())
    assert_close(viewed(transformer, *loras)(**inputs()), expected)
    merged = [Lora(one.path, merged=True) for one in loras]
    assert_close(viewed(transformer, *merged)(**inputs()), expected)


def test_factors_are_held_once_for_all_strengths(transformer: Transformer, write: Write) -> None:
    file = write(tensors_of(QKV))
    made = [attached(transformer, Lora(file, strength)) for strength in (0.5, 2.0)]
    layers = [one.stages[0][1].double_blocks[0].img_attn.qkv for one in made]
    assert all(isinstance(layer, LoraLinear) for layer in layers)
    assert layers[0].changes[0].delta is layers[1].changes[0].delta


class Packed(nn.Module):
    """A layer that has its weight in another form."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
        self.register_buffer("packed", linear.weight.detach().half())

    def dequantise(self, dtype: torch.dtype) -> Tensor:
        return self.packed.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.dequantise(x.dtype), self.bias)


@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
def test_on_packed_weights(
    transformer: Transformer, inputs: Inputs, write: Write, assert_close: Close, dora: bool
) -> None:
    packed = replace_modules(
        transformer, {"single_blocks.1.linear1": Packed(transformer.single_blocks[1].linear1)}
    )
    weight = packed.single_blocks[1].linear1.dequantise(torch.float32)
    tensors = tensors_of(LINEAR1)
    delta = product(tensors, LINEAR1)
    if dora:
        tensors[f"{LINEAR1}.dora_scale"] = magnitude = 1 + drawn(7 * D, 1).abs()
        turned = weight + delta
        delta = magnitude * turned / turned.norm(dim=1, keepdim=True) - weight
    file = write(tensors)
    expected = changed(
        transformer, {"single_blocks.1.linear1": weight - transformer.single_blocks[1].linear1.weight + delta}
    )
    assert_close(viewed(packed, Lora(file))(**inputs(), n_target=6), expected(**inputs(), n_target=6))
    with pytest.raises(
        ValueError, match=r"linear1 holds packed weights \(Packed\), into which nothing can be merged"
    ):
        viewed(packed, Lora(file, merged=True))


@pytest.mark.parametrize("merged", [False, True], ids=["beside", "merged"])
def test_on_weights_that_visit_the_device(
    make_transformer: Callable[..., Transformer], inputs: Inputs, write: Write, merged: bool
) -> None:
    """A view takes part in the visits of the model below it, whichever came first."""
    tensors = tensors_of(QKV, LINEAR1, MODULATION)
    tensors[f"{LINEAR1}.dora_scale"] = 1 + drawn(7 * D, 1).abs()
    lora = Lora(write(tensors), 0.5, merged=merged)
    expected = viewed(make_transformer(), lora)(**inputs(), n_target=6)
    model = make_transformer()
    before = viewed(model, lora)
    streaming = StreamedTransformer(model, torch.device("cpu"), blocks=2)
    for one in (before, viewed(model, lora)):
        assert torch.equal(one(**inputs(), n_target=6), expected)
    assert streaming.streamer is not None
    assert len(streaming.streamer.slots) == 2, "they came"


def sampled(network: Any, prompts: Callable[..., tuple[Tensor, Tensor]], **options: Any) -> Tensor:
    levels = sigmas(options.pop("steps", 5), 24)
    reference = noise(1, 4, 6, seed=2)
    return denoise(network, noise(1, 8, 12, seed=1), *prompts(), levels, references=[reference], **options)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_range_of_the_steps(
    transformer: Transformer,
    prompts: Callable[..., tuple[Tensor, Tensor]],
    write: Write,
    assert_close: Close,
    solver: str,
) -> None:
    """Of five steps the second and third have it, whatever it changes: embedders and modulation too."""
    tensors = tensors_of(QKV, MODULATION, IMG_IN)
    made = attached(transformer, Lora(write(tensors), start=0.2, end=0.6))
    assert [begin for begin, _ in made.stages] == [0.0, 0.2, 0.6]
    assert made.stages[0][1] is made.stages[2][1] is transformer
    dense = changed(transformer, deltas_of(tensors))
    networks = [transformer, dense, dense, transformer, transformer]
    by_hand = [(step / 5, one) for step, one in enumerate(networks)]
    ours = sampled(made.stages, prompts, solver=solver)
    assert_close(ours, sampled(by_hand, prompts, solver=solver))
    assert (ours - sampled(transformer, prompts, solver=solver)).norm() > 1e-3 * ours.norm()
    assert (ours - sampled(dense, prompts, solver=solver)).norm() > 1e-3 * ours.norm()


def test_steps_out_of_the_range_are_the_models_own(
    transformer: Transformer, prompts: Callable[..., tuple[Tensor, Tensor]], write: Write
) -> None:
    """To the bit. With a start the share is that of all steps, not of those that are run."""
    made = attached(transformer, Lora(write(tensors_of(QKV, MODULATION)), end=0.4)).stages
    start: dict[str, Any] = {"start": noise(1, 8, 12, seed=3), "strength": 0.6}
    assert torch.equal(sampled(made, prompts, **start), sampled(transformer, prompts, **start))
    assert not torch.equal(sampled(made, prompts), sampled(transformer, prompts))
    late = attached(transformer, Lora(write(tensors_of(QKV), "late.safetensors"), start=0.9)).stages
    assert torch.equal(sampled(late, prompts), sampled(transformer, prompts)), "no step of five begins there"


def test_merged_weights_are_made_once_for_all_ranges(transformer: Transformer, write: Write) -> None:
    merged, ranged = (
        write(tensors_of(QKV), "merged.safetensors"),
        write(tensors_of(QKV, seed=4), "ranged.safetensors"),
    )
    first, second, third = (
        one
        for _, one in attached(
            transformer, Lora(merged, merged=True), Lora(ranged, start=0.3, end=0.6)
        ).stages
    )
    assert first is third
    assert second.double_blocks[0].img_attn.qkv.base is first.double_blocks[0].img_attn.qkv
    assert first.double_blocks[0].img_attn.qkv is not transformer.double_blocks[0].img_attn.qkv


def test_ranges_that_overlap(transformer: Transformer, write: Write) -> None:
    files = [write(tensors_of(QKV, seed=i), f"{i}.safetensors") for i in range(3)]
    made = attached(
        transformer,
        Lora(files[0], end=0.5),
        Lora(files[1], start=0.25, end=0.75),
        Lora(files[2], 0.0, end=0.1),
    )
    counts = [
        (begin, len(getattr(one.double_blocks[0].img_attn.qkv, "changes", ()))) for begin, one in made.stages
    ]
    assert counts == [(0.0, 1), (0.25, 2), (0.5, 1), (0.75, 0)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strength": float("nan")}, "the strength of a LoRA is nan and must be a number from -1000 to 1000"),
        ({"strength": float("-inf")}, "the strength of a LoRA is -inf and must be a number"),
        (
            {"strength": 10**400},
            "the strength of a LoRA is a number of about 400 digits and must",
        ),
        (
            {"strength": -(10**5000)},
            "the strength of a LoRA is a number of about 5000 digits and must be a number",
        ),
        (
            {"strength": Fraction(10**400, 3)},
            r"the strength of a LoRA is Fraction\(10+\.\.\.0+, 3\) and must be a number",
        ),
        ({"strength": 1000.5}, "the strength of a LoRA is 1000.5 and must be a number from -1000 to 1000"),
        ({"strength": True}, "the strength of a LoRA is True and must be a number"),
        ({"strength": "0.5"}, "the strength of a LoRA is '0.5' and must be a number"),
        ({"strength": None}, "the strength of a LoRA is None and must be a number"),
        ({"strength": [1.0]}, r"the strength of a LoRA is \[1.0\] and must be a number"),
        ({"strength": 1j}, "the strength of a LoRA is 1j and must be a number"),
        ({"start": "0"}, "acts from '0' to 1.0 of the steps; both must lie in"),
        ({"end": float("nan")}, "acts from 0.0 to nan of the steps; both must lie in"),
        ({"end": True}, "acts from 0.0 to True of the steps; both must lie in"),
        ({"start": -(10**5000)}, "acts from a number of about 5000 digits to 1.0 of the steps"),
        ({"merged": "no"}, "whether a LoRA is merged is 'no' and must be True or False"),
        ({"path": None}, "the file of a LoRA is None and must be a path"),
        ({"start": 0.5, "end": 0.5}, "acts from 0.5 to 0.5 of the steps; both must lie in"),
        ({"start": -0.1}, "acts from -0.1 to 1.0 of the steps"),
        ({"end": 1.5}, "acts from 0.0 to 1.5 of the steps"),
        (
            {"merged": True, "start": 0.5},
            "a merged LoRA acts at all steps, but this one is to act from 0.5 to 1",
        ),
    ],
)
def test_unusable_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Lora(**({"path": "x"} | options))


@pytest.mark.parametrize("strength", [1, -1000, 1000.0, np.float32(0.5), np.int64(2), Fraction(1, 2)])
def test_strengths_of_every_kind_of_number(strength: Any) -> None:
    taken = Lora("x", strength).strength
    assert taken == strength
    assert type(taken) in (int, float)


CLIP_FC = "lora_te1_text_model_encoder_layers_0_mlp_fc1"
PROMPT = "make the red circle blue"


def clip_file(pipeline: Pipeline, write: Write) -> Path:
    layer = next(
        module for name, module in pipeline.text.clip.named_modules() if name.endswith("layers.0.mlp.fc1")
    )
    return write(low_rank(CLIP_FC, layer.out_features, layer.in_features), "clip.safetensors")


def test_words_are_kept_apart(pipeline: Pipeline, write: Write) -> None:
    """A prompt encoded by one model is never used for another, whichever came first."""
    bare = Pipeline(pipeline.transformer, pipeline.vae, pipeline.text)
    plain = bare.encode_prompt(PROMPT)
    file = clip_file(pipeline, write)
    made = bare.with_loras([Lora(file)])
    changed_words = made.encode_prompt(PROMPT)
    assert torch.equal(changed_words[0], plain[0])
    assert not torch.allclose(changed_words[1], plain[1])
    assert torch.equal(bare.encode_prompt(PROMPT)[1], plain[1])
    stronger = made.with_loras([Lora(file)])
    assert not torch.allclose(stronger.encode_prompt(PROMPT)[1], changed_words[1])
    assert torch.equal(made.encode_prompt(PROMPT)[1], changed_words[1])
    assert made.transformer is bare.transformer
    assert bare.with_loras([Lora(file, 0.0)]).text is bare.text


def test_pipelines_with_loras(
    pipeline: Pipeline, write: Write, pictures: Callable[..., Tensor], assert_close: Close
) -> None:
    """One after another, each a model of its own; taken off, the first picture comes again, bit for bit."""
    width = pipeline.transformer.config.hidden_size
    tensors = low_rank(QKV, 3 * width, width)
    file = write(tensors)
    given: dict[str, Any] = {"references": [pictures(64, 64)], "steps": 2, "seed": 4}
    before = pipeline.edit(PROMPT, **given)
    once = pipeline.with_loras([Lora(file, 0.5)])
    twice = once.with_loras([Lora(file, 0.5)])
    assert [len(one.loras) for one in (pipeline, once, twice)] == [0, 1, 2]
    assert [len(one.lora_reports) for one in (pipeline, once, twice)] == [0, 1, 2]
    made = twice.edit(PROMPT, **given)
    assert_close(made.latents, pipeline.with_loras([Lora(file)]).edit(PROMPT, **given).latents)
    dense = changed(pipeline.transformer, {"double_blocks.0.img_attn.qkv": product(tensors, QKV)})
    assert_close(made.latents, Pipeline(dense, pipeline.vae, pipeline.text).edit(PROMPT, **given).latents)
    assert not torch.allclose(made.latents, before.latents)
    for bare in (pipeline, twice.without_loras()):
        assert torch.equal(bare.edit(PROMPT, **given).latents, before.latents)
    assert twice.without_loras() is once.without_loras() is pipeline
    ranged = pipeline.with_loras([Lora(file, end=0.5)]).edit(PROMPT, **given)
    assert not torch.allclose(ranged.latents, made.latents)
    assert not torch.allclose(ranged.latents, before.latents)


def test_pictures_of_references_are_encoded_once_for_all(
    pipeline: Pipeline, write: Write, pictures: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    encode = pipeline.vae.encode
    monkeypatch.setattr(pipeline.vae, "encode", lambda image: seen.append(image) or encode(image))
    made = pipeline.with_loras([Lora(clip_file(pipeline, write))])
    picture = pictures(64, 64, seed=77)
    assert torch.equal(made.encode_picture(picture)[0], pipeline.encode_picture(picture)[0])
    assert len(seen) == 1


def test_nothing_stays_behind(pipeline: Pipeline, write: Write) -> None:
    """An unused model with LoRAs is freed at once, with the factors that it had read."""
    from weakref import ref

    bare = Pipeline(pipeline.transformer, pipeline.vae, pipeline.text)
    gc.disable()
    try:
        made = bare.with_loras([Lora(clip_file(pipeline, write))])
        watched = [ref(one) for one in (made, made.text, made._attached.files[0])]
        del made
        assert [one() for one in watched] == [None] * 3
        watched = [ref(bare)]
        del bare
        assert watched[0]() is None
    finally:
        gc.enable()
