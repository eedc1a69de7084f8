"""LoRAs applied to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from . import files, values
from ._api import io
from .host import folders, versions
from .host.errors import user_errors
from .host.outputs import text_output
from .types import CATEGORY, Model
from .values import FileNames

if TYPE_CHECKING:
    from ..kontext_core.editor import Editor

NONE = "none"
BESIDE, MERGED = "beside", "merged"


class KontextLora(io.ComfyNode):
    """A LoRA on a model. The model before it stays as it is; both share their weights."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextLora",
            display_name="Kontext LoRA",
            category=CATEGORY,
            search_aliases=["lora loader", "load lora", "style"],
            advanced=("start_percent", "end_percent", "apply"),
            description="Applies a LoRA to the model and reports which parts of it fit. Connect several "
            "in a row to combine them.",
            inputs=[
                Model.Input(
                    "model", tooltip="The model from Kontext Load Model, or from another Kontext LoRA."
                ),
                io.Combo.Input(
                    "lora",
                    options=FileNames([NONE, *folders.weight_files("loras")]),
                    default=NONE,
                    tooltip="A LoRA for FLUX.1 in models/loras, from any trainer. none: the model unchanged.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-4.0,
                    max=4.0,
                    step=0.05,
                    tooltip="How strongly it acts: 1 as it was trained, 0 not at all and at no cost, "
                    "below 0 in the opposite direction.",
                ),
                io.Float.Input(
                    "start_percent",
                    optional=True,
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="The share of the steps after which it acts. The words are read only once, "
                    "with the full LoRA.",
                ),
                io.Float.Input(
                    "end_percent",
                    optional=True,
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="The share of the steps up to which it acts.",
                ),
                io.Combo.Input(
                    "apply",
                    optional=True,
                    options=[BESIDE, MERGED],
                    default=BESIDE,
                    tooltip="How it is applied. beside: runs alongside the weights, whatever their form; "
                    "takes little memory and a little time per step. merged: added into copies of "
                    "the weights that it changes; takes no time per step, but the memory of those "
                    "weights once more.",
                ),
            ],
            outputs=[Model.Output("MODEL", display_name="model", tooltip="For all other Kontext nodes.")],
        )

    @classmethod
    def validate_inputs(cls, lora: str | None = None) -> bool | str:
        return values.validity(_path, lora)

    @classmethod
    def fingerprint_inputs(cls, lora: str | None = None, **_: Any) -> Any:
        try:
            if lora is None:  # it may be any of them
                return files.state_of({str(root): root for root in folders.roots_of("loras")})
            path = _path(lora)
        except ValueError as error:
            return str(error)  # which execute says
        return NONE if path is None else files.state_of({"lora": path})

    @classmethod
    @user_errors
    def execute(
        cls,
        model: Editor,
        lora: str,
        strength: float,
        start_percent: float = 0.0,
        end_percent: float = 1.0,
        apply: str = BESIDE,
    ) -> io.NodeOutput:
        from ..kontext_core.lora import Lora
        from ..kontext_core.pipeline import Pipeline

        path = _path(lora)
        if path is None:
            return io.NodeOutput(model, ui=text_output("no LoRA: the model is unchanged"))
        if not isinstance(model, Pipeline):
            raise ValueError(
                "this model is run by ComfyUI: apply the LoRA with ComfyUI's own LoRA nodes, between its "
                "loader and Kontext From ComfyUI"
            )
        with torch.inference_mode(False):  # what it reads is kept, and would be marked for ever
            changed = model.with_loras([Lora(path, strength, start_percent, end_percent, apply == MERGED)])
        return io.NodeOutput(changed, ui=text_output(*changed.lora_reports[-1].describe().splitlines()))


def _path(lora: object) -> Path | None:
    """Locate a LoRA; None is no LoRA. Raises: ValueError in one sentence if it is not there."""
    name = values.text(lora, "lora")
    if name == NONE:
        return None
    try:
        return folders.weight_path("loras", name)
    except ValueError:
        why = folders.obstacle(folders.roots_of("loras"), name)
        raise ValueError(
            f"the LoRA {values.described(name)} is not there{f' ({why})' if why else ''}: put the file into "
            f"{folders.named_folders('loras')}, or choose {NONE!r}"
        ) from None
