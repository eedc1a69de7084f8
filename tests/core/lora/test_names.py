"""Names are found under any prefix and wrapper; nothing in another model's file is mistaken for FLUX.1's."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kontext_core.errors import CheckpointError
from kontext_core.lora import Lora, inspect_lora
from kontext_core.lora.keys import find_target, make_names
from kontext_core.model.transformer import Transformer
from kontext_core.pipeline import Pipeline

from .conftest import Tensors, attached, low_rank, viewed
from .test_file import OTHERS

D = 32
Write = Callable[..., Path]
Inputs = Callable[..., dict[str, Tensor]]

# Modules by their names in diffusers and in the published model, and (out, in).
DIFFUSERS = {
    "transformer_blocks.1.attn.to_k": (D, D),
    "transformer_blocks.0.attn.to_out.0": (D, D),
    "single_transformer_blocks.0.attn.to_q": (D, D),
    "single_transformer_blocks.1.proj_mlp": (4 * D, D),
    "proj_out": (64, D),
}
PUBLISHED = {
    "double_blocks.1.txt_attn.qkv": (3 * D, D),
    "single_blocks.0.modulation.lin": (3 * D, D),
    "final_layer.linear": (64, D),
}


def dotted(prefix: str) -> Callable[[str], str]:
    return lambda name: prefix + name


def flat(prefix: str, end: str = "") -> Callable[[str], str]:
    return lambda name: prefix + name.replace(".", "_") + end


def inside(wrapper: str) -> Callable[[str], str]:
    """Each block by itself is wrapped."""
    return lambda name: "transformer." + name.replace(".attn.", f".{wrapper}.attn.")


USUAL: dict[str, tuple[dict[str, tuple[int, int]], Callable[[str], str]]] = {
    "PEFT below diffusers": (DIFFUSERS, dotted("transformer.base_model.model.")),
    "torch.compile": (DIFFUSERS, dotted("transformer._orig_mod.")),
    "torch.compile alone": (PUBLISHED, dotted("_orig_mod.")),
    "DDP": (DIFFUSERS, dotted("module.")),
    "DDP around torch.compile": (PUBLISHED, dotted("module._orig_mod.")),
    "FSDP": (DIFFUSERS, dotted("_fsdp_wrapped_module.transformer.")),
    "blocks compiled one by one": (DIFFUSERS, inside("_orig_mod")),
    "checkpointed blocks": (DIFFUSERS, inside("_checkpoint_wrapped_module")),
    "a layer that PEFT wraps": (PUBLISHED, lambda name: f"base_model.model.{name}.base_layer"),
    "kohya's prefix and diffusers' names": (DIFFUSERS, flat("lora_unet_")),
    "a joint at the end": (DIFFUSERS, flat("lora_unet_", "_")),
    "kohya's prefix and compiled": (PUBLISHED, flat("lora_unet__orig_mod_")),
    "kohya's prefix and dots": (PUBLISHED, dotted("lora_unet_")),
    "LyCORIS": (PUBLISHED, flat("lycoris_")),
    "OneTrainer's prefix and published names": (PUBLISHED, flat("lora_transformer_")),
    "a whole checkpoint's": (PUBLISHED, dotted("model.diffusion_model.")),
    "a whole checkpoint's and diffusers' names": (DIFFUSERS, dotted("model.diffusion_model.")),
}
UNKNOWN = {
    "dots": (DIFFUSERS, dotted("some_trainer.net_2."), "some_trainer.net_2."),
    "underscores": (PUBLISHED, flat("sometrainer_"), "sometrainer_"),
    "a wrapper between": (PUBLISHED, dotted("somebody._orig_mod."), "somebody."),
}


def drawn(names: dict[str, tuple[int, int]], form: Callable[[str], str]) -> Tensors:
    tensors: Tensors = {}
    for seed, (name, shape) in enumerate(names.items()):
        tensors |= low_rank(form(name), *shape, seed=seed)
    return tensors


@pytest.mark.parametrize(("names", "form"), USUAL.values(), ids=USUAL)
def test_prefixes_and_wrappers_that_programs_write(
    transformer: Transformer,
    inputs: Inputs,
    write: Write,
    names: dict[str, tuple[int, int]],
    form: Callable[[str], str],
) -> None:
    """Bit for bit as under the plain names, without any message."""
    plain = viewed(transformer, Lora(write(drawn(names, dotted("")), "plain.safetensors")))
    lora = Lora(write(drawn(names, form)))
    (report,) = attached(transformer, lora).reports
    assert (report.matched, report.missed, report.notes) == (len(names), "", ())
    assert torch.equal(viewed(transformer, lora)(**inputs()), plain(**inputs()))


@pytest.mark.parametrize(("names", "form", "prefix"), UNKNOWN.values(), ids=UNKNOWN)
def test_a_prefix_that_nobody_knows_is_said(
    transformer: Transformer,
    inputs: Inputs,
    write: Write,
    names: dict[str, tuple[int, int]],
    form: Callable[[str], str],
    prefix: str,
) -> None:
    plain = viewed(transformer, Lora(write(drawn(names, dotted("")), "plain.safetensors")))
    lora = Lora(write(drawn(names, form)))
    (report,) = attached(transformer, lora).reports
    title = "diffusers' names" if names is DIFFUSERS else "published names"
    assert report.notes == (
        f"names of {len(names)} modules start with {prefix!r}, which no known program writes; after the "
        f"prefix they are {title}",
    )
    assert torch.equal(viewed(transformer, lora)(**inputs()), plain(**inputs()))


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("somebody.proj_out", "a layer by itself, which any model may have"),
        ("unet.down_blocks.1.attentions.0.proj_out", "a part of a part"),
        ("model.3.transformer_blocks.0.attn.to_q", "one of several models"),
        ("transformer.joint_transformer_blocks.0.attn.to_q", "the end of a longer word"),
        ("lora_unet_joint_transformer_blocks_0_attn_to_q", "the end of a longer word"),
        ("somebody.my_double_blocks.0.img_attn.qkv", "the end of a longer word"),
        ("somebody.encoder.layers.0.self_attn.q_proj", "of any encoder"),
        ("vision_model.encoder.layers.0.self_attn.q_proj", "of pictures"),
        ("lora_unet_double_blocks.0.img_attn_qkv", "HunyuanVideo's, where FLUX.1 has a dot"),
    ],
)
def test_what_only_looks_like_a_name(write: Write, module: str, reason: str) -> None:
    with pytest.raises(CheckpointError, match=r"is a LoRA for "):
        inspect_lora(write(low_rank(module, 8, 8)))
    assert reason


def test_single_blocks_are_no_double_blocks() -> None:
    """A model with more double blocks than single ones."""
    names = make_names(6, 2, D, (), ())
    assert find_target("lora_unet_single_transformer_blocks_5_attn_to_q", names) is None
    assert find_target("transformer.single_transformer_blocks.5.attn.to_q", names) is None
    hit = find_target("lora_unet_single_transformer_blocks_1_attn_to_q", names)
    assert hit is not None
    assert hit.target.layer == "single_blocks.1.linear1"


@pytest.mark.parametrize("prefix", ["", "transformer.", "_orig_mod.", "somebody.", "lora_unet_"])
@pytest.mark.parametrize("other", OTHERS)
def test_other_models_under_any_prefix(write: Write, other: str, prefix: str) -> None:
    _, tensors = OTHERS[other]
    with pytest.raises(CheckpointError, match=r" is a LoRA for (?!a model that is not known)"):
        inspect_lora(write({prefix + key: tensor for key, tensor in tensors.items()}))


BEYOND = {
    "HunyuanVideo by diffusers": (
        "transformer_blocks.{}.attn.to_q",
        20,
        "single_transformer_blocks.{}.attn.to_q",
        40,
    ),
    "HunyuanVideo by musubi": (
        "lora_unet_double_blocks_{}_img_attn_qkv",
        20,
        "lora_unet_single_blocks_{}_linear1",
        40,
    ),
    "FLUX.2 by diffusers": (
        "transformer_blocks.{}.attn.to_q",
        8,
        "single_transformer_blocks.{}.attn.to_q",
        48,
    ),
    "Qwen-Image by diffusers": ("transformer.transformer_blocks.{}.attn.to_q", 60, "", 0),
    "a model of 24 double and 0 single": ("transformer.transformer_blocks.{}.attn.to_q", 24, "", 0),
}


@pytest.mark.parametrize("case", BEYOND)
def test_more_blocks_than_flux_has(write: Write, case: str) -> None:
    """All of them with names of FLUX.1's, which would fit in large part."""
    double, doubles, single, singles = BEYOND[case]
    tensors: Tensors = {}
    for name, count in ((double, doubles), (single, singles)):
        for number in range(count):
            tensors |= low_rank(name.format(number), 4, 4)
    with pytest.raises(CheckpointError, match=rf"is a LoRA for {case.split(' by ')[0]}[, ]"):
        inspect_lora(write(tensors))


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        (
            "transformer_blocks.0.attn.to_q",
            (1536, 1536),
            "whose layers are 1536 wide, as Stable Diffusion 3's are",
        ),
        ("double_blocks.0.img_attn.qkv", (3 * 6144, 6144), "whose layers are 6144 wide, as FLUX.2 dev's are"),
        ("double_blocks.0.img_mlp.0", (18432, 3072), "FLUX.2"),
        ("single_blocks.0.linear1", (27648, 3072), "FLUX.2"),
    ],
)
def test_shapes_of_another_model(write: Write, name: str, shape: tuple[int, int], said: str) -> None:
    with pytest.raises(CheckpointError, match=f"is a LoRA for (?:a model )?{said}"):
        inspect_lora(write(low_rank(f"diffusion_model.{name}", *shape, rank=1)))


