"""Looking at a chain: going back, comparing, a sheet of all turns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ._api import io
from .host import folders, versions
from .host.errors import user_errors
from .host.graph import graph_texts
from .host.outputs import image_output, preview_file
from .types import CATEGORY, ChainSocket, wires_fit

if TYPE_CHECKING:
    from ..kontext_core.chain import Chain

ANIMATIONS = ("gif", "webp")
_TURN = (
    "0 is the starting picture, 1 the result of the first turn; -1 is the last turn, -2 the one before it."
)


class KontextPickTurn(io.ComfyNode):
    """An earlier turn of a chain; a turn connected after it is a branch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextPickTurn",
            display_name="Kontext Pick Turn",
            category=CATEGORY,
            search_aliases=["edit history", "undo", "go back", "branch"],
            description="Goes back to an earlier turn. Continue from there to start a branch.",
            inputs=[
                ChainSocket.Input("chain", tooltip="The turns so far."),
                io.Int.Input("turn", default=-2, min=-10_000, max=10_000, tooltip=f"Which one. {_TURN}"),
            ],
            outputs=[
                ChainSocket.Output("CHAIN", display_name="chain", tooltip="The chain as it was then."),
                io.Image.Output("IMAGE", display_name="image", tooltip="The picture as it was then."),
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, input_types: dict[str, str]) -> bool | str:
        return wires_fit(cls.define_schema(), input_types)

    @classmethod
    @user_errors
    def execute(cls, chain: Chain, turn: int) -> io.NodeOutput:
        then = chain.back_to(turn)
        words = f"turn {len(then)} of {len(chain)}: {then.last.instruction or 'the start'}"
        picture = then.picture
        return io.NodeOutput(then, picture, ui=image_output(picture, words, cls=cls))


class KontextCompare(io.ComfyNode):
    """Two turns of one chain, or of two branches."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextCompare",
            display_name="Kontext Compare",
            category=CATEGORY,
            search_aliases=["image compare", "difference", "before and after"],
            description="Two turns side by side, and what differs between them, in numbers and as a picture.",
            inputs=[
                ChainSocket.Input("chain", tooltip="The chain of the first picture."),
                io.Int.Input(
                    "turn", default=0, min=-10_000, max=10_000, tooltip=f"The first picture. {_TURN}"
                ),
                io.Int.Input(
                    "other_turn", default=-1, min=-10_000, max=10_000, tooltip=f"The second picture. {_TURN}"
                ),
                ChainSocket.Input(
                    "other",
                    optional=True,
                    tooltip="The chain of the second picture, such as another branch. If not connected: the "
                    "same chain.",
                ),
            ],
            outputs=[
                io.Image.Output("IMAGE", display_name="side by side", tooltip="Both pictures in one."),
                io.Image.Output(
                    "DIFFERENCE", display_name="difference", tooltip="Black where they are equal."
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, input_types: dict[str, str]) -> bool | str:
        return wires_fit(cls.define_schema(), input_types)

    @classmethod
    @user_errors
    def execute(cls, chain: Chain, turn: int, other_turn: int, other: Chain | None = None) -> io.NodeOutput:
        from ..kontext_core.chain import compare

        second = chain if other is None else other
        first_then, second_then = chain.back_to(turn), second.back_to(other_turn)
        comparison = compare(first_then.last.image, second_then.last.image)
        shared = chain.shared_turns(second)
        lines = [f"{comparison.changed:.1%} of the picture differs, {comparison.psnr:.1f} dB"]
        lines += [comparison.note] if comparison.note else []
        if other is not None:
            lines.append(f"they diverge after turn {shared - 1}" if shared else "they share no turn")
        pair = {
            "before": preview_file(first_then.last.image, cls=cls),
            "after": preview_file(second_then.last.image, cls=cls),
            "turns": [len(first_then), len(second_then)],
            "branches": other is not None,
        }
        preview = image_output(comparison.side_by_side, *lines, cls=cls)
        return io.NodeOutput(
            comparison.side_by_side, comparison.difference, ui={**preview, "kontext_compare": (pair,)}
        )


class KontextChainSheet(io.ComfyNode):
    """A contact sheet with captions."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextChainSheet",
            display_name="Kontext Chain Sheet",
            category=CATEGORY,
            search_aliases=["contact sheet", "edit history", "image grid"],
            description="All turns of a chain on one sheet, each with its instruction; a batch of sheets if "
            "there are many.",
            inputs=[
                ChainSocket.Input("chain", tooltip="The turns to show."),
                io.Int.Input(
                    "first",
                    default=0,
                    min=-10_000,
                    max=10_000,
                    optional=True,
                    tooltip=f"The first turn to show. {_TURN} For example, -40 shows the last 40 turns.",
                ),
                io.Combo.Input(
                    "animation",
                    options=["off", *ANIMATIONS],
                    default="off",
                    optional=True,
                    tooltip="Also saves an animated file with each turn as a frame to kontext/ in ComfyUI's output "
                    "folder: gif opens everywhere, webp is smaller and keeps all colours. At most 200 turns.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "IMAGE",
                    display_name="sheet",
                    tooltip="The sheet, for Save Image; more than 40 pictures make a batch of sheets.",
                )
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, input_types: dict[str, str]) -> bool | str:
        return wires_fit(cls.define_schema(), input_types)

    @classmethod
    @user_errors
    def execute(cls, chain: Chain, first: int = 0, animation: str = "off") -> io.NodeOutput:
        from ..kontext_core.chain import chain_sheets
        from ..kontext_core.images.picture_files import from_pil

        sheets = torch.cat([from_pil(sheet) for sheet in chain_sheets(chain, first)])
        lines = (f"{len(sheets)} sheets",) if len(sheets) > 1 else ()
        if animation != "off":
            return io.NodeOutput(sheets, ui=cls._animated(chain, first, animation, lines))
        return io.NodeOutput(sheets, ui=image_output(sheets, *lines, cls=cls))

    @classmethod
    def _animated(cls, chain: Chain, first: int, ending: str, lines: tuple[str, ...]) -> dict[str, Any]:
        """Save the chain as an animation, which the node shows in place of the sheets."""
        from ..kontext_core.chain import save_animation

        height, width = chain.last.image.shape[1:3]
        path, listed = folders.next_picture("kontext/chain", width=width, height=height, ending=ending)
        frames = save_animation(chain, path, first=first, texts=graph_texts(cls.hidden))
        shown = {"images": [listed], "text": ("\n".join((*lines, f"{frames} pictures in {path.name}")),)}
        # ComfyUI's page takes any other animated file for a video
        return {**shown, "animated": (True,)} if ending == "webp" else shown
