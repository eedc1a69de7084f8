"""The only import of ComfyUI's node API.

Type checks run without ComfyUI, where everything in it is Any.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...

else:
    from comfy_api.latest import ComfyExtension, io, ui  # noqa: F401
