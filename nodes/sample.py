"""The sampler, with every setting and a live preview."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from . import convert, inputs
from ._api import io
from .conditioning import Request
from .host import versions
from .host.errors import user_errors
from .host.outputs import collect_warnings, text_output
from .preview import progress
from .reference import encoded
from .types import (
    CATEGORY,
    EncodedPrompt,
    Latent,
    Model,
    Prompt,
    PromptSocket,
    ReferenceInput,
    ReferencesSocket,
)

if TYPE_CHECKING:
    from ..kontext_core.editor import Editor

_MOST_PX = 16_384  # as in the nodes of ComfyUI that make a picture of a size
_SIDE = (
    "0 takes it from the start (which allows no other size), else from the first reference, else from the "
    "model's first preferred size. Rounded to a multiple of 16; the node then says so."
)


class KontextSampler(io.ComfyNode):
    """From noise, words and references to a latent."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextSampler",
            display_name="Kontext Sampler",
            category=CATEGORY,
            search_aliases=["ksampler", "text to image", "denoise"],
            advanced=(
                "cfg",
                "layout",
                "shift",
                "solver",
                "approximate",
                "approximate_number",
                *inputs.GUIDING,
            ),
            description="Makes a picture from words alone, or edits the reference pictures by instruction.",
            inputs=[
                Model.Input("model", tooltip="The model from Kontext Load Model."),
                PromptSocket.Input("prompt", tooltip="The words from Kontext Prompt."),
                ReferencesSocket.Input(
                    "references",
                    optional=True,
                    tooltip="Pictures for the model to look at, from Kontext Reference. None: text to image.",
                ),
                io.Latent.Input(
                    "start",
                    optional=True,
                    tooltip="A latent to start from instead of pure noise; see strength.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the start may change (white), in whole tokens of 16 px; elsewhere its "
                    "latent is kept.",
                ),
                io.Int.Input(
                    "width", default=0, min=0, max=_MOST_PX, step=16, tooltip=f"Width in pixels. {_SIDE}"
                ),
                io.Int.Input(
                    "height", default=0, min=0, max=_MOST_PX, step=16, tooltip=f"Height in pixels. {_SIDE}"
                ),
                inputs.steps(),
                inputs.guidance(),
                inputs.cfg(),
                inputs.seed(),
                inputs.layout(),
                io.Int.Input(
                    "batch",
                    default=1,
                    **inputs.limits("batch"),
                    tooltip="How many pictures are made at once, all different.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    **inputs.limits("strength", float),
                    step=0.01,
                    tooltip="The share of the steps that is run on the start: 0 keeps it, 1 starts from pure "
                    "noise.",
                ),
                inputs.shift(),
                inputs.solver(),
                inputs.approximate(),
                inputs.approximate_number(),
                *inputs.guiding(),
            ],
            outputs=[
                io.Latent.Output(
                    "LATENT", display_name="latent", tooltip="For Kontext Decode, or to use as a reference."
                )
            ],
        )

    @classmethod
    @user_errors
    def execute(
        cls,
        model: Editor,
        prompt: Prompt | EncodedPrompt,
        width: int,
        height: int,
        steps: int,
        guidance: float,
        cfg: float,
        seed: int,
        layout: str,
        batch: int,
        strength: float,
        shift: float,
        references: tuple[ReferenceInput, ...] | None = None,
        start: Latent | None = None,
        mask: Tensor | None = None,
        solver: str = "euler",
        approximate: str = "off",
        approximate_number: float = 0.0,
        nag: float = 1.0,
        cfg_to: float = 1.0,
    ) -> io.NodeOutput:
        with collect_warnings() as notes:
            request = Request.of(prompt, references, guidance, layout, notes)
            ref_latents, frame = encoded(model, request.references)
            start_latents, start_mask = None, None
            if start is not None:
                start_latents, frame = convert.from_latent(start, model.vae_config)
                mask = start.get("noise_mask") if mask is None else mask
            if mask is not None:
                if start is None:
                    raise ValueError(
                        "a mask needs a start to keep parts of: connect 'start', or disconnect 'mask'"
                    )
                start_mask = convert.latent_mask(mask, start)
            latents = model.sample(
                prompt.encoded(model),
                ref_latents,
                settings=inputs.edit_settings(
                    height=height,
                    width=width,
                    batch=batch,
                    steps=steps,
                    guidance=request.guidance,
                    seed=seed,
                    shift=shift,
                    layout=request.layout or "auto",
                    cfg=cfg,
                    strength=strength,
                    solver=solver,
                    approximate=approximate,
                    approximate_number=approximate_number,
                    nag=nag,
                    cfg_to=cfg_to,
                ),
                negative=None if cfg == nag == 1.0 else prompt.encoded_negative(model),
                start=start_latents,
                mask=start_mask,
                callback=progress(model),
            )
        own_size = convert.CropFrame() if width or height else frame
        return io.NodeOutput(convert.to_latent(latents, model.vae_config, own_size), ui=text_output(*notes))