def test_all_blocks_of_flux_are_no_other_models(write: Write) -> None:
    """Single blocks are counted apart from double ones, also where something else is unknown."""
    tensors = low_rank("transformer.single_transformer_blocks.37.attn.to_q", 3072, 3072, rank=1)
    tensors |= low_rank("transformer.transformer_blocks.18.attn.to_q", 3072, 3072, rank=1)
    report = inspect_lora(write(tensors | low_rank("transformer.what", 4, 4)))
    assert (report.matched, report.unmatched) == (2, ("transformer.what",))


def test_shapes_that_do_not_agree_say_nothing(write: Write) -> None:
    tensors = low_rank("transformer.transformer_blocks.0.attn.to_q", 1536, 1536, rank=1)
    tensors |= low_rank("transformer.transformer_blocks.1.attn.to_q", 6144, 6144, rank=1)
    assert inspect_lora(write(tensors)).matched == 2


@pytest.mark.parametrize("name", ["single_blocks.0.linear1", "double_blocks.0.img_attn.proj"])
def test_a_width_that_nobody_knows_names_no_model(write: Write, name: str) -> None:
    assert inspect_lora(write(low_rank(f"diffusion_model.{name}", 56, 8))).matched == 1


def test_mostly_unknown_names_are_another_models(write: Write) -> None:
    tensors = low_rank("transformer.proj_out", 64, 3072)
    for number in range(2):
        tensors |= low_rank(f"transformer.parts.{number}.attention", 8, 8)
    said = (
        r"only 1 of its 3 modules have names of FLUX.1's \(transformer.parts.0.attention, transformer.parts.1"
    )
    with pytest.raises(CheckpointError, match=f"is a LoRA for a model that is not known here: {said}"):
        inspect_lora(write(tensors))


