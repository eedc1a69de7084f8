"""Where an edit changed a picture, found by comparing it with what the model saw."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .components import connected
from .masks import dilated, gaussian

Extent = Literal["nothing", "local", "whole"]

# Differences of unchanged places stay below 13.4 of 255 in 90 % of edits of the tiny world, once blurred by
# BLUR_PX; the smallest peak of an edit that was asked for is 36. Both thresholds lie in between.
STRONG = 28 / 255
WEAK = 10 / 255
BLUR_PX = 1.0
WHOLE = 0.6  # share of the picture above which all of it is taken as changed
_CLOSED_PX, _OPENED_PX = 3, 1  # gaps and specks, as the autoencoder's cells of 8 x 8 px make them
_MARGIN_PX = 2  # around what was found: the foot of its slope
_USUAL_ERROR = 8 / 255  # of an autoencoder, blurred as the difference is; above it the thresholds rise
_AROUND_PX = 4.0  # over which it is averaged
_MOST_ERROR = 3.0  # times as high they go at most


@dataclass(frozen=True)
class Change:
    """What was found in one picture.

    Args:
        mask: (H, W) of 0 and 1; 1 where the picture changed.
        share: of its pixels that changed.
        extent: nothing, a part, or the whole of it.
    """

    mask: Tensor
    share: float
    extent: Extent


def find_change(seen: Tensor, after: Tensor, picture: Tensor | None = None) -> Change:
    """Find where an edit changed a picture.

    Strong differences count, and weaker ones that are connected with them. Both thresholds rise with the
    autoencoder's own error around a place, so that texture which it cannot repeat is not taken for an edit.

    Args:
        seen: what the model saw, (H, W, 3) in [0, 1]: the latents before the edit, decoded, so that what the
            autoencoder does to every picture is not taken for a change.
        after: the decoded result, of the same size.
        picture: the picture that `seen` was encoded from; None: not known, and the thresholds stay.
    """
    seen, after = seen.float().cpu(), after.float().cpu()
    distance = _blurred(after - seen).abs().amax(0)
    scale = torch.ones_like(distance) if picture is None else _error_scale(seen, picture.float().cpu())
    weak, strong = distance > WEAK * scale, distance > STRONG * scale
    area = connected(weak, strong).float()[None, None]
    area = _eroded(dilated(area, _CLOSED_PX), _CLOSED_PX)
    area = dilated(_eroded(area, _OPENED_PX), _OPENED_PX)
    share = area.mean().item()
    if share == 0:
        return Change(area[0, 0], 0.0, "nothing")
    if share > WHOLE:
        return Change(torch.ones_like(distance), share, "whole")
    return Change(dilated(area, _MARGIN_PX)[0, 0], share, "local")


def _blurred(image: Tensor) -> Tensor:
    """(H, W, 3) to (3, H, W), blurred."""
    return gaussian(image.permute(2, 0, 1)[None], BLUR_PX, edges="replicate")[0]


def _eroded(area: Tensor, reach: int) -> Tensor:
    return 1 - dilated(1 - area, reach)


def _error_scale(seen: Tensor, picture: Tensor) -> Tensor:
    """How much higher the thresholds are by the autoencoder's error around each pixel, (H, W), at least 1."""
    error = _blurred(seen - picture).abs().amax(0)
    around = gaussian(error[None, None], _AROUND_PX, edges="replicate")[0, 0]
    return (around / _USUAL_ERROR).clamp(1, _MOST_ERROR)
