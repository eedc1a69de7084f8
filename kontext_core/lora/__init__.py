"""LoRAs: files of all communities upon the layers of the model, whose weights stay as they are.

`attach` makes a view of a model; `inspect_lora` says what a file is without one.
"""

from .attach import Attached, Lora, attach
from .report import LoraReport, inspect_lora

__all__ = ["Attached", "Lora", "LoraReport", "attach", "inspect_lora"]
