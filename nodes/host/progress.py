"""The progress bar, the picture and the stop button of a running node."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import comfy.model_management as management  # pyright: ignore[reportMissingImports]
import comfy.utils  # pyright: ignore[reportMissingImports]
import torch
from PIL import Image
from torch import Tensor

from . import versions


def stop_if_asked() -> None:
    """Raise ComfyUI's InterruptProcessingException if the user pressed the button."""
    management.throw_exception_if_processing_interrupted()


def colours() -> tuple[Tensor, Tensor]:
    """Return ComfyUI's rough colours of FLUX.1 latents, for previews: matrix (16, 3) and bias (3,)."""
    from comfy.latent_formats import Flux  # pyright: ignore[reportMissingImports]

    known = Flux()
    return torch.tensor(known.latent_rgb_factors), torch.tensor(known.latent_rgb_factors_bias)


class Progress:
    """Make a callback for the sampling loop: bar and picture in the running node, and the stop button.

    Args:
        preview: makes a picture of latents; None: no pictures. It is called rarely enough to take at most a
            fifth of the time.
    """

    def __init__(self, preview: Callable[[Tensor], Image.Image] | None) -> None:
        self._preview = preview
        self._bar: Any = None
        self._next_preview = 0.0

    def __call__(self, step: int, steps: int, latents: Tensor) -> None:
        stop_if_asked()
        if self._bar is None:
            self._bar = comfy.utils.ProgressBar(steps)
        start = time.monotonic()
        shown = None
        if self._preview is not None and (start >= self._next_preview or step + 1 == steps):
            shown = ("JPEG", self._preview(latents), versions.preview_size())
            end = time.monotonic()
            self._next_preview = end + max(4 * (end - start), 0.1)
        self._bar.update_absolute(step + 1, steps, shown)
