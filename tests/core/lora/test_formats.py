"""Every naming scheme and every form of change: the same as with the change in the weights."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kontext_core.lora import Lora, inspect_lora
from kontext_core.lora.keys import FORMATS, make_names, published_names
from kontext_core.lora.roles import split_key
from kontext_core.model.transformer import Transformer

from .conftest import Tensors, attached, changed, drawn, low_rank, product, viewed

D, MLP = 32, 128  # widths of the small transformer
LINEAR1 = 3 * D + MLP
Inputs = Callable[..., dict[str, Tensor]]
# By format: its modules, the layer and the rows of each, in the order of the module's outputs.
Rows = list[tuple[int, int]]
MODULES: dict[str, dict[str, tuple[str, Rows]]] = {
    "kohya": {
        "lora_unet_img_in": ("img_in", [(0, D)]),
        "lora_unet_double_blocks_1_img_attn_qkv": ("double_blocks.1.img_attn.qkv", [(0, 3 * D)]),
        "lora_unet_double_blocks_0_txt_mod_lin": ("double_blocks.0.txt_mod.lin", [(0, 6 * D)]),
        "lora_unet_single_blocks_0_linear1": ("single_blocks.0.linear1", [(0, LINEAR1)]),
        "lora_unet_single_blocks_1_modulation_lin": ("single_blocks.1.modulation.lin", [(0, 3 * D)]),
        "lora_unet_final_layer_adaLN_modulation_1": ("final_layer.adaLN_modulation.1", [(0, 2 * D)]),
        "lora_unet_final_layer_linear": ("final_layer.linear", [(0, 64)]),
        "lora_unet_guidance_in_in_layer": ("guidance_in.in_layer", [(0, D)]),
    },
    "XLabs": {
        "double_blocks.0.processor.qkv_lora1": ("double_blocks.0.img_attn.qkv", [(0, 3 * D)]),
        "double_blocks.1.processor.qkv_lora2": ("double_blocks.1.txt_attn.qkv", [(0, 3 * D)]),
        "double_blocks.0.processor.proj_lora1": ("double_blocks.0.img_attn.proj", [(0, D)]),
        "double_blocks.0.processor.proj_lora2": ("double_blocks.0.txt_attn.proj", [(0, D)]),
        "single_blocks.1.processor.qkv_lora": ("single_blocks.1.linear1", [(0, 3 * D)]),
        "single_blocks.0.processor.proj_lora": ("single_blocks.0.linear2", [(0, D)]),
    },
    "OneTrainer": {
        "lora_transformer_transformer_blocks_0_attn_to_v": ("double_blocks.0.img_attn.qkv", [(2 * D, 3 * D)]),
        "lora_transformer_transformer_blocks_0_attn_to_q": ("double_blocks.0.img_attn.qkv", [(0, D)]),
        "lora_transformer_transformer_blocks_1_attn_add_k_proj": ("double_blocks.1.txt_attn.qkv", [(D, 2 * D)]),
        "lora_transformer_transformer_blocks_1_ff_context_net_0_proj": ("double_blocks.1.txt_mlp.0", [(0, MLP)]),
        "lora_transformer_transformer_blocks_1_norm1_linear": ("double_blocks.1.img_mod.lin", [(0, 6 * D)]),
        "lora_transformer_single_transformer_blocks_0_attn_to_k": ("single_blocks.0.linear1", [(D, 2 * D)]),
        "lora_transformer_single_transformer_blocks_0_proj_mlp": ("single_blocks.0.linear1", [(3 * D, LINEAR1)]),
        "lora_transformer_norm_out_linear": ("final_layer.adaLN_modulation.1", [(D, 2 * D), (0, D)]),
        "lora_transformer_context_embedder": ("txt_in", [(0, D)]),
    },
    "diffusers": {
        "transformer.single_transformer_blocks.1.attn.to_v": ("single_blocks.1.linear1", [(2 * D, 3 * D)]),
        "transformer.norm_out.linear": ("final_layer.adaLN_modulation.1", [(D, 2 * D), (0, D)]),
        "transformer.time_text_embed.text_embedder.linear_1": ("vector_in.in_layer", [(0, D)]),
    },
    "fal": {
        "base_model.model.single_blocks.1.linear1": ("single_blocks.1.linear1", [(0, LINEAR1)]),
        "base_model.model.double_blocks.0.img_mod.lin": ("double_blocks.0.img_mod.lin", [(0, 6 * D)]),
        "base_model.model.final_layer.linear": ("final_layer.linear", [(0, 64)]),
    },
    "ai-toolkit": {
        "diffusion_model.double_blocks.1.txt_mlp.2": ("double_blocks.1.txt_mlp.2", [(0, D)]),
        "diffusion_model.txt_in": ("txt_in", [(0, D)]),
    },
    "PEFT": {"base_model.model.transformer_blocks.0.attn.to_add_out": ("double_blocks.0.txt_attn.proj", [(0, D)])},
    "published": {"single_blocks.0.linear2": ("single_blocks.0.linear2", [(0, D)])},
    "SimpleTuner": {"lycoris_transformer_blocks_0_attn_to_k": ("double_blocks.0.img_attn.qkv", [(D, 2 * D)])},
}  # fmt: skip


@pytest.mark.parametrize("merged", [False, True], ids=["beside", "merged"])
@pytest.mark.parametrize("names", MODULES)
def test_names(
    transformer: Transformer,
    inputs: Inputs,
    write: Callable[..., Path],
    assert_close: Callable[..., float],
    names: str,
    merged: bool,
) -> None:
    tensors: Tensors = {}
    deltas: dict[str, Tensor] = {}
    for seed, (module, (layer, rows)) in enumerate(MODULES[names].items()):
        out, width = sum(stop - start for start, stop in rows), transformer.get_submodule(layer).in_features
        tensors |= low_rank(module, out, width, seed=seed)
        whole = deltas.setdefault(layer, torch.zeros_like(transformer.get_submodule(layer).weight))
        parts = product(tensors, module).split([stop - start for start, stop in rows])
        for (start, stop), part in zip(rows, parts, strict=True):
            whole[start:stop] += part
    if names == "XLabs":
        tensors = {key.replace(".lora_", "."): one for key, one in tensors.items()}
    if names in ("diffusers", "fal", "PEFT"):
        tensors = {
            key.replace("lora_down", "lora_A").replace("lora_up", "lora_B"): one
            for key, one in tensors.items()
        }
    lora = Lora(write(tensors), merged=merged)
    (report,) = attached(transformer, lora).reports
    assert (report.matched, report.unmatched, report.missed) == (len(MODULES[names]), (), "")
    assert names in report.formats[0]
    expected = changed(transformer, deltas)(**inputs(), n_target=6)
    assert (expected - transformer(**inputs(), n_target=6)).norm() > 1e-3 * expected.norm()
    assert_close(viewed(transformer, lora)(**inputs(), n_target=6), expected)


def test_every_linear_has_its_name_everywhere(transformer: Transformer) -> None:
    """In published and diffusers' names, both ways; pieces cover their layers."""
    linears = {name for name, module in transformer.named_modules() if isinstance(module, nn.Linear)}
    names = make_names(2, 2, D, (), ())
    for kind, joint in itertools.product(("published", "diffusers"), "._"):
        fused = ("attn.to_qkv".replace(".", joint), "attn.to_added_qkv".replace(".", joint))
        targets = [
            target
            for name, target in names.targets[kind][joint].items()
            if target.layer in linears and not name.endswith(fused)
        ]
        assert {one.layer for one in targets} == linears
        for layer in linears:
            module = transformer.get_submodule(layer)
            rows = [
                pair
                for one in targets
                if one.layer == layer
                for pair in one.rows(module.in_features, module.out_features)
            ]
            assert sorted(row for start, stop in rows for row in range(start, stop)) == list(
                range(module.out_features)
            )
    assert {row.names for row in FORMATS} == set(names.targets)


