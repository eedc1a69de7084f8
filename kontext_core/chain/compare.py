"""Two pictures held against each other."""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from ..images.fitting import Size, check_image, resize

log = logging.getLogger(__name__)

# A channel off by more than this is a change that one can see; an edit's unchanged parts stay below it.
SEEN = 16 / 255
GAP_PX = 8


@dataclass(frozen=True)
class Comparison:
    """What differs between two pictures.

    Args:
        side_by_side: (1, H, 2 W + 8, 3), the second picture to the right.
        difference: (1, H, W, 3), twice the distance of each channel.
        changed: share of pixels of which a channel differs by more than `SEEN`.
        psnr: in dB.
        note: how the second picture was scaled, in words, since all numbers are then of scaled pixels; ""
            if it was not.
    """

    side_by_side: Tensor
    difference: Tensor
    changed: float
    psnr: float
    note: str = ""


def compare(first: Tensor, second: Tensor) -> Comparison:
    """Compare two pictures (1, H, W, 3) in [0, 1].

    A second picture of another size is scaled to the size of the first. The `note` of the result says so,
    and a warning is logged.

    Raises: ValueError in one sentence if either is no single picture.
    """
    for image in (first, second):
        check_image(image)
        if image.shape[0] != 1:
            raise ValueError(f"only single pictures can be compared, but one is a batch of {image.shape[0]}")
    first, second = first.float().cpu(), second.float().cpu()
    own, size = (second.shape[1], second.shape[2]), (first.shape[1], first.shape[2])
    note = _note(own, size) if own != size else ""
    if note:
        log.warning("%s", note)
        second = resize(second, size)
    distance = (first - second).abs()
    gap = torch.ones(1, first.shape[1], GAP_PX, 3)
    error = distance.square().mean().item()
    return Comparison(
        side_by_side=torch.cat([first, gap, second], dim=2),
        difference=(2 * distance).clamp(0, 1),
        changed=(distance > SEEN).any(-1).float().mean().item(),
        psnr=float("inf") if error == 0 else -10 * torch.log10(torch.tensor(error)).item(),
        note=note,
    )


def _note(own: Size, size: Size) -> str:
    """Say that the second picture was brought to the size of the first.

    Args:
        own: (height, width) of the second picture.
        size: of the first.
    """
    alike = abs(own[0] * size[1] - own[1] * size[0]) <= max(*own, *size) / 2  # as far as whole pixels can be
    way = "scaled" if alike else "stretched"
    return (
        f"the second picture is {own[1]} x {own[0]} px and is {way} to the {size[1]} x {size[0]} px of the "
        "first: the numbers are for the scaled picture and do not show what was cropped"
    )
