"""Files of weights: what they are, how they become models, how models are saved. Safetensors and GGUF only.

Names are imported when they are asked for: to look into a file's header, transformers' models need not be
there.
"""

from typing import TYPE_CHECKING

from ..lazy import lazy

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

__getattr__ = lazy(
    __name__,
    {
        "FileReport": ".report",
        "inspect": ".recognise",
        "load_preview": ".models",
        "load_text_encoders": ".text_encoders",
        "load_transformer": ".models",
        "load_vae": ".models",
        "save_model": ".save",
    },
)