KRONECKER = {
    "whole": {"lokr_w1": (4, 2), "lokr_w2": (24, 16)},
    "right a product": {"lokr_w1": (4, 2), "lokr_w2_a": (24, 3), "lokr_w2_b": (3, 16)},
    "both products": {
        "lokr_w1_a": (4, 2), "lokr_w1_b": (2, 2), "lokr_w2_a": (24, 3), "lokr_w2_b": (3, 16),
    },
}  # fmt: skip
HADAMARD = {"hada_w1_a": (96, 3), "hada_w1_b": (3, 32), "hada_w2_a": (96, 3), "hada_w2_b": (3, 32)}


@pytest.mark.parametrize("merged", [False, True], ids=["beside", "merged"])
@pytest.mark.parametrize("shapes", [*KRONECKER.values(), HADAMARD], ids=[*KRONECKER, "Hadamard"])
@pytest.mark.parametrize("dora", ["", "rows", "columns"])
def test_lycoris(
    transformer: Transformer,
    inputs: Inputs,
    write: Callable[..., Path],
    assert_close: Callable[..., float],
    shapes: dict[str, tuple[int, int]],
    dora: str,
    merged: bool,
) -> None:
    """LoKr and LoHa, by themselves and with DoRA."""
    module, layer = "lora_unet_double_blocks_0_img_attn_qkv", "double_blocks.0.img_attn.qkv"
    one = {role: drawn(*shape, seed=i) for i, (role, shape) in enumerate(shapes.items())}
    if shapes is HADAMARD:
        delta = (one["hada_w1_a"] @ one["hada_w1_b"]) * (one["hada_w2_a"] @ one["hada_w2_b"]) * 2 / 3
    else:
        sides = [
            one[f"lokr_w{i}"] if f"lokr_w{i}" in one else one[f"lokr_w{i}_a"] @ one[f"lokr_w{i}_b"]
            for i in (1, 2)
        ]
        delta = torch.kron(*sides) * (1 if len(one) == 2 else 2 / 3)
    weight = transformer.get_submodule(layer).weight
    if dora:
        axis = 1 if dora == "rows" else 0
        one["dora_scale"] = weight.norm(dim=axis, keepdim=True) * 1.3
        turned = weight + delta
        delta = one["dora_scale"] * turned / turned.norm(dim=axis, keepdim=True) - weight
    file = write(
        {f"{module}.{role}": tensor for role, tensor in one.items()} | {f"{module}.alpha": torch.tensor(2.0)}
    )
    expected = changed(transformer, {layer: 0.6 * delta})(**inputs())
    assert_close(viewed(transformer, Lora(file, 0.6, merged=merged))(**inputs()), expected)


