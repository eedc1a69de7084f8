"""Reference pictures, one upon the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from ..kontext_core.config import PREFERRED_SIZES
from ..kontext_core.images import canvas_size
from ..kontext_core.latents import LATENT_PX, TOKEN_PX
from . import convert, host, inputs
from ._api import io
from .types import CATEGORY, Latent, Model, Reference, ReferencesSocket, one_of

if TYPE_CHECKING:
    from ..kontext_core.pipeline import Pipeline


class KontextReference(io.ComfyNode):
    """Holds the picture; the sampler encodes it, once for each autoencoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="KontextReference",
            display_name="Kontext Reference",
            category=CATEGORY,
            description="A picture for the model to look at. Chain several to show several; the first one sets the size.",
            inputs=[
                inputs.fit("crop"),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The picture. In a batch, each picture makes a result of its own.",
                ),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="In place of a picture: the latent of an earlier result, which need not be encoded again.",
                ),
                ReferencesSocket.Input(
                    "references",
                    optional=True,
                    tooltip="The references before this one, from another Kontext Reference.",
                ),
                Model.Input(
                    "model",
                    optional=True,
                    tooltip="Only to show the size that this model will give the picture; "
                    "without it the sizes of the published model are shown.",
                ),
            ],
            outputs=[
                ReferencesSocket.Output(
                    "REFERENCES", display_name="references", tooltip="All references so far, in order."
                )
            ],
        )

    @classmethod
    @host.explained
    def execute(
        cls,
        fit: str,
        image: Tensor | None = None,
        latent: Latent | None = None,
        references: tuple[Reference, ...] | None = None,
        model: Pipeline | None = None,
    ) -> io.NodeOutput:
        one_of(image, latent, "this reference")
        reference = Reference(None if image is None else convert.picture(image), latent, fit)
        stack = (*(references or ()), reference)
        return io.NodeOutput(stack, ui=host.say(f"reference {len(stack)}: {describe(reference, model)}"))


def describe(reference: Reference, model: Pipeline | None) -> str:
    """The size that the model will see, and the tokens it costs."""
    if reference.latent is not None:
        height, width = (side * LATENT_PX for side in reference.latent["samples"].shape[-2:])
        start = f"a latent of {width} x {height} px"
    else:
        assert reference.picture is not None
        own_height, own_width = reference.picture.shape[1:3]
        sizes = PREFERRED_SIZES if model is None else model.transformer.config.preferred_sizes
        height, width = canvas_size(own_height, own_width, sizes, reference.fit)
        start = f"{own_width} x {own_height} px"
        if (height, width) != (own_height, own_width):
            start += f", {_FITTED[reference.fit]} {width} x {height} px"
    tokens = -(-height // TOKEN_PX) * -(-width // TOKEN_PX)
    unsure = reference.latent is None and reference.fit != "none" and model is None
    return f"{start}, {tokens} tokens{' (published model; connect yours to be sure)' if unsure else ''}"


_FITTED = {"crop": "cropped to", "pad": "padded to", "stretch": "stretched to", "none": "filled up to"}


def encoded(model: Pipeline, references: Sequence[Reference]) -> tuple[list[Tensor], convert.Frame]:
    """Latents of all references, and the frame of the first, which a result of its size has too."""
    latents: list[Tensor] = []
    frames: list[convert.Frame] = []
    for reference in references:
        host.stop_if_asked()
        if reference.latent is not None:
            one, frame = convert.from_latent(reference.latent, model.vae.config)
        else:
            assert reference.picture is not None
            one, place = model.encode_reference(reference.picture, reference.fit)
            frame = convert.Frame.of(place)
        latents.append(one)
        frames.append(frame)
    return latents, frames[0] if frames else convert.Frame()
