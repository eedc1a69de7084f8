"""Many pictures as references at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..kontext_core.images.fitting import stitch
from . import convert, inputs
from ._api import io
from .host import versions
from .host.errors import user_errors
from .host.outputs import text_output
from .reference import describe
from .types import CATEGORY, Model, ReferenceInput, ReferencesSocket

if TYPE_CHECKING:
    from ..kontext_core.editor import Editor

IMAGES = ("image_1", "image_2", "image_3", "image_4")
ARRANGE = ("one reference each", "stitched into one", "one result each")


class KontextReferenceGrid(io.ComfyNode):
    """Many references; takes lists whole, so that their pictures stay together."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextReferenceGrid",
            display_name="Kontext Reference Grid",
            category=CATEGORY,
            search_aliases=["multiple references", "image stitch", "combine images"],
            description="Up to four inputs, each a picture, a batch or a list: used as separate references, "
            "stitched into one, or edited one by one.",
            inputs=[
                inputs.fit("crop"),
                io.Combo.Input(
                    "arrange",
                    options=list(ARRANGE),
                    default=ARRANGE[0],
                    tooltip="How the pictures are used. one reference each: the model sees every picture, "
                    "in order. stitched into one: side by side in one picture, which costs fewer "
                    "tokens but mixes the pictures up more easily. one result each: the pictures of "
                    "the first input are edited one by one, and those of the other inputs are shown "
                    "to all.",
                ),
                *(
                    io.Image.Input(
                        name,
                        optional=True,
                        tooltip="A picture, or a batch or list of pictures. An instruction calls it by its "
                        "number in the layout picture, such as: picture 2.",
                    )
                    for name in IMAGES
                ),
                ReferencesSocket.Input("references", optional=True, tooltip="The references before these."),
                Model.Input(
                    "model",
                    optional=True,
                    tooltip="Used only to show the sizes that this model will give the pictures; without it "
                    "the sizes of the published model are shown.",
                ),
            ],
            outputs=[
                ReferencesSocket.Output(
                    "REFERENCES", display_name="references", tooltip="All references so far, in order."
                )
            ],
            is_input_list=True,
        )

    @classmethod
    @user_errors
    def execute(
        cls,
        fit: list[str],
        arrange: list[str],
        image_1: list[Tensor] | None = None,
        image_2: list[Tensor] | None = None,
        image_3: list[Tensor] | None = None,
        image_4: list[Tensor] | None = None,
        references: list[tuple[ReferenceInput, ...]] | None = None,
        model: list[Editor] | None = None,
    ) -> io.NodeOutput:
        inputs_of = dict(zip(IMAGES, (image_1, image_2, image_3, image_4), strict=True))
        groups = {name: list(_pictures(batches)) for name, batches in inputs_of.items() if batches}
        if not groups:
            raise ValueError(f"this grid needs a picture: connect one of {', '.join(IMAGES)}")
        before = [reference for stack in references or () for reference in stack]
        arranged = _arranged(groups, arrange[0])
        added = [ReferenceInput(picture, fit=fit[0]) for _, picture in arranged]
        stack = (*before, *added)
        known = model[0] if model else None
        lines = [
            f"{source}: {describe(reference, known)}"
            for (source, _), reference in zip(arranged, added, strict=True)
        ]
        return io.NodeOutput(stack, ui=text_output(*lines))


def _pictures(batches: list[Tensor]) -> Iterable[Tensor]:
    """Split batches and lists into single pictures (1, H, W, 3)."""
    for batch in batches:
        yield from convert.picture(batch).split(1)


def _arranged(groups: dict[str, list[Tensor]], how: str) -> list[tuple[str, Tensor]]:
    """Return the pictures of the references, each with where it comes from in words."""
    named = [picture for name, pictures in groups.items() for picture in _named(name, pictures)]
    flat = [picture for _, picture in named]
    if how == ARRANGE[0]:
        return named
    if how == ARRANGE[1]:
        return [(", ".join(groups), stitch(flat))]
    (source, first), *others = groups.items()
    sizes = {tuple(picture.shape[1:3]) for picture in first}
    if len(sizes) > 1:
        listing = ", ".join(f"{width} x {height}" for height, width in sorted(sizes))
        raise ValueError(
            f"all results of one run have the same size, but the pictures of {source} have {listing} px: "
            "scale them to one size"
        )
    rest = [picture for name, pictures in others for picture in _named(name, pictures)]
    return [(source, torch.cat(first)), *rest]


def _named(name: str, pictures: list[Tensor]) -> list[tuple[str, Tensor]]:
    """Name each picture of an input, where there are several by their order."""
    count = len(pictures)
    return [
        (name if count == 1 else f"{name}, {number} of {count}", picture)
        for number, picture in enumerate(pictures, start=1)
    ]
