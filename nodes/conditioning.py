"""Our prompts and references as ComfyUI's CONDITIONING, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..kontext_core.images.fitting import Placement
from ..kontext_core.sampling.references import ReferenceLatents
from . import border, convert, inputs
from ._api import io
from .host import versions
from .host.errors import user_errors
from .host.outputs import collect_warnings, text_output
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
from .values import number as finite
from .values import wrong

if TYPE_CHECKING:
    from ..kontext_core.editor import Editor
    from ..kontext_core.sampling.inputs import Text

Conditioning = list[list[Any]]  # ComfyUI's: pairs of states (B, L, ctx) and a dict

# Our layouts by ComfyUI's names for them. Source: ComfyUI, comfy/ldm/flux/model.py.
METHODS = {"offset": "offset", "index": "index", "diagonal": "uxo"}

_READ = ("pooled_output", "guidance", "reference_latents", "reference_latents_method", convert.PLACE)
_KNOWN = {
    "area": "a region",
    "mask": "a mask",
    "start_percent": "a range of steps",
    "end_percent": "a range of steps",
    "control": "a ControlNet",
    "hooks": "hooks",
    "gligen": "boxes for GLIGEN",
    "concat_latent_image": "a picture for an inpainting model",
    "attention_mask": "an attention mask",
}

PADDED = (
    "picture 1 was padded: start KSampler from this node's empty latent and decode with Kontext Decode, "
    "so that the result is cut to {width} x {height} px"
)


class KontextToConditioning(io.ComfyNode):
    """The inputs of KontextSampler, converted for KSampler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextToConditioning",
            display_name="Kontext To Conditioning",
            category=CATEGORY,
            search_aliases=["conditioning", "ksampler", "reference latent"],
            advanced=("layout",),
            description="Turns a prompt and its references into CONDITIONING for ComfyUI's own samplers "
            "and nodes.",
            inputs=[
                Model.Input(
                    "model",
                    tooltip="The model whose text encoders read the words and whose autoencoder encodes "
                    "the pictures.",
                ),
                PromptSocket.Input("prompt", tooltip="The words from Kontext Prompt."),
                inputs.guidance(),
                inputs.layout(),
                ReferencesSocket.Input(
                    "references",
                    optional=True,
                    tooltip="Pictures for the model to look at, from Kontext Reference. ComfyUI's "
                    "samplers do not support strength, region or place.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    "POSITIVE", display_name="positive", tooltip="For KSampler and other nodes of ComfyUI."
                ),
                io.Conditioning.Output(
                    "NEGATIVE",
                    display_name="negative",
                    tooltip="The same with the prompt's negative text; used only when cfg is not 1.",
                ),
                io.Latent.Output(
                    "LATENT",
                    display_name="empty latent",
                    tooltip="For KSampler: an empty latent of the first reference's size, or else of the "
                    "model's. Kontext Decode then cuts off what 'pad' added.",
                ),
            ],
        )

    @classmethod
    @user_errors
    def execute(
        cls,
        model: Editor,
        prompt: Prompt | EncodedPrompt,
        guidance: float,
        layout: str,
        references: tuple[ReferenceInput, ...] | None = None,
    ) -> io.NodeOutput:
        with collect_warnings() as notes:
            request = Request.of(prompt, references, guidance, layout, notes)
            looked_at, frame = encoded(model, request.references)
            own = plain(looked_at)
            shown = [convert.to_latent(latents, model.vae_config)["samples"] for latents in own]
            size = model.target_size(None, None, [_latents(reference) for reference in looked_at])
            batch = max([1, *(latents.shape[0] for latents in own)])
            empty = convert.empty_latent(size, model.vae_config, batch, frame)
            place = frame.place if looked_at and _counts(looked_at[0]) else None
            conditionings = [
                write(
                    text, shown, guidance=request.guidance, layout=request.layout or model.layout, place=place
                )
                for text in (prompt.encoded(model), prompt.encoded_negative(model))
            ]
            if frame.place is not None:
                notes.append(PADDED.format(width=frame.place.width, height=frame.place.height))
        return io.NodeOutput(*conditionings, empty, ui=text_output(*notes))


