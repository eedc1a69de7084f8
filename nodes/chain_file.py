"""Chains to PNG files and back."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from ..kontext_core.world.examples import CHAIN_FILE
from . import files, values
from ._api import io
from .host import folders, versions
from .host.errors import user_errors
from .host.graph import graph_texts
from .host.outputs import image_output
from .types import CATEGORY, ChainSocket, wires_fit
from .values import FileNames

if TYPE_CHECKING:
    from ..kontext_core.chain import Chain

EXAMPLE = "example (comes along)"


class KontextSaveChain(io.ComfyNode):
    """A PNG that restores the graph when it is dropped on the page, and the chain in KontextLoadChain."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextSaveChain",
            display_name="Kontext Save Chain",
            category=CATEGORY,
            search_aliases=["save image", "save history"],
            description="Saves the last picture as a PNG that remembers every turn before it, and the "
            "whole graph.",
            inputs=[
                ChainSocket.Input("chain", tooltip="The turns to save."),
                io.String.Input(
                    "filename_prefix",
                    default="kontext/chain",
                    tooltip="Folder and start of the file name, below ComfyUI's output folder. %year%, "
                    "%month% and similar are filled in.",
                ),
                io.Boolean.Input(
                    "latents",
                    default=True,
                    tooltip="Also write the latents of all turns to a file next to the PNG: the loaded "
                    "chain then continues bit for bit as it would have. Without them it continues "
                    "from the picture.",
                ),
            ],
            outputs=[],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, input_types: dict[str, str]) -> bool | str:
        return wires_fit(cls.define_schema(), input_types)

    @classmethod
    @user_errors
    def execute(cls, chain: Chain, filename_prefix: str, latents: bool) -> io.NodeOutput:
        from ..kontext_core.chain import save_chain

        height, width = chain.size
        path, listed = folders.next_picture(filename_prefix, width=width, height=height)
        save_chain(chain, path, latents=latents, texts=graph_texts(cls.hidden))
        return io.NodeOutput(ui={"images": [listed], "text": (f"{len(chain)} turns in {path.name}",)})


class KontextLoadChain(io.ComfyNode):
    """The chain in a file that KontextSaveChain wrote."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextLoadChain",
            display_name="Kontext Load Chain",
            category=CATEGORY,
            search_aliases=["load image", "load history", "resume"],
            description="Loads the chain from a PNG that Kontext Save Chain wrote, so that you can "
            "continue it.",
            inputs=[
                io.Combo.Input(
                    "file",
                    options=FileNames([EXAMPLE, *folders.chain_pictures()]),
                    upload=io.UploadType.image,
                    tooltip="The bundled example, a PNG in ComfyUI's input folder, or a PNG that Kontext "
                    "Save Chain wrote with its latents to the output folder. Without latents next "
                    "to the PNG, all turns but the last are small previews.",
                )
            ],
            outputs=[
                ChainSocket.Output("CHAIN", display_name="chain", tooltip="All its turns."),
                io.Image.Output("IMAGE", display_name="image", tooltip="The last picture."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return values.validity(_path, file)

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None) -> Any:
        from ..kontext_core.chain import latents_path

        names = folders.chain_pictures() if file is None else [file]  # a linked name may be any of them
        try:
            paths = [_path(name) for name in names]
        except ValueError as error:
            return str(error)  # which execute says
        return files.state_of({str(part): part for path in paths for part in (path, latents_path(path))})

    @classmethod
    @user_errors
    def execute(cls, file: str) -> io.NodeOutput:
        from ..kontext_core.chain import load_chain

        chain = load_chain(_path(file))
        words = "with" if chain.last.latents is not None else "without"
        lines = [f"{len(chain)} turns, {words} latents", *_loras(chain)]
        return io.NodeOutput(chain, chain.last.image, ui=image_output(chain.last.image, *lines, cls=cls))


def _loras(chain: Chain) -> list[str]:
    """List the LoRAs that turns were made with, and those of them that are missing here."""
    from ..kontext_core.chain.turns import lacking_loras

    here = {PurePath(name).name for name in folders.weight_files("loras")}
    turns = [
        (number, lacking_loras(turn, ()), lacking_loras(turn, here))
        for number, turn in enumerate(chain.turns)
    ]
    return [
        f"turn {number} was made with {used}" + (f"; not in models/loras: {lacking}" if lacking else "")
        for number, used, lacking in turns
        if used
    ]


def _path(file: object) -> Path:
    name = values.text(file, "file")
    return CHAIN_FILE if name == EXAMPLE else folders.picture_path(name)
