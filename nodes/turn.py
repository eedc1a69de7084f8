"""One turn of an edit chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

import torch
from torch import Tensor

from ..kontext_core.checks.json_values import listing, read_json, whole
from ..kontext_core.images.fitting import fit_words
from ..kontext_core.images.marks import areas_of, cues_of, parse_marks
from . import convert, inputs, values
from ._api import io
from .cue import check_marks
from .host import versions
from .host.errors import user_errors
from .host.outputs import changes_output, collect_warnings, image_output
from .host.progress import stop_if_asked
from .kept_turns import branches, kept_turns, key_of
from .preview import progress
from .reference import encoded
from .types import CATEGORY, ChainSocket, Model, ReferenceInput, ReferencesSocket, outside_outputs

if TYPE_CHECKING:
    from ..kontext_core.chain import Chain
    from ..kontext_core.editor import Editor
    from ..kontext_core.sampling.references import ReferenceLatents

MOST_CANDIDATES = 16  # in one run
FOLDED = ("layout", "anchor", "feather", "align", *inputs.EDITING)
_TURN_FOLDED = (*FOLDED, "candidates")


def turn_inputs(*, raw: bool = False) -> list[Any]:
    """Make the inputs that a turn and a script share.

    Args:
        raw: pass links on without resolving them.
    """
    link = {"extra_dict": {"rawLink": True}} if raw else {}
    return [
        inputs.steps(),
        inputs.guidance(),
        inputs.fit("crop"),
        inputs.layout(),
        io.Boolean.Input(
            "anchor",
            default=False,
            tooltip="Show the model the starting picture again in every later turn, as picture 2. This "
            "helps to keep what a person or thing looked like; it costs the tokens of one more "
            "reference.",
        ),
        io.Image.Input(
            "image", optional=True, tooltip="The picture to start with. Or connect 'chain'.", **link
        ),
        ChainSocket.Input(
            "chain",
            optional=True,
            tooltip="The turns so far; this node continues from the last one. Two nodes on one chain make "
            "two branches.",
            **link,
        ),
        ReferencesSocket.Input(
            "references",
            optional=True,
            tooltip="More pictures for the model to look at, from Kontext Reference.",
            **link,
        ),
        inputs.mask(**link),
        inputs.feather(),
        io.Boolean.Input(
            "align",
            optional=True,
            default=False,
            tooltip="Undo the slow drift of colours away from the starting picture where nothing was "
            "edited. For long chains; an edit of the whole picture stays as it is.",
        ),
    ]


def turn_outputs() -> list[Any]:
    return [
        ChainSocket.Output("CHAIN", display_name="chain", tooltip="All turns so far, for the next turn."),
        io.Image.Output("IMAGE", display_name="image", tooltip="The result of the last turn."),
        io.Latent.Output("LATENT", display_name="latent", tooltip="The same as a latent."),
        *outside_outputs(),
    ]


class KontextTurn(io.ComfyNode):
    """KontextEdit with a history. Latents go from turn to turn; the picture is encoded only at the start."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextTurn",
            display_name="Kontext Turn",
            category=CATEGORY,
            search_aliases=["edit chain", "multi-turn edit", "iterative edit", "conversation"],
            advanced=_TURN_FOLDED,
            has_intermediate_output=True,
            description="One edit of many: takes a picture or the chain so far, and outputs the chain with "
            "one more turn. If you change a turn, only that turn and those after it run again.",
            inputs=[
                Model.Input("model", tooltip="The model from Kontext Load Model."),
                inputs.instruction("instruction"),
                inputs.seed(),
                *turn_inputs(),
                io.String.Input(
                    "marks",
                    optional=True,
                    default="",
                    tooltip="Marks drawn on the picture for this turn only, as JSON, which 'Draw on the "
                    "picture' (Alt+D) writes for you. The instruction can refer to them; the turns "
                    "before and after do not see them. With an area drawn, only what is inside changes.",
                ),
                *inputs.sampling(),
                io.String.Input(
                    "candidates",
                    optional=True,
                    default="",
                    tooltip="Seeds of pictures to choose from, as a JSON list, in place of the seed. '4 more' in the chain "
                    "panel fills it for one run; empty: the one picture of the seed.",
                ),
                *inputs.editing(),
            ],
            outputs=turn_outputs(),
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, marks: str | None = None, candidates: str | None = None) -> bool | str:
        fault = values.validity(check_marks, marks)
        return values.validity(candidate_seeds, candidates) if fault is True else fault

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
        anchor: bool,
        image: Tensor | None = None,
        chain: Chain | None = None,
        references: tuple[ReferenceInput, ...] | None = None,
        mask: Tensor | None = None,
        feather: int = inputs.FEATHER_PX,
        align: bool = False,
        marks: str = "",
        candidates: str = "",
        **editing: Unpack[inputs.Editing],
    ) -> io.NodeOutput:
        drawn, seeds = parse_marks(marks), candidate_seeds(candidates)
        settings = inputs.edit_settings(
            seed=seed, steps=steps, guidance=guidance, layout=layout, feather=feather, **editing
        )
        start, start_notes = chain_from_inputs(model, image, chain, fit)

        def make(missing: Sequence[int]) -> list[Chain]:
            return start.candidates(
                model,
                instruction,
                seeds=missing if seeds else None,
                references=_shown(model, references or ()),
                anchor=anchor,
                align=align,
                marks=drawn,
                settings=settings,
                mask=mask,
                callback=progress(model),
            )

        turn_values = {
            "instruction": instruction,
            "settings": replace(settings, seed=0).to_json(),
            "references": references or (),
            "anchor": anchor,
            "align": align,
            "marks": drawn,
            "mask": mask,
        }
        results, notes = branches(model, start, turn_values, seeds or [seed], make)
        stop_if_asked()
        chosen = results[0]
        last = chosen.last
        assert last.latents is not None, "a turn that was just made has its latents"
        latent = convert.to_latent(last.latents, model.vae_config, convert.CropFrame.of(last.placement))
        report = "" if last.report is None else last.report.describe()
        cues = len(cues_of(drawn))
        count = f", {cues} mark{'s' * (cues != 1)} drawn for it" if cues else ""
        area = ", area drawn" if areas_of(drawn) else ""
        picture = chosen.picture
        pictures = torch.cat([picture, *(result.picture for result in results[1:])])
        words = [f"turn {len(chosen)}{count}{area}", *filter(None, [report]), *start_notes, *notes]
        shown = image_output(pictures, *words, cls=cls)
        shown |= changes_output(torch.cat([_changed(result) for result in results]))
        shown |= _drawn_upon(chosen)
        if seeds:
            shown["seeds"] = seeds
        return io.NodeOutput(chosen, picture, latent, _changed(chosen), report, ui=shown)