@pytest.mark.parametrize(
    "prefix",
    [
        "text_encoder._orig_mod.",
        "text_encoder.base_model.model.",
        "te1.",
        "lora_te1_",
        "lycoris_te_",
        "my_text_",
    ],
)
def test_text_encoders_under_any_prefix(pipeline: Pipeline, write: Write, prefix: str) -> None:
    clip = next(
        (name, module)
        for name, module in pipeline.text.clip.named_modules()
        if name.endswith("layers.0.mlp.fc1")
    )
    name = f"text_model.{clip[0].removeprefix('text_model.')}"
    form = dotted(prefix) if prefix.endswith(".") else flat(prefix)
    file = write(low_rank(form(name), clip[1].out_features, clip[1].in_features))
    (report,) = pipeline.with_loras([Lora(file)]).lora_reports
    assert report.parts == {"clip": 1}
    assert bool(report.notes) == (prefix == "my_text_")
    t5 = next(
        (name, module)
        for name, module in pipeline.text.t5.named_modules()
        if name.endswith("block.0.layer.0.SelfAttention.q")
    )
    file = write(low_rank(form(t5[0]), t5[1].out_features, t5[1].in_features), "t5.safetensors")
    assert pipeline.with_loras([Lora(file)]).lora_reports[0].parts == {"t5": 1}


