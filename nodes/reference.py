"""Reference pictures, as a stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from ..kontext_core.checks.ranges import REFERENCE_STRENGTH
from ..kontext_core.config import PREFERRED_SIZES
from ..kontext_core.images.fitting import Placement, canvas_size, on_canvas
from ..kontext_core.model.latents import TOKEN_PX, size_px
from ..kontext_core.sampling.references import ReferenceLatents, region_tokens
from . import convert, inputs
from ._api import io
from .host import versions
from .host.errors import user_errors
from .host.outputs import text_output
from .host.progress import stop_if_asked
from .types import CATEGORY, Latent, Model, ReferenceInput, ReferencesSocket, one_of
from .values import described

if TYPE_CHECKING:
    from ..kontext_core.editor import Editor

MOST_TOKENS = 1_000_000  # of one picture
_PLACE_DIGITS = 6  # position ids are float32, which is exact to 2**24


class KontextReference(io.ComfyNode):
    """A picture to look at; the sampler encodes it, once for each autoencoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextReference",
            display_name="Kontext Reference",
            category=CATEGORY,
            search_aliases=["reference image", "reference latent", "image prompt"],
            advanced=("max_tokens", "place"),
            description="A picture for the model to look at. Chain several nodes to show several "
            "pictures; the first one sets the size.",
            inputs=[
                inputs.fit("crop"),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The picture. In a batch, each picture gives its own result.",
                ),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="Instead of a picture: the latent of an earlier result, which need not be "
                    "encoded again.",
                ),
                ReferencesSocket.Input(
                    "references",
                    optional=True,
                    tooltip="The references before this one, from another Kontext Reference.",
                ),
                Model.Input(
                    "model",
                    optional=True,
                    tooltip="Used only to show the size that this model will give the picture; without it "
                    "the sizes of the published model are shown.",
                ),
                io.Float.Input(
                    "strength",
                    optional=True,
                    default=1.0,
                    min=float(REFERENCE_STRENGTH.low or 0),
                    max=float(REFERENCE_STRENGTH.high),
                    step=0.05,
                    tooltip="How strongly the result draws on this picture. 0 leaves it out, 1 is the model "
                    "as it was trained and costs nothing extra, 2 counts it double.",
                ),
                io.Int.Input(
                    "max_tokens",
                    optional=True,
                    default=0,
                    min=0,
                    max=MOST_TOKENS,
                    tooltip="A larger picture is scaled down to this many tokens (of 16 x 16 px), which "
                    "saves time and memory. 0: no limit.",
                ),
                io.String.Input(
                    "place",
                    optional=True,
                    default="",
                    tooltip="For experts: index, row and column of its corner, in tokens, such as 1 0 64. "
                    "If empty, the layout places it.",
                ),
                io.Mask.Input(
                    "region",
                    optional=True,
                    tooltip="The model looks only at the parts of the picture that are white here, each "
                    "in its own place.",
                ),
                io.String.Input(
                    "name",
                    optional=True,
                    default="",
                    tooltip="Your name for this picture, such as: the hat. It is shown in the node and in "
                    "the layout picture so that you can tell the references apart; the model does "
                    "not read it. An instruction calls it by its number in the layout picture, such as: "
                    "picture 2.",
                ),
            ],
            outputs=[
                ReferencesSocket.Output(
                    "REFERENCES", display_name="references", tooltip="All references so far, in order."
                )
            ],
        )

    @classmethod
    @user_errors
    def execute(
        cls,
        fit: str,
        image: Tensor | None = None,
        latent: Latent | None = None,
        references: tuple[ReferenceInput, ...] | None = None,
        model: Editor | None = None,
        strength: float = 1.0,
        max_tokens: int = 0,
        place: str = "",
        region: Tensor | None = None,
        name: str = "",
    ) -> io.NodeOutput:
        one_of(image, latent, "this reference")
        picture = None if image is None else convert.picture(image)
        corner = place_of(place)
        reference = ReferenceInput(picture, latent, fit, strength, max_tokens or None, region, corner)
        stack = (*(references or ()), reference)
        words = ": ".join(part for part in (name.strip(), describe(reference, model)) if part)
        summary = text_output(words, kontext_size=[own_size(reference)])
        return io.NodeOutput(stack, ui=summary)


