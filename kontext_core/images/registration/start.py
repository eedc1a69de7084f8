"""Where a registration starts: shifts in whole pixels by phase correlation, of all or of many blocks."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..masks import gaussian

BLOCK, STEP = 64, 32  # px, of what votes
_REACH = 16  # px that a block may have moved
_LOWEST = 8.0  # px, the blur that takes away what is too coarse to locate
_LEAST = 0.004  # deviation of a block that votes: less is noise

Shift = tuple[float, float]  # (x, y) in pixels


def whole_shift(before: Tensor, after: Tensor, known: Tensor | None) -> Shift:
    """The shift of the one picture (1, 3, H, W) that is most like the other: out(x) = source(x + shift)."""
    height, width = before.shape[-2:]
    bands = [_detail(values, known)[0] for values in (before, after)]
    peaks = _correlation(bands[0], bands[1])[0]
    place = int(peaks.argmax())
    return _signed(place % width, width), _signed(place // width, height)


def votes(before: Tensor, after: Tensor, known: Tensor | None) -> Shift:
    """The shift that most blocks agree on within 1 px, each with the weight of its peak."""
    blocks = [_blocks(_detail(values, known)) for values in (before, after)]
    textured = torch.minimum(blocks[0].std(dim=(1, 2)), blocks[1].std(dim=(1, 2))) > _LEAST
    if not bool(textured.any()):
        return 0.0, 0.0
    peaks = _correlation(blocks[0][textured], blocks[1][textured])
    near = torch.roll(peaks, (_REACH, _REACH), (1, 2))[:, : 2 * _REACH + 1, : 2 * _REACH + 1]
    best, places = near.flatten(1).max(dim=1)
    side = 2 * _REACH + 1
    table = torch.zeros(side, side)
    for place, weight in zip(
        places.tolist(), best.tolist(), strict=True
    ):  # in order, so that sums are the same
        table[place // side, place % side] += weight
    clusters = F.conv2d(table[None, None], torch.ones(1, 1, 3, 3), padding=1)[0, 0]
    centre = int(clusters.argmax())
    return float(centre % side - _REACH), float(centre // side - _REACH)


def _detail(values: Tensor, known: Tensor | None) -> Tensor:
    grey = values.mean(1, keepdim=True)
    band = grey - gaussian(grey, min(_LOWEST, min(grey.shape[-2:]) / 4), edges="replicate")
    return band[0] if known is None else (band * known)[0]


def _blocks(band: Tensor) -> Tensor:
    """The blocks of (1, H, W): (N, BLOCK, BLOCK)."""
    side = min(BLOCK, *band.shape[-2:])
    return band[0].unfold(0, side, STEP).unfold(1, side, STEP).reshape(-1, side, side)


def _correlation(source: Tensor, target: Tensor) -> Tensor:
    """The phase correlation of (N, H, W): a peak at row y, column x says target(x, y) = source(. + shift)."""
    height, width = source.shape[-2:]
    window = _hann(height, source.device)[:, None] * _hann(width, source.device)
    spectra = [torch.fft.rfft2(values * window) for values in (source, target)]
    cross = spectra[0] * spectra[1].conj()
    return torch.fft.irfft2(cross / cross.abs().clamp_min(1e-9), s=(height, width))


def _hann(length: int, device: torch.device) -> Tensor:
    places = (torch.arange(length, device=device) + 0.5) / length
    return (math.pi * places).sin().square()


def _signed(place: int, length: int) -> float:
    """A place of a circle as a shift: what is beyond half of it is negative."""
    return float(place if place <= length // 2 else place - length)
