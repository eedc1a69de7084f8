"""LoRAs for the models that diffusers has: every linear of each, or its attention alone,
is never taken for FLUX.1's."""

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import nn

from kontext_core.config import KONTEXT_DEV
from kontext_core.errors import CheckpointError
from kontext_core.loading.empty_weights import empty_weights
from kontext_core.loading.tensors import LazyTensor
from kontext_core.lora.file import LoraFile
from kontext_core.lora.keys import published_names
from kontext_core.lora.report import match
from kontext_core.model.transformer import Transformer

# Classes at the sizes that they are published with (diffusers' defaults, but for what is given), and what is
# said.
LIKE_LTX = "LTX-Video, CogVideoX, Mochi, PixArt, Sana or the like"
MODELS: dict[str, tuple[dict[str, Any], str]] = {
    "SD3Transformer2DModel": (
        {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536, "pos_embed_max_size":
        8},
        "a model whose layers are 1536 wide, as Stable Diffusion 3's are",
    ),
    "QwenImageTransformer2DModel": ({}, "Qwen-Image"),
    "WanTransformer3DModel": ({}, "Wan"),
    "WanVACETransformer3DModel": ({}, "Wan"),
    "HunyuanVideoTransformer3DModel": ({}, "HunyuanVideo"),
    "HunyuanVideo15Transformer3DModel": ({}, "HunyuanVideo"),
    "Flux2Transformer2DModel": ({}, "FLUX.2"),
    "AuraFlowTransformer2DModel": ({}, "AuraFlow"),
    "LTXVideoTransformer3DModel": ({}, LIKE_LTX),
    "CogVideoXTransformer3DModel": ({}, LIKE_LTX),
    "MochiTransformer3DModel": ({}, LIKE_LTX),
    "PixArtTransformer2DModel": ({}, LIKE_LTX),
    "SanaTransformer2DModel": ({}, LIKE_LTX),
    "CogView4Transformer2DModel": ({}, LIKE_LTX),
    "Lumina2Transformer2DModel": ({}, "Lumina or Z-Image"),
    "ZImageTransformer2DModel": ({}, "Lumina or Z-Image"),
    "Kandinsky5Transformer3DModel": ({}, "Kandinsky 5"),
    "UNet2DConditionModel": ({"cross_attention_dim": 2048}, "SDXL"),
    "UNet3DConditionModel": ({}, "Stable Diffusion 2"),
}  # fmt: skip
PREFIXES = (
    "transformer.",
    "lora_unet_",
    "diffusion_model.",
    "base_model.model.",
    "_orig_mod.",
    "somebody.",
    "",
)


def modules_of(model: nn.Module, prefix: str, *, attention: bool) -> dict[str, dict[str, LazyTensor]]:
    """A LoRA of rank 4 upon a model's linears."""
    modules: dict[str, dict[str, LazyTensor]] = {}
    for name, linear in model.named_modules():
        if not isinstance(linear, nn.Linear) or (
            attention and not name.endswith(("to_q", "to_k", "to_v", "to_out.0"))
        ):
            continue
        shapes = {"down": (4, linear.in_features), "up": (linear.out_features, 4)}
        written = prefix + (name.replace(".", "_") if prefix.endswith("_") else name)
        modules[written] = {
            role: LazyTensor(shape, torch.float32, torch.empty) for role, shape in shapes.items()
        }
    return modules


@pytest.mark.parametrize("name", MODELS)
def test_they_are_refused_by_what_they_are_for(name: str) -> None:
    options, title = MODELS[name]
    with empty_weights():
        model = getattr(diffusers, name)(**options)
    for attention in (False, True):
        for prefix in PREFIXES:
            modules = modules_of(model, prefix, attention=attention)
            if not modules:
                continue  # Kandinsky calls them otherwise
            with pytest.raises(CheckpointError) as error:
                match(LoraFile(Path("x.safetensors"), 0, modules, {}), published_names())
            said = str(error.value).removeprefix("x.safetensors is a LoRA for ")
            wide = "a model whose layers are 6144 wide, as FLUX.2 dev's are" if title == "FLUX.2" else title
            expected = f"{wide if attention else title}, which FLUX.1 Kontext cannot use"
            assert said == expected, f"{prefix!r}, attention {attention}"


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_those_for_flux_itself_are_taken_whole(prefix: str, attention: bool) -> None:
    """In diffusers' names and in the published ones, at the published sizes."""
    with empty_weights():
        theirs = diffusers.FluxTransformer2DModel(guidance_embeds=True)
        ours = Transformer(KONTEXT_DEV)
    for model in (theirs, ours) if not attention else (theirs,):
        modules = modules_of(model, prefix, attention=attention)
        matches, report = match(LoraFile(Path("x.safetensors"), 0, modules, {}), published_names())
        assert report.unmatched == ()
        assert len(matches) == len(modules)
        for module, hit in matches.items():
            layer = ours.get_submodule(hit.target.layer)
            rows = hit.target.rows(layer.in_features, layer.out_features)
            assert sum(stop - start for start, stop in rows) == modules[module]["up"].shape[0]
            assert layer.in_features == modules[module]["down"].shape[1]
