"""One edit in one box."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

from torch import Tensor

from ..kontext_core.images.fitting import fit_words
from ..kontext_core.images.masks import canvas_mask, sampler_mask
from ..kontext_core.images.outside import Before, Kept, describe, what_to_keep
from ..kontext_core.images.put_back import seen_window
from ..kontext_core.model.latents import size_px
from ..kontext_core.sampling.detail import DetailPass
from . import convert, inputs
from ._api import io
from .host import versions
from .host.errors import user_errors
from .host.outputs import changes_output, collect_warnings, image_output
from .host.progress import stop_if_asked
from .preview import progress
from .reference import encoded, latents_of
from .types import CATEGORY, Latent, Model, ReferenceInput, ReferencesSocket, one_of, outside_outputs

if TYPE_CHECKING:
    from ..kontext_core.editor import Editor
    from ..kontext_core.images.fitting import Placement


class KontextEdit(io.ComfyNode):
    """Prompt, reference, sampler and decoder together; its outputs fit its own inputs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextEdit",
            display_name="Kontext Edit",
            category=CATEGORY,
            search_aliases=["edit image", "image to image", "inpaint", "instruct", "flux kontext"],
            advanced=("layout", "feather", *inputs.EDITING),
            essentials_category="Image Tools",
            description="Edits a picture as instructed. Connect several in a row for several turns: image "
            "to image, or latent to latent, which loses nothing between turns.",
            inputs=[
                Model.Input("model", tooltip="The model from Kontext Load Model."),
                inputs.instruction("instruction"),
                inputs.seed(),
                inputs.steps(),
                inputs.guidance(),
                inputs.fit("crop"),
                inputs.layout(),
                io.Image.Input(
                    "image", optional=True, tooltip="The picture to edit. In a batch, each picture is edited."
                ),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="Instead of a picture: the latent of the previous turn, which need not be "
                    "encoded again.",
                ),
                ReferencesSocket.Input(
                    "references",
                    optional=True,
                    tooltip="More pictures for the model to look at, from Kontext Reference.",
                ),
                inputs.mask(),
                inputs.feather(),
                *inputs.sampling(),
                *inputs.editing(),
            ],
            outputs=[
                io.Image.Output("IMAGE", display_name="image", tooltip="The result."),
                io.Latent.Output(
                    "LATENT", display_name="latent", tooltip="The same, for the next turn's 'latent'."
                ),
                *outside_outputs(),
            ],
            is_output_node=True,
        )

    @classmethod
    @user_errors
    def execute(
        cls,
        model: Editor,
        instruction: str,
        seed: int,
        steps: int,
        guidance: float,
        fit: str,
        layout: str,
        image: Tensor | None = None,
        latent: Latent | None = None,
        references: tuple[ReferenceInput, ...] | None = None,
        mask: Tensor | None = None,
        feather: int = inputs.FEATHER_PX,
        **editing: Unpack[inputs.Editing],
    ) -> io.NodeOutput:
        one_of(image, latent, "this edit")
        settings = inputs.edit_settings(
            seed=seed, steps=steps, guidance=guidance, layout=layout, feather=feather, **editing
        )
        own = ReferenceInput(None if image is None else convert.picture(image), latent, fit)
        keep = what_to_keep(settings.keep_outside, True, mask)
        known = None if latent is None else convert.shown_picture(latent)
        with collect_warnings() as notes:
            before, place, frame = latents_of(model, own)
            others, _ = encoded(model, references or ())
            full = _full_picture(own, place, known) if settings.size == "original" else None
            lies = place if full is None else full.place
            allowed = None if mask is None else canvas_mask(mask, size_px(before), lies)
            away = settings.negative_prompt
            latents = model.sample(
                model.encode_prompt(instruction),
                [before, *others],
                settings=settings,
                negative=None if away is None else model.encode_prompt(away),
                start=None if allowed is None else before,
                mask=None if allowed is None else sampler_mask(allowed, feather),
                callback=progress(model),
            )
            if keep == "off":
                result = Kept.nothing(model.decode(latents))
            else:
                canvas = _canvas(model, own, known, before)
                result, latents = model.put_into(Before(canvas, before, place), latents, allowed, feather)
            shown = result.image
            result = result.each(frame.cut)
            if full is not None:
                window = seen_window(full.place, full.fit)
                detail = DetailPass(model, instruction, settings, callback=progress(model))
                result = result.put_back(full.image, window, mask, feather, detail)
                full = replace(full, image=result.image)
            stop_if_asked()
        edited = convert.to_latent(
            latents,
            model.vae_config,
            frame,
            shown=None if keep == "off" else shown,
            full=full,
        )
        fitted = "" if image is None else fit_words(place)
        report = describe(result.reports)
        return io.NodeOutput(
            result.image,
            edited,
            result.blend,
            report,
            ui=image_output(result.image, *filter(None, [fitted, report, *notes]), cls=cls)
            | changes_output(result.blend),
        )


def _canvas(model: Editor, own: ReferenceInput, known: convert.ShownPicture | None, before: Tensor) -> Tensor:
    """Make the picture before the edit, as the model sees it.

    Args:
        known: what the latent was made with, if it is known.
        before: its latents.
    """
    if own.picture is not None:
        return model.canvas_of(own.picture, own.fit)
    return model.decode(before) if known is None else known.image


def _full_picture(
    own: ReferenceInput, place: Placement | None, known: convert.ShownPicture | None
) -> convert.FullPicture | None:
    """Find the picture before the edit at its own size; None where a latent does not know it.

    Args:
        place: where the picture lies on its canvas.
        known: what the latent was made with.
    """
    if own.picture is not None and place is not None:
        return convert.FullPicture(own.picture, place, own.fit)
    return None if known is None else known.full
