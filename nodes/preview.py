"""A small picture of latents while they are being made."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from PIL import Image
from torch import Tensor

from ..kontext_core.images import to_pil
from . import host

if TYPE_CHECKING:
    from ..kontext_core.pipeline import Pipeline

_QUICK = 5_000_000  # parameters of a decoder that is no burden at every step


def thumbnail(pipeline: Pipeline, latents: Tensor) -> Image.Image:
    """The first picture of (B, 16, h, w): decoded where that is quick, else in rough colours, a pixel a latent."""
    if sum(parameter.numel() for parameter in pipeline.vae.decoder.parameters()) <= _QUICK:
        return to_pil(pipeline.decode(latents[:1]))
    matrix, bias = (part.to(latents.device) for part in host.colours())
    return to_pil((latents[:1].float().movedim(1, -1) @ matrix + bias) / 2 + 0.5)


def progress(pipeline: Pipeline) -> host.Progress:
    """The callback that shows a run of this model in the node."""
    return host.Progress(functools.partial(thumbnail, pipeline))
