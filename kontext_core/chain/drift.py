"""Drift: slow changes of colour and brightness from turn to turn, where nothing was asked for."""

from torch import Tensor
from torch.nn import functional as F

from ..images.masks import gaussian

CHANGED = 0.5  # root mean square over the channels, in units of the latents, above which a place was edited
RADIUS = 4.0  # standard deviation of the low-pass, in latent pixels (of 8 x 8 px)
_MARGIN = 2  # latent pixels around what was edited that count as edited


def align_to(latents: Tensor, first: Tensor, *, radius: float = RADIUS, changed: float = CHANGED) -> Tensor:
    """Latents with the slow part of their difference from `first` taken away, outside of what was edited.

    The low frequencies of the difference are found from unedited places alone (normalised convolution), and
    taken away there; edited places, and a picture that was edited all over, stay as they are.

    Args:
        latents, first: (B or 1, 16, h, w) of one size: the result, and the picture that the chain began with.
        radius, changed: see `RADIUS`, `CHANGED`.
    Returns: (B, 16, h, w), float32.
    Raises: ValueError if the sizes differ.
    """
    if latents.shape[-2:] != first.shape[-2:]:
        raise ValueError(
            f"latents of {tuple(latents.shape[-2:])} cannot be aligned to those of {tuple(first.shape[-2:])}: "
            "the sizes must be the same"
        )
    difference = latents.float() - first.to(latents.device).float()
    edited = (difference.square().mean(dim=1, keepdim=True).sqrt() > changed).float()
    same = 1 - F.max_pool2d(edited, 2 * _MARGIN + 1, stride=1, padding=_MARGIN)
    known = gaussian(same, radius, edges="constant")
    slow = gaussian(difference * same, radius, edges="constant") / known.clamp_min(1e-6)
    return latents.float() - slow * same
