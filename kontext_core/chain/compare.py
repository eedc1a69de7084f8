"""Two pictures held against each other."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..images import resize

# A channel off by more than this is a change that one can see; an edit's unchanged parts stay below it.
SEEN = 16 / 255
GAP_PX = 8


@dataclass(frozen=True)
class Comparison:
    """Args:
    side_by_side: (1, H, 2 W + 8, 3), the second picture to the right. difference: (1, H, W, 3), twice the distance
        of each channel. changed: share of pixels of which a channel differs by more than `SEEN`. psnr: in dB.
    """

    side_by_side: Tensor
    difference: Tensor
    changed: float
    psnr: float


def compare(first: Tensor, second: Tensor) -> Comparison:
    """Two pictures (1, H, W, 3) in [0, 1]; the second is brought to the first one's size where it has another."""
    if second.shape[1:3] != first.shape[1:3]:
        second = resize(second, (first.shape[1], first.shape[2]))
    distance = (first - second).abs()
    gap = torch.ones(1, first.shape[1], GAP_PX, 3)
    error = distance.square().mean().item()
    return Comparison(
        side_by_side=torch.cat([first, gap, second], dim=2),
        difference=(2 * distance).clamp(0, 1),
        changed=(distance > SEEN).any(-1).float().mean().item(),
        psnr=float("inf") if error == 0 else -10 * torch.log10(torch.tensor(error)).item(),
    )
