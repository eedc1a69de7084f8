"""The tiny model as ComfyUI's own MODEL, CLIP and VAE, which its loaders cannot make:
they fix the published sizes.

ComfyUI's FLUX.1 with the tiny weights; its CLIP and VAE classes around our text encoders and autoencoder. As
a node pack it gives a ComfyUI under test the loader "LoadTinyStock".
"""

import copy
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Stock(NamedTuple):
    """ComfyUI's MODEL, CLIP and VAE."""

    model: Any
    clip: Any
    vae: Any


def stock_parts(pipeline: Any) -> Stock:
    """The parts of a `Pipeline` as ComfyUI's, on the CPU in float32, with weights of their own."""
    return Stock(stock_model(pipeline), stock_clip(pipeline.text), stock_vae(pipeline.vae))


def stock_model(pipeline: Any, **changes: Any) -> Any:
    """A ModelPatcher with `comfy.model_base.Flux`.

    Args:
        changes: of its configuration.
    """
    import comfy.ldm.flux.model as flux
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models

    config = asdict(pipeline.transformer.config)
    for name in ("text_length", "preferred_sizes", "layout"):
        del config[name]
    config |= {"image_model": "flux", "in_channels": 16, "out_channels": 16, "patch_size": 2}
    config |= {"axes_dim": list(config["axes_dim"]), "dtype": torch.float32} | changes
    # Newer ones count the words, where a model has it so.
    if "txt_ids_dims" in flux.FluxParams.__dataclass_fields__:
        config["txt_ids_dims"] = []
    known = comfy.supported_models.Flux(config)
    known.latent_format.scale_factor = pipeline.vae.config.scale_factor
    known.latent_format.shift_factor = pipeline.vae.config.shift_factor
    with torch.inference_mode(False):
        base = comfy.model_base.Flux(known, device=torch.device("cpu"))
        weights = known.process_unet_state_dict(pipeline.transformer.state_dict())  # by its own names
        base.diffusion_model.load_state_dict(weights, strict=not changes)
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(base, load_device=cpu, offload_device=cpu)


class _Words:
    """A tokenizer that leaves the words as they are."""

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **_: Any) -> Any:
        return {"l": text, "t5xxl": text}


class _Encoders(nn.Module):
    def __init__(self, text: Any) -> None:
        super().__init__()
        self.text = text

    def reset_clip_options(self) -> None: ...
    def set_clip_options(self, options: Any) -> None: ...

    def encode_token_weights(self, tokens: Any) -> tuple[Tensor, Tensor]:
        return self.text.encode(tokens["t5xxl"])


def stock_clip(text: Any) -> Any:
    """A `comfy.sd.CLIP` around our text encoders."""
    import comfy.model_patcher
    import comfy.sd

    clip = comfy.sd.CLIP(no_init=True)
    clip.cond_stage_model = _Encoders(text)
    clip.tokenizer = _Words()
    cpu = torch.device("cpu")
    clip.patcher = comfy.model_patcher.ModelPatcher(
        clip.cond_stage_model, load_device=cpu, offload_device=cpu
    )
    clip.layer_idx = None
    clip.use_clip_schedule = False
    clip.apply_hooks_to_conds = None
    clip.tokenizer_options = {}
    return clip


class _Autoencoder(nn.Module):
    """Unscaled latents, as ComfyUI's autoencoders have them."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def encode(self, pixels: Tensor) -> Tensor:
        return self.vae.posterior(pixels)[0]

    def decode(self, samples: Tensor) -> Tensor:
        return self.vae.decoder(samples)


def stock_vae(vae: Any) -> Any:
    """A `comfy.sd.VAE` around our autoencoder."""
    import comfy.model_patcher
    import comfy.sd

    made = comfy.sd.VAE({})  # sets up how it is used, and finds no weights
    made.first_stage_model = _Autoencoder(copy.deepcopy(vae))
    made.latent_channels = vae.config.z_channels
    cpu = torch.device("cpu")
    made.device = made.output_device = cpu
    made.vae_dtype = torch.float32
    made.patcher = comfy.model_patcher.ModelPatcher(
        made.first_stage_model, load_device=cpu, offload_device=cpu
    )
    return made


class LoadTinyStock:
    """The model that comes along with the pack, as stock loaders would give it."""

    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION = "load"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {}}

    def load(self) -> Stock:
        from kontext_core.pipeline import Pipeline

        with torch.inference_mode(False):
            return stock_parts(Pipeline.load("tiny", device="cpu"))


NODE_CLASS_MAPPINGS = {"LoadTinyStock": LoadTinyStock}
