"""What goes into the sampling loop, and whether it fits together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from ..edit_settings import ALLOWED, EditSettings, check_nag
from .references import EncodedReference, ReferenceLatents

Callback = Callable[[int, int, Tensor], None]  # (step, steps, predicted clean latents)
Text = tuple[Tensor, Tensor]  # (txt (B, L, ctx), pooled (B, vec))


@dataclass(frozen=True, eq=False, kw_only=True)
class SampleInputs:
    """Tensors that a run begins with; `EditSettings` are the numbers beside them.

    Args:
        noise: (B, 16, h, w), see `latents.noise`.
        text: the prompt's states and vector, see `TextEncoders.encode`.
        references: latents (1 or B, 16, h_i, w_i) of any sizes; as `ReferenceLatents` where one has a
            strength, a region or a place of its own.
        negative: the states and vector of the negative prompt, which a cfg_scale or nag_scale other than
            1 needs.
        start: latents (1 or B, 16, h, w) to begin from.
        mask: (1 or B, 1, h, w) in [0, 1]; where it is 0, `start` is kept.
    """

    noise: Tensor
    text: Text
    references: Sequence[EncodedReference] = ()
    negative: Text | None = None
    start: Tensor | None = None
    mask: Tensor | None = None


def check_levels(sigmas: Sequence[float]) -> None:
    """Check that noise levels fall, within [0, 1], in as many steps as a run may have. Raises: ValueError."""
    if not ALLOWED["steps"].admits(max(len(sigmas) - 1, 1)):
        raise ValueError(f"sigmas are of {len(sigmas) - 1} steps, which must be {ALLOWED['steps']}")
    falling = len(sigmas) > 1 and all(a > b for a, b in pairwise(sigmas))
    if not falling or not 0 <= sigmas[-1] < sigmas[0] <= 1:
        raise ValueError(
            f"sigmas must be at least two falling numbers from 1 to 0, not {list(sigmas)}; see schedule.sigmas"
        )


def check_text(text: Text, widths: tuple[int, int]) -> None:
    """Check that a text is as wide as the model takes it.

    Args:
        text: states and vector.
        widths: of T5's states and CLIP's vector.
    Raises: ValueError.
    """
    own_widths = text[0].shape[-1], text[1].shape[-1]
    if own_widths != widths or text[0].ndim != 3 or text[1].ndim != 2:
        raise ValueError(
            f"the prompt is states of {own_widths[0]} numbers and a vector of {own_widths[1]}, but this "
            f"model takes {widths[0]} and {widths[1]}: encode the words with the text encoders that belong "
            "to it"
        )


def check_inputs(inputs: SampleInputs, sigmas: Sequence[float], settings: EditSettings) -> None:
    """Check that tensors, noise levels and settings fit together. Raises: ValueError."""
    check_levels(sigmas)
    _check_start_and_mask(inputs, settings.strength)
    if settings.cfg_scale != 1.0 and inputs.negative is None:
        raise ValueError(
            f"cfg_scale {settings.cfg_scale} needs a negative prompt; pass negative=(txt, pooled), or "
            "cfg_scale=1"
        )
    if settings.nag_scale != 1.0:
        check_nag({"approximate": settings.approximate, "nag_scale": settings.nag_scale})
        if inputs.negative is None:
            raise ValueError(
                f"nag_scale {settings.nag_scale} needs a negative prompt; pass negative=(txt, pooled), or "
                "nag_scale=1"
            )
    _check_batches(inputs)


def _check_start_and_mask(inputs: SampleInputs, strength: float) -> None:
    noise, start, mask = inputs.noise, inputs.start, inputs.mask
    if start is None and (strength < 1.0 or mask is not None):
        raise ValueError("a strength below 1, or a mask, needs start latents, but none were given")
    if start is not None and start.shape[1:] != noise.shape[1:]:
        raise ValueError(
            f"start latents {tuple(start.shape)} and noise {tuple(noise.shape)} must be of one size"
        )
    if mask is not None and mask.shape[1:] != (1, *noise.shape[-2:]):
        raise ValueError(
            f"the mask {tuple(mask.shape)} must be (1 or batch, 1, {noise.shape[-2]}, {noise.shape[-1]})"
        )


def _check_batches(inputs: SampleInputs) -> None:
    """Check that all tensors are finite, and of the noise's batch or of 1."""
    noise = inputs.noise
    ref_latents = [
        reference.latents if isinstance(reference, ReferenceLatents) else reference
        for reference in inputs.references
    ]
    for reference in ref_latents:
        if reference.ndim != 4 or reference.shape[1] != noise.shape[1]:
            raise ValueError(
                f"a reference must be latents (1 or batch, {noise.shape[1]}, height, width), but this one is "
                f"{tuple(reference.shape)}"
            )
    batch = noise.shape[0]
    parts = {
        "the prompt": inputs.text[0],
        "the prompt's vector": inputs.text[1],
        "the start": inputs.start,
        "the mask": inputs.mask,
        "the negative prompt": inputs.negative and inputs.negative[0],
    }
    parts |= {f"picture {i}": reference for i, reference in enumerate(ref_latents, start=1)}
    for name, part in parts.items():
        if part is None:
            continue
        if part.shape[0] not in (1, batch):
            raise ValueError(
                f"{name} is a batch of {part.shape[0]} and the noise of {batch}; it must be 1, or the same"
            )
        if not part.isfinite().all():
            raise ValueError(
                f"{name} holds numbers that are not finite (NaN or infinite), so no picture can come of it"
            )