def test_dora_of_pieces_and_swapped_halves(
    transformer: Transformer, inputs: Inputs, write: Callable[..., Path], assert_close: Callable[..., float]
) -> None:
    """Norms are those of the rows that a module changes; diffusers' halves change places with them.

    Several at once.
    """
    tensors = low_rank("lora_transformer_norm_out_linear", 2 * D, D, seed=1)
    tensors |= low_rank("lora_transformer_transformer_blocks_0_attn_to_k", D, D, seed=2)
    tensors |= low_rank("lora_transformer_transformer_blocks_0_attn_to_v", D, D, seed=3)
    last, qkv = (
        transformer.final_layer.adaLN_modulation[1].weight,
        transformer.double_blocks[0].img_attn.qkv.weight,
    )
    deltas = {
        "final_layer.adaLN_modulation.1": torch.zeros_like(last),
        "double_blocks.0.img_attn.qkv": torch.zeros_like(qkv),
    }
    deltas["double_blocks.0.img_attn.qkv"][2 * D :] = product(
        tensors, "lora_transformer_transformer_blocks_0_attn_to_v"
    )
    for module, whole, weight, rows in (
        (
            "lora_transformer_norm_out_linear",
            deltas["final_layer.adaLN_modulation.1"],
            last,
            [(D, 2 * D), (0, D)],
        ),
        (
            "lora_transformer_transformer_blocks_0_attn_to_k",
            deltas["double_blocks.0.img_attn.qkv"],
            qkv,
            [(D, 2 * D)],
        ),
    ):
        own = torch.cat([weight[start:stop] for start, stop in rows])
        tensors[f"{module}.dora_scale"] = magnitude = 0.1 + drawn(len(own), 1, seed=4).abs()
        turned = own + product(tensors, module)
        change = magnitude * turned / turned.norm(dim=1, keepdim=True) - own
        for (start, stop), part in zip(
            rows, change.split([stop - start for start, stop in rows]), strict=True
        ):
            whole[start:stop] += part
    expected = changed(transformer, deltas)(**inputs())
    for merged in (False, True):
        assert_close(viewed(transformer, Lora(write(tensors), merged=merged))(**inputs()), expected)


