"""Masks: where an edit may change a picture, for the sampler and for the pixels."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..edit_settings import ALLOWED
from ..model.latents import LATENT_PX, TOKEN_PX
from .fitting import Placement, Size, on_canvas

LEVELS = 255  # of an 8-bit picture

CanvasMask = Callable[[Size, Placement | None], Tensor]
"""What makes a mask for a canvas and a picture that lies on it."""


def canvas_mask(mask: Tensor | CanvasMask, canvas: Size, place: Placement | None = None) -> Tensor:
    """Bring a mask over a picture onto the canvas that the picture lies on.

    Args:
        mask: (H, W) or (1, H, W) in [0, 1], of any size; white may change. Or what makes the result.
        canvas: (height, width) in pixels.
        place: where the picture lies on it; None: all over.
    Returns: (canvas height, canvas width) in [0, 1], on the CPU; 0 beside the picture.
    Raises: ValueError in one sentence if it is empty, not finite, a batch, or marks nothing.
    """
    if not isinstance(mask, Tensor):
        return mask(canvas, place)
    flat = single_mask(mask)
    laid = on_canvas(flat.float().clamp(0, 1).cpu(), place or Placement(canvas, 0, 0, *canvas, canvas))
    _check_marks(laid)
    return laid


def blending_at(mask: Tensor | CanvasMask | None, size: Size, feather_px: float) -> Tensor | None:
    """Where edits inside a mask show in a picture of full size: no pixel beside the mask is lost to scaling.

    Args:
        mask: see `canvas_mask`; what only makes a mask for a canvas is not asked.
        size: (height, width) of the picture.
        feather_px: in its pixels, see `blending`.
    Returns: (height, width); None where the mask is not known at that size.
    """
    if not isinstance(mask, Tensor):
        return None
    return blending(canvas_mask(mask, size), min(feather_px, 1024))


def overlap(drawn: Tensor, mask: Tensor) -> Tensor:
    """What a drawn area and a mask both allow. Raises: ValueError in one sentence if that is nothing."""
    allowed = drawn * mask
    if not bool((allowed > 0).any()):
        raise ValueError(
            "the drawn area and the mask have no pixel in common, so nothing may change: draw the area where the "
            "mask is white, or leave one of them out"
        )
    return allowed


def picture_mask(picture: Tensor) -> Tensor:
    """Read a picture as a mask: what is white may change, grey in part; transparent parts count as white.

    Args:
        picture: (1, H, W, 3) in [0, 1], see `picture_files.from_file`.
    Returns: (1, H, W) in [0, 1].
    Raises: ValueError in one sentence if all of it is black.
    """
    mask = picture.mean(-1)
    _check_marks(mask)
    return mask


def _check_marks(mask: Tensor) -> None:
    if not bool((mask > 0).any()):
        raise ValueError("the mask marks nothing that may change: paint a part of it white, or leave it out")


def single_mask(mask: Tensor) -> Tensor:
    """A mask as (H, W). Raises: ValueError if it is empty, not finite, or not one mask."""
    if mask.ndim not in (2, 3) or mask.numel() == 0:
        raise ValueError(f"the mask {tuple(mask.shape)} must be (height, width) or (1, height, width)")
    if not bool(torch.isfinite(mask).all()):
        raise ValueError(f"the mask {tuple(mask.shape)} holds numbers that are not finite (NaN or infinity)")
    flat = mask.reshape(-1, *mask.shape[-2:])
    if flat.shape[0] != 1:
        raise ValueError(f"the mask is a batch of {flat.shape[0]}, but an edit has one: take one out of it")
    return flat[0]


def sampler_mask(mask: Tensor, feather_px: float = 0) -> Tensor:
    """Where the sampler may change latents so that the model can do what the mask allows.

    Half a token that is kept ruins the other half, so whole tokens change: all that the mask touches and
    those within the feather around them, at least one. What changes beside the mask goes with `keep_outside`.

    Args:
        mask: (H, W) in [0, 1] over a canvas of multiples of 16 px, or (B, H, W) where each picture has one.
        feather_px: see `blending`.
    Returns: (1 or B, 1, H / 8, W / 8) of 0 and 1, as `denoise.denoise` takes it.
    """
    touched = F.max_pool2d((mask > 0).float().reshape(-1, 1, *mask.shape[-2:]), TOKEN_PX)
    tokens = dilated(touched, max(math.ceil(feather_px / TOKEN_PX), 1))
    per_token = TOKEN_PX // LATENT_PX
    return tokens.repeat_interleave(per_token, 2).repeat_interleave(per_token, 3)


def blending(mask: Tensor, feather_px: float = 0) -> Tensor:
    """How much of the edit each pixel takes.

    Args:
        mask: (H, W) in [0, 1]; a soft one counts as it is.
        feather_px: width of the rim outside the mask over which the edit fades out, from 0 to 1024.
    Returns: (H, W) in [0, 1], at least the mask; exactly 0 from feather_px beyond it.
    Raises: ValueError about feather_px.
    """
    if not ALLOWED["feather_px"].admits(feather_px):
        raise ValueError(f"a mask cannot be feathered by {feather_px} px: give {ALLOWED['feather_px']}")
    reach = int(feather_px)
    if reach < 1:
        return mask
    wide = dilated(mask[None, None], max(reach // 2, 1))
    soft = gaussian(wide, max(reach / 4, 0.5), edges="replicate")
    near = dilated((mask > 0).float()[None, None], reach) > 0
    return torch.maximum(mask, torch.where(near, soft, 0)[0, 0].clamp(0, 1))


def keep_outside(before: Tensor, after: Tensor, blend: Tensor) -> Tensor:
    """Put an edit into the picture before it.

    Args:
        before: (1 or B, H, W, 3) in [0, 1]; its own bits stand where `blend` is 0.
        after: (B, H, W, 3) in [0, 1].
        blend: (H, W), see `blending`.
    Returns: (B, H, W, 3), on the CPU; where `blend` is above 0, rounded to 8 bit as a saved picture is.
    """
    before, after, share = before.float().cpu(), after.float().cpu(), blend.cpu()[None, ..., None]
    mixed = ((before * (1 - share) + after * share) * LEVELS).round() / LEVELS
    return torch.where(share == 0, before, mixed)  # not the sum alone: 0 x NaN is NaN


def dilated(values: Tensor, reach: int) -> Tensor:
    """The largest of (B, C, H, W) within so many rows and columns, in steps that triple: far costs little."""
    done = 0
    while done < reach:
        step = min(2 * done + 1, reach - done)  # windows of 2 done + 1, side by side, leave no gap
        for axis in (-2, -1):
            index = torch.arange(values.shape[axis], device=values.device)
            back, ahead = (index - step).clamp_min(0), (index + step).clamp_max(values.shape[axis] - 1)
            neighbours = values.index_select(axis, back), values.index_select(axis, ahead)
            values = torch.maximum(torch.maximum(values, neighbours[0]), neighbours[1])
        done += step
    return values


def gaussian(values: Tensor, deviation: float, *, edges: str) -> Tensor:
    """(B, C, H, W) blurred.

    Args:
        deviation: in pixels.
        edges: what lies beyond them, a mode of `F.pad`.
    """
    reach = max(round(3 * deviation), 1)
    channels = values.shape[1]
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=values.device) / deviation).square())
    weights = (weights / weights.sum()).to(values.dtype).expand(channels, 1, 1, -1)
    rows = F.conv2d(F.pad(values, (reach, reach, 0, 0), mode=edges), weights, groups=channels)
    return F.conv2d(F.pad(rows, (0, 0, reach, reach), mode=edges), weights.transpose(2, 3), groups=channels)
