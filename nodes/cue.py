"""Marks and areas drawn on a picture."""

from __future__ import annotations

from torch import Tensor

from ..kontext_core.images.marks import draw_marks, mask_of, parse_marks
from . import convert, values
from ._api import io
from .host import versions
from .host.errors import user_errors
from .host.outputs import image_output
from .types import CATEGORY

_EXAMPLE = '{"version": 1, "marks": [{"kind": "ellipse", "points": [[0.2, 0.2], [0.6, 0.5]]}]}'


class KontextVisualCue(io.ComfyNode):
    """The paper's visual cues: point at a thing and refer to it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextVisualCue",
            display_name="Kontext Visual Cue",
            category=CATEGORY,
            search_aliases=["draw", "annotate", "bounding box", "arrow", "visual prompt"],
            has_intermediate_output=True,
            description="Draws ellipses, boxes, arrows, lines or words on a picture so that an instruction "
            "can refer to them: 'make the thing in the red ellipse blue'. An area drawn on it becomes a mask.",
            inputs=[
                io.Image.Input("image", tooltip="The picture to draw on; in a batch, each picture."),
                io.String.Input(
                    "marks",
                    multiline=True,
                    default="",
                    placeholder=_EXAMPLE,
                    tooltip="The marks as JSON, which 'Draw on the picture' writes for you. Coordinates are "
                    "fractions of width and height, so they fit every size. The help page lists all "
                    "kinds of mark.",
                ),
            ],
            outputs=[
                io.Image.Output("IMAGE", display_name="image", tooltip="The picture with the marks."),
                io.Mask.Output(
                    "MASK",
                    display_name="mask",
                    tooltip="Where the picture may change: white in the drawn area; all white if none is drawn.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, marks: str | None = None) -> bool | str:
        return values.validity(check_marks, marks)

    @classmethod
    @user_errors
    def execute(cls, image: Tensor, marks: str) -> io.NodeOutput:
        picture = convert.picture(image)
        parsed = parse_marks(marks)
        drawn, mask = draw_marks(picture, parsed), mask_of(parsed, *picture.shape[1:3])[None]
        beneath = image_output(picture[:1], cls=cls)["images"]  # what the page's editor shows to draw upon
        return io.NodeOutput(drawn, mask, ui={**image_output(drawn, cls=cls), "beneath": beneath})


def check_marks(marks: object) -> None:
    """Raise ValueError in one sentence about marks that cannot be drawn."""
    parse_marks(values.text(marks, "marks"))
