"""LoRAs: files of all communities upon the layers of the model, whose weights stay as they are.

`with_loras` makes a view of a model; `inspect_lora` says what a file is without one. Names are imported when they are asked
for: to look into a file, transformers' models need not be there.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attach import Attached, Lora, with_loras
    from .report import LoraReport, inspect_lora

__all__ = ["Attached", "Lora", "LoraReport", "inspect_lora", "with_loras"]

_HOME = {
    "Attached": "attach",
    "Lora": "attach",
    "LoraReport": "report",
    "with_loras": "attach",
    "inspect_lora": "report",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
