"""ComfyUI's IMAGE, MASK and LATENT to the core's tensors, and back.

A LATENT holds the autoencoder's output; the core's latents are scaled and shifted: ours = (samples - shift) *
scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..kontext_core.config import VAEConfig
from ..kontext_core.images.encoded import content_digest
from ..kontext_core.images.fitting import Placement, check_image, scale_mask, undo_fit
from ..kontext_core.model.latents import LATENT_PX
from . import border
from .types import Latent

PLACE = "kontext_place"  # the key of a LATENT under which a `Placement` travels along


SHOWN = "kontext_shown"  # likewise, of a `ShownPicture`


@dataclass(frozen=True)
class FullPicture:
    """A picture at its own size, and how it came to the model's canvas.

    Args:
        image: (B, H, W, 3) in [0, 1].
        place: where it lies on the canvas.
        fit: how it came there.
    """

    image: Tensor
    place: Placement
    fit: str


@dataclass(frozen=True)
class ShownPicture:
    """The picture that a LATENT shows, which decoding gives again only nearly.

    Args:
        image: of the canvas, (B, H, W, 3) in [0, 1].
        samples: digest of the LATENT's samples.
        full: the same at the size of the picture that it was made from; None where that is not known.
    """

    image: Tensor
    samples: bytes
    full: FullPicture | None = None


@dataclass(frozen=True)
class CropFrame:
    """The part of a canvas that is the picture.

    Args:
        place: where a padded picture lies; None is all of the canvas.
        odd: (height, width) of latents that were padded to even sides and are cut to this size again.
    """

    place: Placement | None = None
    odd: tuple[int, int] | None = None

    @classmethod
    def of(cls, place: Placement | None) -> CropFrame:
        """Build the frame of a fitted picture: nothing is cut unless it covers only a part of its canvas."""
        part = (
            place is not None
            and min(place.top, place.left) >= 0
            and (place.height, place.width) != place.canvas
        )
        return cls(place if part else None)

    def on(self, canvas: tuple[int, int]) -> Placement | None:
        """Return where the picture lies on its canvas (height, width) in pixels; None: all of it."""
        if self.odd is None:
            return self.place
        height, width = (side * LATENT_PX for side in self.odd)
        return Placement(canvas, 0, 0, height, width, (height, width))

    def cut(self, image: Tensor) -> Tensor:
        """Cut the picture alone, (B, H, W, C), out of the decoded canvas."""
        if self.odd is not None:
            image = image[:, : self.odd[0] * LATENT_PX, : self.odd[1] * LATENT_PX]
        return image if self.place is None else undo_fit(image, self.place)


def picture(image: Tensor) -> Tensor:
    """Convert an IMAGE of 1 to 4 channels to (B, H, W, 3) in [0, 1]; transparency becomes white.

    Raises: ValueError in one sentence if it is empty or holds NaN.
    """
    if image.ndim == 4 and image.shape[-1] in (2, 4):
        colours, alpha = image[..., :-1], image[..., -1:]
        image = colours * alpha + (1 - alpha)
    if image.ndim == 4 and image.shape[-1] == 1:
        image = image.expand(-1, -1, -1, 3)
    check_image(image)
    return image.float().clamp(0, 1)


def from_latent(latent: Latent, config: VAEConfig, *, even: bool = True) -> tuple[Tensor, CropFrame]:
    """Convert a LATENT to the core's latents, and the frame to cut results with.

    Args:
        even: pad odd sides circularly, as ComfyUI does for this model.
    Raises: ValueError in one sentence if it is not from an autoencoder like this one.
    """
    samples = latent["samples"]
    if samples.ndim != 4 or samples.shape[1] != config.z_channels or 0 in samples.shape:
        raise ValueError(
            f"this LATENT is {tuple(samples.shape)}, but the model works with (batch, {config.z_channels}, "
            "height, width): use one made by the autoencoder of FLUX.1 or by a Kontext node"
        )
    if not bool(torch.isfinite(samples).all()):
        raise ValueError(
            "this LATENT holds numbers that are not finite (NaN or infinity); check the node that made it"
        )
    latents = (samples.float() - config.shift_factor) * config.scale_factor
    height, width = latents.shape[-2:]
    if even and (height % 2 or width % 2):
        return pad_to_even(latents), CropFrame(odd=(height, width))
    place = latent.get(PLACE)
    fits = isinstance(place, Placement) and place.canvas == (height * LATENT_PX, width * LATENT_PX)
    return latents, CropFrame(place if fits else None)


def to_latent(
    latents: Tensor,
    config: VAEConfig,
    frame: CropFrame | None = None,
    shown: Tensor | None = None,
    full: FullPicture | None = None,
) -> Latent:
    """Convert the core's latents to a LATENT, on the CPU.

    Args:
        shown: the picture of the canvas that they show, (B, H, W, 3), for an edit that keeps its pixels.
        full: the same at its own size, if it has one.
    """
    frame = frame or CropFrame()
    samples = latents.float().cpu() / config.scale_factor + config.shift_factor
    if frame.odd is not None:
        samples = samples[..., : frame.odd[0], : frame.odd[1]]
    latent: Latent = {"samples": samples}
    if frame.place is not None:
        latent[PLACE] = frame.place
    if shown is not None and frame.odd is None:
        latent[SHOWN] = ShownPicture(shown, content_digest(samples), full)
    return latent


def shown_picture(latent: Latent) -> ShownPicture | None:
    """The picture that a LATENT was made with, unless another node has changed it since."""
    shown = latent.get(SHOWN)
    if not isinstance(shown, ShownPicture) or content_digest(latent["samples"]) != shown.samples:
        return None
    return shown


def empty_latent(size_px: tuple[int, int], config: VAEConfig, batch: int, frame: CropFrame) -> Latent:
    """Make an empty LATENT, as ComfyUI's samplers start from.

    Args:
        size_px: (height, width).
        frame: to cut results with.
    """
    height, width = frame.odd or (side // LATENT_PX for side in size_px)
    latent: Latent = {"samples": torch.zeros(batch, config.z_channels, height, width)}
    return latent if frame.place is None else latent | {PLACE: frame.place}


def latent_mask(mask: Tensor, latent: Latent) -> Tensor:
    """Convert a MASK in pixels (see `border.mask`) to (B, 1, h, w), 1 where the LATENT may change.

    Whole tokens of 2 x 2 latents change or are kept, by the maximum of the mask in them: if half a token is
    kept, the other half is ruined.

    Raises: ValueError if it is empty, not finite, or not a MASK.
    """
    mask = border.mask(mask, "mask")
    height, width = (side + side % 2 for side in latent["samples"].shape[-2:])
    canvas = (latent["samples"].shape[-2] * LATENT_PX, latent["samples"].shape[-1] * LATENT_PX)
    pixels = scale_mask(mask[:, None].float().clamp(0, 1), canvas)
    marked = F.max_pool2d(pixels, LATENT_PX)
    marked = F.pad(marked, (0, marked.shape[-1] % 2, 0, marked.shape[-2] % 2), mode="replicate")
    tokens = F.max_pool2d(marked, 2)
    return F.interpolate(tokens, size=(height, width), mode="nearest-exact")


def pad_to_even(latents: Tensor) -> Tensor:
    """Pad (B, C, H, W) to even sides by repeating the first row or column at the end."""
    height, width = latents.shape[-2:]
    return F.pad(latents, (0, width % 2, 0, height % 2), mode="circular")
