"""Files of weights: what they are, how they become models, how models are saved. Safetensors and GGUF only.

Names are imported when they are asked for: to look into a file's header, transformers' models need not be there.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .models import load_preview, load_transformer, load_vae
    from .recognise import inspect
    from .report import FileReport
    from .save import save_model
    from .text_encoders import load_text_encoders

__all__ = [
    "FileReport",
    "inspect",
    "load_preview",
    "load_text_encoders",
    "load_transformer",
    "load_vae",
    "save_model",
]

_HOME = {
    "FileReport": "report",
    "inspect": "recognise",
    "load_preview": "models",
    "load_text_encoders": "text_encoders",
    "load_transformer": "models",
    "load_vae": "models",
    "save_model": "save",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