def _changed(chain: Chain) -> Tensor:
    """The mask of what the last turn changed, (1, H, W), of the size of its picture."""
    last = chain.last
    if last.patch is not None:
        return last.patch.blend()
    return torch.ones(last.image.shape[:3]) if last.blend is None else last.blend


def _drawn_upon(chain: Chain) -> dict[str, Any]:
    """Tell the page how the picture that the last turn's marks are drawn upon lies in that turn's own.

    Returns: nothing where both show the same; else its height and width, and top, left, height and width of
        the part of it that is shown, as fractions.
    """
    place = chain.drawn_place()
    if place is None:
        return {}
    sides = ((place.top, place.height, place.canvas[0]), (place.left, place.width, place.canvas[1]))
    starts = [-start / side for start, side, _ in sides]
    return {
        "kontext_drawn_upon": [
            {"size": place.original, "part": [*starts, *(whole / side for _, side, whole in sides)]}
        ]
    }


def candidate_seeds(text: object) -> list[int]:
    """Read the seeds of candidates. Raises: ValueError in one sentence."""
    words = values.text(text, "candidates")
    if not words.strip():
        return []
    try:
        seeds = [whole(seed, 0, inputs.MAX_SEED) for seed in listing(read_json(words), MOST_CANDIDATES, 1)]
    except ValueError as error:
        raise ValueError(
            f"candidates must be a JSON list of 1 to {MOST_CANDIDATES} seeds, such as [1, 2, 3]: {error}"
        ) from error
    return list(dict.fromkeys(seeds))


def chain_from_inputs(
    model: Editor, image: Tensor | None, chain: Chain | None, fit: str
) -> tuple[Chain, tuple[str, ...]]:
    """Return the chain to continue, and what there is to say of a picture that begins one.

    Raises: ValueError unless there is either a picture or a chain.
    """
    from ..kontext_core.chain import Chain

    if (image is None) == (chain is None):
        raise ValueError(
            (
                "a turn needs a picture: connect 'image' to start with one, or 'chain' to continue from "
                "earlier turns"
            )
            if image is None
            else (
                "a turn continues from one picture, but 'image' and 'chain' are both connected: disconnect "
                "one"
            )
        )
    if chain is not None:
        return chain, ()
    assert image is not None
    picture = convert.picture(image)
    if picture.shape[0] != 1:
        raise ValueError(
            f"a chain has one picture, but 'image' is a batch of {picture.shape[0]}: take one out with "
            "ImageFromBatch, or use Kontext Edit, which edits each of them"
        )
    stop_if_asked()
    key = key_of(model, None, {"picture": picture, "fit": fit})
    known = kept_turns.get(key)
    if known is None:
        with collect_warnings() as messages:
            begun = Chain.start(model, picture, fit=fit).last
        known = begun, tuple(filter(None, [fit_words(begun.placement), *messages]))
        kept_turns.put(key, *known)
        stop_if_asked()
    turn, notes = known
    return Chain((turn,)), notes


def _shown(model: Editor, references: tuple[ReferenceInput, ...]) -> list[ReferenceLatents]:
    """Encode references for the sampler, with the pictures that the lineage keeps."""
    from ..kontext_core.sampling.references import ReferenceLatents

    result: list[ReferenceLatents] = []
    for reference, latents in zip(references, encoded(model, references)[0], strict=True):
        known = latents if isinstance(latents, ReferenceLatents) else ReferenceLatents(latents)
        if known.latents.shape[0] != 1:
            raise ValueError(
                "a turn takes single pictures as references, but one reference is a batch of "
                f"{known.latents.shape[0]}: take one out with ImageFromBatch"
            )
        picture = model.decode(known.latents) if reference.picture is None else reference.picture
        result.append(replace(known, image=picture))
    return result