NAME = "transformer.transformer_blocks.0.attn.to_q"


def adapter(name: str, seed: int) -> Tensors:
    """A module as PEFT's own state dict has it."""
    between = f".{name}" if name else ""
    tensors = low_rank(NAME, D, D, seed=seed, alpha=None)
    return {
        f"{NAME}.lora_{end}{between}.weight": tensors[f"{NAME}.lora_{role}.weight"]
        for end, role in (("A", "down"), ("B", "up"))
    }


@pytest.mark.parametrize(
    ("names", "used", "said"),
    [
        (("style",), "style", ""),
        (
            ("style", "art"),
            "art",
            "of 2 adapters in it the adapter 'art' is used and not 'style', as PEFT uses one at",
        ),
        (("art", "default"), "default", "of 2 adapters in it the adapter 'default' is used and not 'art'"),
        (("art", ""), "", "of 2 adapters in it the one without a name is used and not 'art'"),
    ],
)
def test_adapters_by_name(
    transformer: Transformer, inputs: Inputs, write: Write, names: tuple[str, ...], used: str, said: str
) -> None:
    tensors: Tensors = {}
    for seed, name in enumerate(names):
        tensors |= adapter(name, seed)
    alone = viewed(transformer, Lora(write(adapter("", names.index(used)), "alone.safetensors")))
    lora = Lora(write(tensors))
    (report,) = attached(transformer, lora).reports
    assert said in report.missed
    assert bool(said) == bool(report.missed)
    assert torch.equal(viewed(transformer, lora)(**inputs()), alone(**inputs()))


def test_fused_projections(transformer: Transformer, inputs: Inputs, write: Write) -> None:
    """As diffusers names them after `fuse_qkv_projections`."""
    fused = {
        "transformer_blocks.0.attn.to_qkv": "double_blocks.0.img_attn.qkv",
        "transformer_blocks.1.attn.to_added_qkv": "double_blocks.1.txt_attn.qkv",
    }
    theirs = drawn(dict.fromkeys(fused, (3 * D, D)), dotted("transformer."))
    ours = drawn(dict.fromkeys(fused.values(), (3 * D, D)), dotted(""))
    expected = viewed(transformer, Lora(write(ours, "published.safetensors")))
    assert torch.equal(viewed(transformer, Lora(write(theirs)))(**inputs()), expected(**inputs()))
    single = low_rank("transformer.single_transformer_blocks.0.attn.to_qkv", 3 * D, D)
    layer = viewed(transformer, Lora(write(single, "single.safetensors"))).single_blocks[0].linear1
    assert layer.changes[0].rows == ((0, 3 * D),)
