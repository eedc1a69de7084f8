"""The result of an edit, and what an edit can look at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from torch import Tensor

from ..images.fitting import Placement
from ..images.outside import OutsideReport
from ..images.picture_files import from_pil
from .references import ReferenceLatents


@dataclass(frozen=True)
class Edit:
    """The result, which the next edit can take as its reference.

    Args:
        image: (B, H, W, 3) in [0, 1], cut out of the canvas where the reference was padded.
        latents: (B, 16, h, w) of the whole canvas.
        placement: where the picture lies on that canvas; None where it is the canvas.
        blend: (B, H, W) in [0, 1], how much of each pixel is the edit's; elsewhere it is that of the picture
            before. None: all of it.
        reports: on what was kept, for each picture; none where that was not asked for.
    """

    image: Tensor
    latents: Tensor
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    placement: Placement | None = None
    blend: Tensor | None = None
    reports: tuple[OutsideReport, ...] = ()


@dataclass(frozen=True)
class UsedLora:
    """A LoRA as a record names it.

    Args:
        name: of its file, without folders.
    """

    name: str
    strength: float


Reference = Image.Image | Tensor | Edit | ReferenceLatents


def picture_of(reference: Reference) -> Tensor | None:
    """The picture (B, H, W, 3) of a reference, at the size that it has; None of latents alone."""
    if isinstance(reference, Image.Image):
        return from_pil(reference)
    if isinstance(reference, Tensor):
        return reference if reference.shape[-1] == 3 else None
    return reference.image