class KontextFromConditioning(io.ComfyNode):
    """The inputs of KSampler, converted for KontextSampler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextFromConditioning",
            display_name="Kontext From Conditioning",
            category=CATEGORY,
            search_aliases=["conditioning", "clip text encode"],
            description="Uses CONDITIONING from ComfyUI's nodes as the prompt, with the references and "
            "the guidance in it.",
            inputs=[
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="Text encoded by FLUX.1's text encoders: one entry for the whole picture and "
                    "all steps.",
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="What to steer away from. Used only when the sampler's nag or cfg is not 1.",
                ),
            ],
            outputs=[
                PromptSocket.Output(
                    "PROMPT",
                    display_name="prompt",
                    tooltip="For Kontext Sampler, with everything the CONDITIONING contained.",
                )
            ],
        )

    @classmethod
    @user_errors
    def execute(cls, conditioning: Conditioning, negative: Conditioning | None = None) -> io.NodeOutput:
        words = read(conditioning)
        away = None if negative is None else read(negative)
        if away is not None and away.references and not _same(away.references, words.references):
            raise ValueError(
                "the negative CONDITIONING has other reference latents than the positive, but here the "
                "positive's references are used for both: take the negative from before its ReferenceLatent"
            )
        references = tuple(ReferenceInput(latent=latent) for latent in words.references)
        layout = words.layout if references else None
        prompt = EncodedPrompt(words.text, away and away.text, words.guidance, references, layout)
        count = len(references)
        lines = [f"{words.text[0].shape[1]} tokens of text", f"{count} reference{'s' * (count != 1)}"]
        lines += [f"layout {layout}"] if layout else []
        lines += [] if words.guidance is None else [f"guidance {words.guidance:g}"]
        return io.NodeOutput(prompt, ui=text_output(", ".join(lines)))


@dataclass(frozen=True)
class Request:
    """The settings of a sampler, from its prompt and its own inputs."""

    references: tuple[ReferenceInput, ...]
    guidance: float
    layout: str | None

    @classmethod
    def of(
        cls,
        prompt: Prompt | EncodedPrompt,
        references: tuple[ReferenceInput, ...] | None,
        guidance: float,
        layout: str,
        notes: list[str],
    ) -> Request:
        """Resolve layout and guidance.

        A chosen layout comes before the prompt's; the prompt's guidance comes before the node's.

        Args:
            notes: receives a line if the prompt's guidance is another.
        """
        own = None if layout == "auto" else layout
        if isinstance(prompt, Prompt):
            return cls(references or (), guidance, own)
        if prompt.guidance is not None and prompt.guidance != guidance:
            notes.append(f"guidance {prompt.guidance:g} from the conditioning is used, not {guidance:g}")
            guidance = prompt.guidance
        return cls((*prompt.references, *(references or ())), guidance, own or prompt.layout)


@dataclass(frozen=True, eq=False)
class Words:
    """The content of a CONDITIONING.

    Args:
        references: as LATENTs.
        layout: by our name; None if it does not say.
    """

    text: Text
    guidance: float | None
    references: tuple[Latent, ...]
    layout: str | None


def write(
    text: Text, latents: Sequence[Tensor], *, guidance: float, layout: str, place: Placement | None = None
) -> Conditioning:
    """Build CONDITIONING of one entry.

    Args:
        latents: those of the references, as the autoencoder gives them, unscaled.
        place: where the first reference's picture lies.
    """
    states, pooled = (part.float().cpu() for part in text)
    values: dict[str, Any] = {"pooled_output": pooled, "guidance": guidance}
    if latents:
        values |= {"reference_latents": list(latents), "reference_latents_method": METHODS[layout]}
    if place is not None:
        values[convert.PLACE] = place
    return [[states, values]]


def read(conditioning: Conditioning) -> Words:
    """Read a CONDITIONING.

    Raises: ValueError in one sentence about anything that a prompt here cannot hold and that would have to be
    left out: several entries, regions, ranges of steps, ControlNets and so on.
    """
    if len(conditioning) != 1:
        raise ValueError(
            f"this CONDITIONING has {len(conditioning)} entries, but a prompt has one: take it from before "
            "Conditioning (Combine) or a similar node, or sample with ComfyUI's KSampler"
        )
    states, values = conditioning[0]
    pooled = values.get("pooled_output")
    if (
        not isinstance(states, Tensor)
        or not isinstance(pooled, Tensor)
        or (states.ndim, pooled.ndim) != (3, 2)
    ):
        raise ValueError(
            "this CONDITIONING has no text states with a pooled output: encode the words with the text "
            "encoders of FLUX.1 (DualCLIPLoader, type flux)"
        )
    foreign = [name for name, value in values.items() if name not in _READ and value is not None]
    if foreign:
        extras = ", ".join(dict.fromkeys(_KNOWN.get(name, repr(name)) for name in foreign))
        raise ValueError(
            f"this CONDITIONING comes with {extras}, which Kontext nodes do not support: take it from before "
            "the node that adds it, or sample with ComfyUI's KSampler"
        )
    return Words((states, pooled), _guidance(values), *_references(values))


def _guidance(values: Mapping[str, Any]) -> float | None:
    guidance = values.get("guidance", False)
    if guidance is None:
        raise ValueError(
            "the guidance of this CONDITIONING is switched off, which Kontext nodes do not support: remove "
            "FluxDisableGuidance"
        )
    return None if guidance is False else finite(guidance, "the guidance of this CONDITIONING")


def _references(values: Mapping[str, Any]) -> tuple[tuple[Latent, ...], str | None]:
    method = values.get("reference_latents_method")
    layouts = {name: layout for layout, name in METHODS.items()}
    if method is not None and (not isinstance(method, str) or method not in layouts):
        raise ValueError(
            f"reference_latents_method is {method!r}, which Kontext nodes do not support; choose "
            f"{', '.join(layouts)}"
        )
    latents = values.get("reference_latents")
    if not isinstance(latents, list | tuple | None):
        raise wrong(latents, "reference_latents of this CONDITIONING", "a list of latents")
    references: list[Latent] = [
        border.latent({"samples": samples}, "a reference of this CONDITIONING") for samples in latents or ()
    ]
    if references and convert.PLACE in values:
        references[0][convert.PLACE] = values[convert.PLACE]
    return tuple(references), method and layouts[method]


def plain(references: Sequence[Tensor | ReferenceLatents]) -> list[Tensor]:
    """Convert references for ComfyUI's FLUX.1; those of strength 0 are left out.

    Raises: ValueError in one sentence about an option that it does not support.
    """
    shown: list[Tensor] = []
    for number, reference in enumerate(references, start=1):
        if isinstance(reference, Tensor):
            shown.append(reference)
            continue
        if not _counts(reference):
            continue
        wishes = {
            f"a strength of {reference.strength:g}": reference.strength != 1,
            "a region": reference.region is not None,
            "a place of its own": reference.place is not None,
        }
        features = " and ".join(wish for wish, wished in wishes.items() if wished)
        if features:
            raise ValueError(
                f"picture {number} has {features}, which ComfyUI's own FLUX.1 does not support: reset it, "
                "or use a model from Kontext Load Model and Kontext Sampler"
            )
        shown.append(reference.latents)
    return shown


def _latents(reference: Tensor | ReferenceLatents) -> Tensor:
    return reference if isinstance(reference, Tensor) else reference.latents


def _counts(reference: Tensor | ReferenceLatents) -> bool:
    return isinstance(reference, Tensor) or reference.strength != 0


def _same(some: Sequence[Latent], others: Sequence[Latent]) -> bool:
    pairs = zip(some, others, strict=False)
    return len(some) == len(others) and all(torch.equal(a["samples"], b["samples"]) for a, b in pairs)
