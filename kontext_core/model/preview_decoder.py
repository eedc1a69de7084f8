"""The decoder of a very small autoencoder (TAESD), for pictures of unfinished latents.

Parameter names are its authors': numbers of the layers, the clamp being the first.
Source: madebyollin/taesd taesd.py, Decoder; diffusers autoencoders/vae.py, DecoderTiny.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 64
_BLOCKS = (3, 3, 3, 1)  # of each level, from the coarsest


class PreviewDecoder(nn.Sequential):
    """Scaled and shifted latents (B, channels, h, w) to an image (B, 3, 8h, 8w) in [0, 1]."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__(Clamp(), nn.Conv2d(channels, WIDTH, 3, padding=1), nn.ReLU(), *_levels())

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """The same, clamped, on the decoder's device and in its dtype."""
        weight = next(self.parameters())
        return self(latents.to(weight.device, weight.dtype)).clamp(0, 1)


def _levels() -> Iterator[nn.Module]:
    for level, blocks in enumerate(_BLOCKS):
        yield from (Block() for _ in range(blocks))
        if level + 1 < len(_BLOCKS):
            yield nn.Upsample(scale_factor=2)
            yield nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)
    yield nn.Conv2d(WIDTH, 3, 3, padding=1)


class Clamp(nn.Module):
    """Latents far out are no colours; they are bent to within 3."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        first, second, third = (nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(3))
        self.conv = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x) + x)
