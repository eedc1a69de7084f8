"""A ComfyUI node pack for FLUX.1 Kontext. ComfyUI loads this file by its path."""

from typing import Any

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> Any:
    """What ComfyUI asks for the nodes."""
    from .nodes import KontextExtension

    return KontextExtension()
