"""A model that ComfyUI has loaded, for the nodes of this pack."""

from __future__ import annotations

from typing import Any

from ._api import io
from .host import versions
from .host.errors import user_errors
from .host.outputs import text_output
from .types import CATEGORY, Model


class KontextFromComfyUI(io.ComfyNode):
    """A model from stock, GGUF or Nunchaku loaders, with stock LoRA nodes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextFromComfyUI",
            display_name="Kontext From ComfyUI",
            category=CATEGORY,
            search_aliases=["model clip vae", "stock loader", "gguf", "nunchaku"],
            description="Passes a FLUX.1 Kontext from ComfyUI's loaders, with any LoRAs on it, to all "
            "other Kontext nodes.",
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="FLUX.1 Kontext from any loader, with or without LoRA nodes after it. ComfyUI "
                    "runs it and manages its memory.",
                ),
                io.Clip.Input(
                    "clip", tooltip="The text encoders of FLUX.1, CLIP-L and T5-XXL, from DualCLIPLoader."
                ),
                io.Vae.Input("vae", tooltip="The autoencoder of FLUX.1, from Load VAE."),
            ],
            outputs=[Model.Output("MODEL", display_name="model", tooltip="For all other Kontext nodes.")],
        )

    @classmethod
    @user_errors
    def execute(cls, model: Any, clip: Any, vae: Any) -> io.NodeOutput:
        from .comfy_editor import HostedEditor

        editor = HostedEditor(model, clip, vae)
        return io.NodeOutput(editor, ui=text_output(*editor.describe()))
