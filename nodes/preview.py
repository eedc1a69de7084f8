"""A small picture of latents during sampling."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from ..kontext_core.errors import TooLittleMemoryError, explain_oom
from ..kontext_core.images.picture_files import to_pil
from . import files
from .host import versions
from .host.progress import Progress, colours

if TYPE_CHECKING:
    from ..kontext_core.editor import Editor
    from ..kontext_core.model.preview_decoder import PreviewDecoder

log = logging.getLogger(__name__)


def thumbnail(model: Editor, latents: Tensor) -> Image.Image:
    """Show the first picture of (B, 16, h, w): decoded if quick, else by taef1, else in rough colours."""
    shown = model.thumbnail(latents)
    if shown is None and versions.preview_method() != "latent2rgb":
        shown = _by_taef1(latents[:1])
    if shown is not None:
        return shown
    matrix, bias = (part.to(latents.device) for part in colours())
    return to_pil((latents[:1].float().movedim(1, -1) @ matrix + bias) / 2 + 0.5)


def _by_taef1(latents: Tensor) -> Image.Image | None:
    """Decode latents by taef1; None if that is missing, cannot be used, or does not fit into memory."""
    try:
        path = files.preview_decoder()
        decoder = None if path is None else _loaded(path, path.stat().st_mtime_ns, latents.device)
        if decoder is None:
            return None
        with explain_oom("a preview by taef1", "it is made in rough colours"):
            return to_pil(decoder.decode(latents).float().movedim(1, -1))
    except (OSError, ValueError, TooLittleMemoryError) as error:
        _say_once(f"the preview is in rough colours: {error}")
        return None


@functools.lru_cache(maxsize=1)
def _loaded(path: Path, _changed: int, device: torch.device) -> PreviewDecoder | None:
    from ..kontext_core.errors import CheckpointError
    from ..kontext_core.loading import load_preview

    numbers = torch.bfloat16 if device.type == "cuda" else torch.float32
    try:
        with torch.inference_mode(False):
            return load_preview(path, dtype=numbers, device=device)
    except CheckpointError as error:
        _say_once(f"the preview is in rough colours: {error}")
        return None


@functools.lru_cache(maxsize=16)
def _say_once(sentence: str) -> None:
    log.warning("%s", sentence)


def progress(model: Editor) -> Progress:
    """Make the callback that shows a run in the node, without pictures if the user wants none."""
    pictures = versions.preview_method() != "none"
    return Progress(functools.partial(thumbnail, model) if pictures else None)