def test_alpha_in_the_header(
    transformer: Transformer, inputs: Inputs, write: Callable[..., Path], assert_close: Callable[..., float]
) -> None:
    """What diffusers writes beside the tensors; a tensor of the module's own comes first."""
    modules = ("transformer.transformer_blocks.0.ff.net.2", "transformer.proj_out")
    plain = low_rank(modules[0], D, MLP, alpha=None) | low_rank(modules[1], 64, D, alpha=None)
    said = {"transformer.r": 3, "transformer.lora_alpha": 6, "transformer.alpha_pattern": {"net.2": 12}}
    deltas = {
        "double_blocks.0.img_mlp.2": 4 * product(plain, modules[0]),
        "final_layer.linear": 2 * product(plain, modules[1]),
    }
    file = write(plain, lora_adapter_metadata=said)
    assert_close(viewed(transformer, Lora(file))(**inputs()), changed(transformer, deltas)(**inputs()))
    own = write(
        plain | {f"{modules[1]}.alpha": torch.tensor(3.0)}, "own.safetensors", lora_adapter_metadata=said
    )
    deltas["final_layer.linear"] /= 2
    assert_close(viewed(transformer, Lora(own))(**inputs()), changed(transformer, deltas)(**inputs()))


def test_what_a_file_is_without_a_model(write: Callable[..., Path]) -> None:
    tensors = low_rank("lora_unet_double_blocks_18_img_attn_qkv", 9216, 3072, rank=16)
    tensors |= low_rank("lora_unet_single_blocks_37_linear2", 3072, 15360, rank=4)
    tensors |= low_rank("lora_te1_text_model_encoder_layers_11_mlp_fc1", 3072, 768, rank=8)
    tensors |= {"lora_te1_text_model_encoder_layers_11_mlp_fc1.dora_scale": torch.ones(3072, 1)}
    tensors |= low_rank("lora_unet_what", 8, 8) | {"lora_unet_img_in.diff_b": torch.zeros(3072)}
    tensors |= {"lora_unet_txt_in.oft_blocks": torch.zeros(2)}
    report = inspect_lora(write(tensors, "style.safetensors"))
    assert report.describe().splitlines() == [
        "style.safetensors: a LoRA in kohya's names and kohya's names of CLIP, 1.17 MiB",
        "2 x LoRA, 1 x DoRA, 1 x bias, ranks 4 to 16; modules: 3 of transformer, 1 of CLIP",
        "style.safetensors is used in part: 1 of 5 modules fit no layer here (lora_unet_what); left out: 1 x "
        "OFT",
    ]


@pytest.mark.parametrize(
    "prefix", ["lora_te2_", "lora_te3_", "text_encoder_2.", "text_encoders.t5xxl.transformer."]
)
def test_names_of_t5(prefix: str) -> None:
    joint = "_" if prefix.endswith("_") else "."
    name = prefix + "encoder.block.23.layer.0.SelfAttention.o".replace(".", joint)
    formats = [one for one in FORMATS if prefix in one.prefixes and one.names == "t5"]
    assert len(formats) == 1
    table = published_names().targets["t5"][joint]
    assert table[name.removeprefix(prefix)].layer == "encoder.block.23.layer.0.SelfAttention.o"


@pytest.mark.parametrize(
    ("key", "module", "role"),
    [
        ("a.b.lora_A.weight", "a.b", "down"),
        ("a.b.lora_B.default.weight", "a.b", "up"),
        ("a.b.lora_linear_layer.down.weight", "a.b", "down"),
        ("a.b.lora.up.weight", "a.b", "up"),
        ("a.processor.qkv_lora1.down.weight", "a.processor.qkv_lora1", "down"),
        ("a.lora_magnitude_vector.weight", "a", "magnitude"),
        ("a.hada_w2_b", "a", "hada_w2_b"),
        ("a.lora_mid.weight", "a", ""),
        ("a.b", "a.b", ""),
    ],
)
def test_keys_are_a_module_and_a_role(key: str, module: str, role: str) -> None:
    part = split_key(key)
    assert (part.module, part.role) == (module, role)
