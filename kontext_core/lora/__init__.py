"""LoRAs: files of all communities upon the layers of the model, whose weights stay as they are.

`with_loras` makes a view of a model; `inspect_lora` says what a file is without one. Names are imported when
they are asked
for: to look into a file, transformers' models need not be there.
"""

from typing import TYPE_CHECKING

from ..lazy import lazy

if TYPE_CHECKING:
    from ..model_spec import Lora
    from .attach import Attached, with_loras
    from .report import LoraReport, inspect_lora

__all__ = ["Attached", "Lora", "LoraReport", "inspect_lora", "with_loras"]

__getattr__ = lazy(
    __name__,
    {
        "Attached": ".attach",
        "Lora": "..model_spec",
        "LoraReport": ".report",
        "with_loras": ".attach",
        "inspect_lora": ".report",
    },
)