def place_of(text: str) -> tuple[int, int, int] | None:
    """Read a place as it is written in the node. Raises: ValueError unless it is three numbers, or empty."""
    numbers = text.replace(",", " ").split()
    if not numbers:
        return None
    if len(numbers) != 3 or not all(
        number.isdecimal() and len(number) <= _PLACE_DIGITS for number in numbers
    ):
        raise ValueError(
            f"place is {described(text)}; it must be empty, or three whole numbers from 0 up of at most "
            f"{_PLACE_DIGITS} digits: index, row and column, such as 1 0 64"
        )
    index, row, column = map(int, numbers)
    return index, row, column


def own_size(reference: ReferenceInput) -> tuple[int, int]:
    """Return (height, width) in pixels of the picture before it is fitted, or of the latent."""
    if reference.latent is not None:
        return size_px(reference.latent["samples"])
    assert reference.picture is not None
    height, width = reference.picture.shape[1:3]
    return height, width


def describe(reference: ReferenceInput, model: Editor | None) -> str:
    """Describe the size that the model will see, and the tokens it costs."""
    if reference.latent is not None:
        height, width = own_size(reference)
        start = f"a latent of {width} x {height} px"
    else:
        own_height, own_width = own_size(reference)
        sizes = PREFERRED_SIZES if model is None else model.preferred_sizes
        height, width = canvas_size(own_height, own_width, sizes, reference.fit, reference.most_tokens)
        start = f"{own_width} x {own_height} px"
        if (height, width) != (own_height, own_width):
            start += f", {_FITTED[reference.fit]} {width} x {height} px"
    tokens = -(-height // TOKEN_PX) * -(-width // TOKEN_PX)
    unsure = reference.latent is None and reference.fit != "none" and model is None
    words = f"{tokens} tokens" if reference.region is None else f"a region of its {tokens} tokens"
    if reference.strength != 1.0:
        words += f", strength {reference.strength:g}" if reference.strength else ", left out"
    return f"{start}, {words}{' (published model; connect yours to be sure)' if unsure else ''}"


_FITTED = {"crop": "cropped to", "pad": "padded to", "stretch": "stretched to", "none": "filled up to"}


def encoded(
    model: Editor, references: Sequence[ReferenceInput]
) -> tuple[list[Tensor | ReferenceLatents], convert.CropFrame]:
    """Encode all references for the sampler, with the frame of the first, for results of its size."""
    result: list[Tensor | ReferenceLatents] = []
    frames: list[convert.CropFrame] = []
    for reference in references:
        latents, place, frame = latents_of(model, reference)
        frames.append(frame)
        if (reference.strength, reference.region, reference.place) == (1.0, None, None):
            result.append(latents)
            continue
        size = (latents.shape[-2] // 2, latents.shape[-1] // 2)
        region = None if reference.region is None else _region(reference.region, size, place)
        result.append(ReferenceLatents(latents, reference.strength, region, reference.place))
    return result, frames[0] if frames else convert.CropFrame()


def latents_of(
    model: Editor, reference: ReferenceInput
) -> tuple[Tensor, Placement | None, convert.CropFrame]:
    """Encode one reference: latents, the picture's place on the canvas, and the frame to cut results with."""
    stop_if_asked()
    if reference.latent is not None:
        latents, frame = convert.from_latent(reference.latent, model.vae_config)
        return latents, frame.on(size_px(latents)), frame
    assert reference.picture is not None
    latents, place = model.encode_picture(reference.picture, reference.fit, most_tokens=reference.most_tokens)
    stop_if_asked()
    return latents, place, convert.CropFrame.of(place)


def _region(mask: Tensor, size: tuple[int, int], place: Placement | None) -> Tensor:
    """Convert a MASK (B, H, W) over the picture to tokens of its canvas, fitted the way the picture was."""
    flat = mask.reshape(-1, *mask.shape[-2:])
    if flat.shape[0] != 1:
        raise ValueError(
            f"the region is a batch of {flat.shape[0]} masks, but all pictures of a reference share one "
            "region: take one mask out of it"
        )
    return region_tokens(flat[0] if place is None else on_canvas(flat[0], place), size)
