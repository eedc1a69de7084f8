"""A small picture of latents while they are being made."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from PIL import Image
from torch import Tensor

from ..kontext_core.images import to_pil
from . import host

if TYPE_CHECKING:
    from ..kontext_core.editor import Editor


def thumbnail(model: Editor, latents: Tensor) -> Image.Image:
    """The first picture of (B, 16, h, w): as the model shows it where that is quick, else in rough colours."""
    shown = model.thumbnail(latents)
    if shown is not None:
        return shown
    matrix, bias = (part.to(latents.device) for part in host.colours())
    return to_pil((latents[:1].float().movedim(1, -1) @ matrix + bias) / 2 + 0.5)


def progress(model: Editor) -> host.Progress:
    """The callback that shows a run of this model in the node."""
    return host.Progress(functools.partial(thumbnail, model))
