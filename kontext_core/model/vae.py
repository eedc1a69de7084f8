"""The autoencoder. Parameter names are the published checkpoint's (`ae.safetensors`).

Source: flux autoencoder.py. B batch, C channels, H and W in pixels of the level at hand.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import VAEConfig
from ..kernels.group_norm import group_norm, group_norm_silu, to_channels_last


class VAE(nn.Module):
    """Images in [-1, 1] to scaled and shifted latents, and back."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def encode(self, image: Tensor) -> Tensor:
        """Latents of an image: the mode of the posterior, so that edits are repeatable.

        Args:
            image: (B, 3, H, W) in [-1, 1], H and W multiples of 8.
        Returns: (B, z_channels, H/8, W/8), scaled and shifted, in the weights' dtype.
        """
        mean, _ = self.posterior(image)
        return self.config.scale_factor * (mean - self.config.shift_factor)

    def decode(self, latents: Tensor) -> Tensor:
        """Decode scaled and shifted latents (B, C, H/8, W/8) to (B, 3, H, W), about [-1, 1], unclamped."""
        latents = latents.to(self.decoder.conv_in.weight.dtype)
        z = latents / self.config.scale_factor + self.config.shift_factor
        return self.decoder(to_channels_last(z)).contiguous()

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, each (B, z_channels, H/8, W/8), before scale and shift."""
        self.check_size(image)
        moments = self.encoder(to_channels_last(image.to(self.encoder.conv_in.weight.dtype))).contiguous()
        mean, log_variance = moments.chunk(2, dim=1)
        return mean, log_variance

    def check_size(self, image: Tensor) -> None:
        """Raises: ValueError if a picture (B, 3, H, W) cannot be encoded."""
        factor = 2 ** (len(self.config.ch_mult) - 1)
        if image.shape[-2] % factor or image.shape[-1] % factor:
            raise ValueError(
                f"an image of {image.shape[-1]} x {image.shape[-2]} px cannot be encoded; both sides must be multiples of {factor}"
            )


class Encoder(nn.Module):
    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths = [config.ch * mult for mult in config.ch_mult]
        groups = config.norm_groups
        self.conv_in = nn.Conv2d(config.in_channels, config.ch, 3, padding=1)
        self.down = nn.ModuleList()
        channels = config.ch
        for i, width in enumerate(widths):
            level = Level(channels, width, config.num_res_blocks, groups)
            if i < len(widths) - 1:
                level.downsample = Downsample(width)
            self.down.append(level)
            channels = width
        self.mid = Middle(channels, groups)
        self.norm_out = _norm(channels, groups)
        self.conv_out = nn.Conv2d(channels, 2 * config.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(group_norm_silu(self.norm_out, self.mid(x)))


class Decoder(nn.Module):
    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths = [config.ch * mult for mult in config.ch_mult]
        groups = config.norm_groups
        channels = widths[-1]
        self.conv_in = nn.Conv2d(config.z_channels, channels, 3, padding=1)
        self.mid = Middle(channels, groups)
        levels: list[nn.Module] = []
        for i, width in reversed(list(enumerate(widths))):
            level = Level(channels, width, config.num_res_blocks + 1, groups)
            if i > 0:
                level.upsample = Upsample(width)
            levels.append(level)
            channels = width
        # The checkpoint counts levels from the finest, they run from the coarsest.
        self.up = nn.ModuleList(reversed(levels))
        self.norm_out = _norm(channels, groups)
        self.conv_out = nn.Conv2d(channels, config.out_ch, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(group_norm_silu(self.norm_out, x))


class Level(nn.Module):
    """Residual blocks at one resolution, then perhaps a change of it."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, groups: int) -> None:
        super().__init__()
        self.downsample: nn.Module | None = None
        self.upsample: nn.Module | None = None
        self.block = nn.ModuleList(
            ResnetBlock(in_channels if i == 0 else out_channels, out_channels, groups) for i in range(blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        resample = self.downsample or self.upsample
        return x if resample is None else resample(x)


class Middle(nn.Module):
    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, groups)
        self.attn_1 = AttnBlock(channels, groups)
        self.block_2 = ResnetBlock(channels, channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class ResnetBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = _norm(in_channels, groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = _norm(out_channels, groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(group_norm_silu(self.norm1, x))
        h = self.conv2(group_norm_silu(self.norm2, h))
        return h.add_(x if self.nin_shortcut is None else self.nin_shortcut(x))


class AttnBlock(nn.Module):
    """Single-head attention over all positions; the projections are 1 x 1 convolutions."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = _norm(channels, groups)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = group_norm(self.norm, x)
        # (B, 1, HW, C).
        q, k, v = (proj(h).flatten(2).transpose(1, 2).unsqueeze(1) for proj in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(h.squeeze(1).transpose(1, 2).reshape(x.shape))


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # right and bottom only, as the weights were trained


class Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.dtype == torch.float32:
            return F.conv_transpose2d(x, _doubling(self.conv.weight), self.conv.bias, stride=2, padding=1)
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def _doubling(weight: Tensor) -> Tensor:
    """A 3x3 kernel behind nearest x2, (C_out, C_in, 3, 3), as a transposed one (C_in, C_out, 4, 4).

    Of each 3 x 3 taps some read the same number twice: their sums are 2 x 2, four ninths of the
    multiplications.
    """
    weight = weight.flip(-1, -2).transpose(0, 1)
    rows = F.pad(weight, (0, 0, 0, 1)) + F.pad(weight, (0, 0, 1, 0))
    return F.pad(rows, (0, 1)) + F.pad(rows, (1, 0))


def _norm(channels: int, groups: int) -> nn.GroupNorm:
    return nn.GroupNorm(groups, channels, eps=1e-6)
