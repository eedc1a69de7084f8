"""Pictures to try the pack on, in a fresh installation without any file."""

from ..kontext_core.world import examples
from ._api import io, ui
from .host import versions
from .host.errors import user_errors
from .types import CATEGORY


class KontextExample(io.ComfyNode):
    """An example picture, to be replaced by Load Image."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextExample",
            display_name="Kontext Example Picture",
            category=CATEGORY,
            search_aliases=["sample image", "test image"],
            description="A picture from the world that the tiny model knows, so that workflows run out of "
            "the box. Replace this node with Load Image to use your own picture.",
            inputs=[
                io.Combo.Input(
                    "picture",
                    options=list(examples.PICTURES),
                    default=next(iter(examples.PICTURES)),
                    tooltip="What the picture shows.",
                )
            ],
            outputs=[
                io.Image.Output("IMAGE", display_name="image", tooltip="The picture, 128 x 128 pixels.")
            ],
        )

    @classmethod
    @user_errors
    def execute(cls, picture: str) -> io.NodeOutput:
        image = examples.picture(picture)
        return io.NodeOutput(image, ui=ui.PreviewImage(image, cls=cls))
