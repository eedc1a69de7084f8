"""The one import of ComfyUI's node API."""

from comfy_api.latest import ComfyExtension, io, ui  # pyright: ignore[reportMissingImports]

__all__ = ["ComfyExtension", "io", "ui"]
