"""The one import of ComfyUI's node API.

Where types are checked there is no ComfyUI, and everything in it is Any.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...

else:
    from comfy_api.latest import ComfyExtension, io, ui  # noqa: F401
