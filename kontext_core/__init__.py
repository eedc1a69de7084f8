"""FLUX.1 Kontext in plain PyTorch. Nothing here knows of ComfyUI.

The names below are what other code may hold on to. They are imported when they are asked for, so that a program which
only starts up pays for nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import FLUX_VAE, KONTEXT_DEV, PREFERRED_SIZES, TransformerConfig, VAEConfig
    from .errors import CheckpointError, TooLittleMemoryError
    from .latents import noise, pack, unpack
    from .loading import load_text_encoders, load_transformer, load_vae, save_model
    from .lora import Lora
    from .pipeline import Edit, Pipeline
    from .positions import layout_ids, reference_ids, target_ids, text_ids
    from .references import ReferenceLatents
    from .sampler import denoise
    from .schedule import shift_mu, sigmas
    from .transformer import Transformer
    from .vae import VAE

_HOME = {
    "config": ("FLUX_VAE", "KONTEXT_DEV", "PREFERRED_SIZES", "TransformerConfig", "VAEConfig"),
    "errors": ("CheckpointError", "TooLittleMemoryError"),
    "latents": ("noise", "pack", "unpack"),
    "loading": ("load_text_encoders", "load_transformer", "load_vae", "save_model"),
    "lora": ("Lora",),
    "pipeline": ("Edit", "Pipeline"),
    "positions": ("layout_ids", "reference_ids", "target_ids", "text_ids"),
    "references": ("ReferenceLatents",),
    "sampler": ("denoise",),
    "schedule": ("shift_mu", "sigmas"),
    "transformer": ("Transformer",),
    "vae": ("VAE",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

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


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
