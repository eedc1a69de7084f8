"""Pictures to latents and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from . import convert, inputs
from ._api import io
from .host import versions
from .host.errors import user_errors
from .host.progress import stop_if_asked
from .types import CATEGORY, Latent, Model

if TYPE_CHECKING:
    from ..kontext_core.editor import Editor


class KontextEncode(io.ComfyNode):
    """Encodes to the mode of the distribution: the same picture always gives the same latent."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextEncode",
            display_name="Kontext Encode",
            category=CATEGORY,
            search_aliases=["vae encode"],
            description="Turns a picture into a latent with the model's autoencoder.",
            inputs=[
                Model.Input(
                    "model", tooltip="The model from Kontext Load Model; its autoencoder does the work."
                ),
                io.Image.Input("image", tooltip="The picture, or a batch of them, of any size."),
                inputs.fit("none"),
            ],
            outputs=[
                io.Latent.Output(
                    "LATENT", display_name="latent", tooltip="Also for ComfyUI's own FLUX.1 nodes."
                )
            ],
        )

    @classmethod
    @user_errors
    def execute(cls, model: Editor, image: Tensor, fit: str) -> io.NodeOutput:
        latents, place = model.encode_picture(convert.picture(image), fit)
        stop_if_asked()
        return io.NodeOutput(convert.to_latent(latents, model.vae_config, convert.CropFrame.of(place)))


class KontextDecode(io.ComfyNode):
    """The inverse of KontextEncode."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextDecode",
            display_name="Kontext Decode",
            category=CATEGORY,
            search_aliases=["vae decode"],
            description="Turns a latent into a picture with the model's autoencoder.",
            inputs=[
                Model.Input(
                    "model", tooltip="The model from Kontext Load Model; its autoencoder does the work."
                ),
                io.Latent.Input(
                    "latent", tooltip="From Kontext Sampler, Kontext Edit, or ComfyUI's own FLUX.1 nodes."
                ),
            ],
            outputs=[
                io.Image.Output(
                    "IMAGE",
                    display_name="image",
                    tooltip="The picture; anything that 'pad' added around it is cut off.",
                )
            ],
        )

    @classmethod
    @user_errors
    def execute(cls, model: Editor, latent: Latent) -> io.NodeOutput:
        latents, frame = convert.from_latent(latent, model.vae_config, even=False)
        picture = frame.cut(model.decode(latents))
        stop_if_asked()
        return io.NodeOutput(picture)
