"""Masks: where an edit may change a picture, and how softly that ends."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .images import Placement, Size, on_canvas
from .latents import LATENT_PX


def edit_mask(mask: Tensor, canvas: Size, place: Placement | None = None, feather_px: float = 0) -> Tensor:
    """Where an edit may change a picture, as `sampler.denoise` takes it.

    Args:
        mask: (H, W) or (1, H, W) in [0, 1] over the picture, of any size; white may change. canvas: (height, width) in
            pixels. place: where the picture lies on it; None: all over. feather_px: see `feathered`.
    Returns: (1, 1, canvas height / 8, canvas width / 8).
    Raises: ValueError in one sentence if it is empty, not finite, a batch, or marks nothing.
    """
    if mask.numel() == 0 or not bool(torch.isfinite(mask).all()):
        raise ValueError(f"the mask {tuple(mask.shape)} is empty or holds numbers that are not finite")
    flat = mask.reshape(-1, *mask.shape[-2:])
    if flat.shape[0] != 1:
        raise ValueError(f"the mask is a batch of {flat.shape[0]}, and an edit has one: take one out of it")
    whole = Placement(canvas, 0, 0, *canvas, canvas)
    soft = feathered(on_canvas(flat[0].float().clamp(0, 1).cpu(), place or whole), feather_px)
    if not bool((soft > 0).any()):
        raise ValueError("the mask marks nothing that may change: paint a part of it white, or disconnect it")
    return F.adaptive_avg_pool2d(soft[None, None], (canvas[0] // LATENT_PX, canvas[1] // LATENT_PX))


def feathered(mask: Tensor, feather_px: float) -> Tensor:
    """A mask (H, W) in [0, 1] whose edge rises from 0 to 1 within about so many pixels inside; outside stays 0.

    Raises: ValueError if feather_px is negative.
    """
    if feather_px < 0:
        raise ValueError(f"a mask cannot be feathered by {feather_px} px; give 0 (a hard edge) or more")
    if feather_px < 1:
        return mask
    blurred = gaussian(mask[None, None], feather_px / 2, edges="replicate")
    return (2 * blurred[0, 0] - 1).clamp(0, 1) * mask


def gaussian(values: Tensor, deviation: float, *, edges: str) -> Tensor:
    """(B, C, H, W) blurred. Args: deviation: in pixels. edges: what lies beyond them, a mode of `F.pad`."""
    reach = max(round(3 * deviation), 1)
    channels = values.shape[1]
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=values.device) / deviation).square())
    weights = (weights / weights.sum()).to(values.dtype).expand(channels, 1, 1, -1)
    rows = F.conv2d(F.pad(values, (reach, reach, 0, 0), mode=edges), weights, groups=channels)
    return F.conv2d(F.pad(rows, (0, 0, reach, reach), mode=edges), weights.transpose(2, 3), groups=channels)
