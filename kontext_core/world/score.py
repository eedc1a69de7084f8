"""Right or wrong: how far a picture is from the true one, cell by cell.

A person calls two pictures the same when every spot of them looks the same, though an edge be a little soft
or a pixel off. So a cell's error is that of its worst patch of 8 x 8 px, and it has two parts. Both pictures
seen through a blur of 1 px, at the best shift of up to 1 px: a soft edge passes, a wrong shape does not. And
the plain difference where the true picture is even: noise and ghosts there are never smoothed away.
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, max_pool2d, pad

from .scenes import CELL_PX

# The largest error of a cell that still counts as right. What must pass (a blur of 1 px, JPEG at quality 75)
# reaches 0.074; the nearest wrong answer of the whole world (a dark thing without its dark contour), 0.079.
TOLERANCE = 0.075
PATCH_PX = 8
SHIFT_PX = 1
# A pixel is even where its neighbours up to this far off differ by at most half a step of an 8-bit picture.
EVEN_PX = 2
EVEN_RANGE = 1 / 510
_BLUR = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)  # binomial, 1 px standard deviation


def cell_errors(output: Tensor, truth: Tensor) -> Tensor:
    """Error of each grid cell: root mean square over R, G, B and the pixels of its worst patch.

    Args:
        output: (B, 3, H, W) in [0, 1], H and W multiples of 32.
        truth: likewise.
    Returns: (B, H / 32, W / 32), float32.
    """
    output, truth = output.float(), truth.float()
    height, width = truth.shape[-2:]
    worst_even = _worst_patch((output - truth).square() * _even(truth))
    seen, expected = _blurred(output), _blurred(truth)
    around = pad(seen, (SHIFT_PX,) * 4, mode="replicate")
    shifts = [
        _worst_patch((around[..., down : down + height, along : along + width] - expected).square())
        for down in range(2 * SHIFT_PX + 1)
        for along in range(2 * SHIFT_PX + 1)
    ]
    return torch.maximum(torch.stack(shifts).amin(0), worst_even).sqrt()


def right(output: Tensor, truth: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """Whether every cell lies within the tolerance: (B,), bool."""
    return (cell_errors(output, truth) <= tolerance).flatten(1).all(1)


def psnr(output: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB, of all pixels or of the cells where mask is true.

    Args:
        output: (B, 3, H, W) in [0, 1]; mask bool, (rows, columns) or (B, rows, columns) in cells.
        truth: likewise.
    Returns: (B,), float32; nan where the mask is empty.
    """
    error = avg_pool2d((output.float() - truth.float()).square().mean(1, keepdim=True), CELL_PX)[:, 0]
    chosen = torch.ones_like(error) if mask is None else mask.to(error).expand_as(error)
    return -10 * torch.log10((error * chosen).sum((1, 2)) / chosen.sum((1, 2)))


def _worst_patch(squares: Tensor) -> Tensor:
    """Mean square of the worst patch of each cell: (B, 3, H, W) to (B, rows, columns)."""
    patches = avg_pool2d(squares.mean(1, keepdim=True), PATCH_PX)
    return max_pool2d(patches, CELL_PX // PATCH_PX)[:, 0]


def _even(pictures: Tensor) -> Tensor:
    """1 where a picture does not change within EVEN_PX, else 0: (B, 1, H, W)."""
    window = 2 * EVEN_PX + 1
    highest = max_pool2d(pictures, window, 1, EVEN_PX)
    lowest = -max_pool2d(-pictures, window, 1, EVEN_PX)
    return ((highest - lowest).amax(1, keepdim=True) <= EVEN_RANGE).to(pictures.dtype)


def _blurred(pictures: Tensor) -> Tensor:
    channels = pictures.shape[1]
    line = torch.tensor(_BLUR, device=pictures.device)
    reach = len(_BLUR) // 2
    around = pad(pictures, (reach,) * 4, mode="replicate")
    return conv2d(around, (line[:, None] * line).expand(channels, 1, -1, -1), groups=channels)
