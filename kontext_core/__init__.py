"""FLUX.1 Kontext in plain PyTorch. Nothing here knows of ComfyUI.

The names below are what other code may hold on to. They are imported when they are asked for, so that a
program which only starts up pays for nothing.
"""

from typing import TYPE_CHECKING

from .lazy import lazy

if TYPE_CHECKING:
    from .config import FLUX_VAE, KONTEXT_DEV, PREFERRED_SIZES, TransformerConfig, VAEConfig
    from .errors import CheckpointError, TooLittleMemoryError
    from .loading import load_text_encoders, load_transformer, load_vae, save_model
    from .lora import Lora
    from .model.latents import noise, pack, unpack
    from .model.positions import layout_ids, reference_ids, target_ids, text_ids
    from .model.transformer import Transformer
    from .model.vae import VAE
    from .pipeline import Edit, Pipeline
    from .sampling.denoise import denoise
    from .sampling.references import ReferenceLatents
    from .sampling.schedule import shift_mu, sigmas

_HOME = {
    "config": ("FLUX_VAE", "KONTEXT_DEV", "PREFERRED_SIZES", "TransformerConfig", "VAEConfig"),
    "errors": ("CheckpointError", "TooLittleMemoryError"),
    "model.latents": ("noise", "pack", "unpack"),
    "loading": ("load_text_encoders", "load_transformer", "load_vae", "save_model"),
    "lora": ("Lora",),
    "pipeline": ("Edit", "Pipeline"),
    "model.positions": ("layout_ids", "reference_ids", "target_ids", "text_ids"),
    "sampling.references": ("ReferenceLatents",),
    "sampling.denoise": ("denoise",),
    "sampling.schedule": ("shift_mu", "sigmas"),
    "model.transformer": ("Transformer",),
    "model.vae": ("VAE",),
}
_MODULE_OF = {name: f".{module}" for module, names in _HOME.items() for name in names}

__all__ = [
    "FLUX_VAE",
    "KONTEXT_DEV",
    "PREFERRED_SIZES",
    "VAE",
    "CheckpointError",
    "Edit",
    "Lora",
    "Pipeline",
    "ReferenceLatents",
    "TooLittleMemoryError",
    "Transformer",
    "TransformerConfig",
    "VAEConfig",
    "denoise",
    "layout_ids",
    "load_text_encoders",
    "load_transformer",
    "load_vae",
    "noise",
    "pack",
    "reference_ids",
    "save_model",
    "shift_mu",
    "sigmas",
    "target_ids",
    "text_ids",
    "unpack",
]

__getattr__ = lazy(__name__, _MODULE_OF)
