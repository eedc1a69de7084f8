"""Latents: packing into tokens and back, and the starting noise."""

import torch
from einops import rearrange
from torch import Tensor

LATENT_PX = 8  # one latent is 8 x 8 pixels
TOKEN_PX = 16  # one token is 2 x 2 latents


def size_px(latents: Tensor) -> tuple[int, int]:
    """(height, width) in pixels of what latents (B, C, H, W) show."""
    return latents.shape[-2] * LATENT_PX, latents.shape[-1] * LATENT_PX


def pack(latents: Tensor) -> Tensor:
    """Latents (B, C, H, W) to tokens (B, H/2 * W/2, C * 4).

    Raises: ValueError if a side is odd.
    Source: flux sampling.py, prepare.
    """
    height, width = latents.shape[-2:]
    if height % 2 or width % 2:
        raise ValueError(
            f"latents of {height} x {width} cannot be packed 2 x 2; pad them to even sides first"
        )
    return rearrange(latents, "b c (h ph) (w pw) -> b (h w) (c ph pw)", ph=2, pw=2)


def unpack(tokens: Tensor, height_latent: int, width_latent: int) -> Tensor:
    """Tokens (B, L, C * 4) to latents (B, C, height_latent, width_latent). The inverse of `pack`."""
    return rearrange(
        tokens,
        "b (h w) (c ph pw) -> b c (h ph) (w pw)",
        ph=2,
        pw=2,
        h=height_latent // 2,
        w=width_latent // 2,
    )


def noise(batch: int, height_latent: int, width_latent: int, seed: int, *, channels: int = 16) -> Tensor:
    """Starting noise, the same on every device and bit-equal to ComfyUI's for a seed.

    Returns: (batch, channels, height_latent, width_latent), float32, on the CPU.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, height_latent, width_latent, generator=generator)
