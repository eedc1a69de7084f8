"""The autoencoder in tiles: the same numbers up to rounding, where a picture whole would not fit the memory.

Tiles that are decoded alone show seams, because a GroupNorm sees the whole picture. So here each step runs
over all tiles before the next begins: a norm's mean and variance are summed over the picture, and a
convolution reads each tile with the border that it needs. Between steps the picture lies in the CPU's memory;
the device holds one tile at a time, and at an eighth of the size the one attention, its queries a few at a
time.
"""

import gc
import logging
from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import VAEConfig
from ..errors import TooLittleMemoryError, check_finite, explain_oom
from .vae import VAE, AttnBlock, Decoder, Encoder, Level, Middle, ResnetBlock

log = logging.getLogger(__name__)

TILE = 512  # positions a side, at each level's own resolution; even
# Numbers of a layer that kernels of a card index; upsampling refuses more (UpSampleNearest2d.cu).
INDEXED = 2**31 - 1
_QUERIES = 1024
_LIVE = 5  # so many times the largest layer lies in memory at once: 3.4 to 6.2 times by `python -m benchmarks.cpu_parts`

_Pointwise = Callable[[Tensor], Tensor]


def encode_with_room(vae: VAE, image: Tensor, room: int | None = None) -> Tensor:
    """`VAE.encode`; where the memory is too little for that, in tiles.

    Args:
        room: see `decode_with_room`.
    """
    size = image.shape[-2], image.shape[-1]
    return _with_room(vae, vae.encode, lambda x: encode_in_tiles(vae, x), image, size, room)


def decode_with_room(vae: VAE, latents: Tensor, room: int | None = None) -> Tensor:
    """`VAE.decode`; where the memory is too little for that, in tiles.

    Args:
        room: bytes that are left for it; None where nobody knows, and an attempt tells.
    Raises: ValueError if numbers of the result are not finite, and those of the latents are.
    """
    size = 8 * latents.shape[-2], 8 * latents.shape[-1]
    image = _with_room(vae, vae.decode, lambda x: decode_in_tiles(vae, x), latents, size, room)
    if bool(latents.isfinite().all()):
        check_finite(image, "the picture", vae)
    return image


def work_bytes(vae: VAE, height_px: int, width_px: int) -> int:
    """About what a picture whole takes beside the weights, in or out. Where it is one tile anyway: 0."""
    if max(height_px, width_px) <= TILE:
        return 0
    return _LIVE * largest_layer(vae.config, height_px, width_px) * vae.decoder.conv_in.weight.element_size()


def largest_layer(config: VAEConfig, height_px: int, width_px: int) -> int:
    """How many numbers the largest layer of a picture has: at each level what comes in or goes out."""
    levels = zip(config.ch_mult, [*config.ch_mult[1:], config.ch_mult[-1]], strict=True)
    areas = ((height_px >> i) * (width_px >> i) for i in range(len(config.ch_mult)))
    return max(config.ch * max(pair) * area for pair, area in zip(levels, areas, strict=True))


@torch.no_grad()
def encode_in_tiles(vae: VAE, image: Tensor, tile: int = TILE) -> Tensor:
    """As `VAE.encode`; the result is on the CPU.

    Args:
        image: (B, 3, H, W).
        tile: positions a side, even.
    """
    vae.check_size(image)
    mean = _Tiles(vae.encoder.conv_in.weight, tile).encode(vae.encoder, image).chunk(2, dim=1)[0]
    return vae.config.scale_factor * (mean - vae.config.shift_factor)


@torch.no_grad()
def decode_in_tiles(vae: VAE, latents: Tensor, tile: int = TILE) -> Tensor:
    """As `VAE.decode`; the result is on the CPU.

    Args:
        latents: (B, z_channels, H/8, W/8).
        tile: positions a side, even.
    """
    latents = latents.cpu() / vae.config.scale_factor + vae.config.shift_factor
    return _Tiles(vae.decoder.conv_in.weight, tile).decode(vae.decoder, latents)


def whole_at_once(config: VAEConfig, height_px: int, width_px: int) -> int:
    """Count the pictures whose largest layer 32 bits can number on a card; 0 if one alone is too large."""
    return INDEXED // largest_layer(config, height_px, width_px)


def _with_room(
    vae: VAE, whole: _Pointwise, tiled: _Pointwise, x: Tensor, size_px: tuple[int, int], room: int | None
) -> Tensor:
    """Run pictures whole where that is possible, else in tiles.

    Args:
        vae: what runs them.
        whole: for some of them at once.
        tiled: for one.
        x: (B, ...).
        size_px: (height, width).
        room: see `decode_with_room`.
    """
    needed = work_bytes(vae, *size_px)
    at_once = len(x) if x.device.type == "cpu" else whole_at_once(vae.config, *size_px)
    if at_once and (room is None or needed * len(x) <= room):
        try:
            with explain_oom("the pictures whole", ""):
                return torch.cat([whole(some) for some in x.split(at_once)])
        except TooLittleMemoryError:
            pass
        # here and not above: there the error still held what the attempt had made
        gc.collect()  # nor is it gone yet where an error holds itself by its traceback, as newer Pythons have it
        torch.cuda.empty_cache()  # what it has left is in pieces of the wrong size
    log.info("the autoencoder works in tiles: %d pictures are too large to be processed whole", len(x))
    return torch.cat([tiled(single) for single in x.split(1)])


class _Tiles:
    """The steps of the autoencoder over tiles. Whole pictures (B, C, H, W) go in and come out on the CPU."""

    def __init__(self, weight: Tensor, tile: int) -> None:
        self.device, self.dtype, self.tile = weight.device, weight.dtype, tile

    def encode(self, encoder: Encoder, x: Tensor) -> Tensor:
        x = self.conv(encoder.conv_in, x)
        for level in encoder.down:
            x = self.level(cast("Level", level), x)
        x = self.middle(encoder.mid, x)
        return self.conv(encoder.conv_out, x, self.normed(encoder.norm_out, x))

    def decode(self, decoder: Decoder, x: Tensor) -> Tensor:
        x = self.middle(decoder.mid, self.conv(decoder.conv_in, x))
        for level in reversed(decoder.up):
            x = self.level(cast("Level", level), x)
        return self.conv(decoder.conv_out, x, self.normed(decoder.norm_out, x))

    def level(self, level: Level, x: Tensor) -> Tensor:
        for block in level.block:
            x = self.block(cast("ResnetBlock", block), x)
        if level.downsample is not None:
            return self.conv(cast("nn.Conv2d", level.downsample.conv), x)
        if level.upsample is not None:
            return self.conv(cast("nn.Conv2d", level.upsample.conv), x, _twice, scale=2)
        return x

    def middle(self, middle: Middle, x: Tensor) -> Tensor:
        return self.block(middle.block_2, self.attention(middle.attn_1, self.block(middle.block_1, x)))

    def block(self, block: ResnetBlock, x: Tensor) -> Tensor:
        h = self.conv(block.conv1, x, self.normed(block.norm1, x))
        if block.nin_shortcut is not None:
            x = self.conv(block.nin_shortcut, x)
        return self.conv(block.conv2, h, self.normed(block.norm2, h), plus=x)

    def attention(self, attention: AttnBlock, x: Tensor) -> Tensor:
        """Attend to the whole picture, a few queries at a time.

        No table of all pairs is made, even where no fused kernel takes heads this wide.
        """
        whole = x.to(self.device, self.dtype)
        h = attention.norm(whole)
        q, k, v = (
            proj(h).flatten(2).transpose(1, 2)[:, None] for proj in (attention.q, attention.k, attention.v)
        )
        h = torch.cat(
            [F.scaled_dot_product_attention(some, k, v) for some in q.split(_QUERIES, dim=2)], dim=2
        )
        return (whole + attention.proj_out(h[:, 0].transpose(1, 2).reshape(whole.shape))).cpu()

    def conv(
        self,
        conv: nn.Conv2d,
        x: Tensor,
        before: _Pointwise | None = None,
        *,
        scale: int = 1,
        plus: Tensor | None = None,
    ) -> Tensor:
        """A convolution of `before(x)`, plus another picture.

        Args:
            scale: by how much `before` enlarges.
        """
        stride = conv.stride[0]
        border = conv.kernel_size[0] // 2
        first = 0 if stride == 2 else border  # the down-sampling pads right and bottom only
        height, width = x.shape[-2:]
        out: Tensor | None = None
        for rows, columns in self.tiles(height, width):
            top, bottom = max(rows.start - border, 0), min(rows.stop + border, height)
            left, right = max(columns.start - border, 0), min(columns.stop + border, width)
            piece = x[..., top:bottom, left:right].to(self.device, self.dtype)
            piece = piece if before is None else before(piece)
            # zeros beyond the picture; less than nothing where more was read than the convolution looks at
            pads = (
                left * scale - (columns.start * scale - first),
                columns.stop * scale + border - right * scale,
                top * scale - (rows.start * scale - first),
                rows.stop * scale + border - bottom * scale,
            )
            piece = F.conv2d(F.pad(piece, pads), conv.weight, conv.bias, stride)
            if out is None:
                size = height * scale // stride, width * scale // stride
                out = torch.empty(x.shape[0], conv.out_channels, *size, dtype=self.dtype)
            place = (
                ...,
                slice(rows.start * scale // stride, rows.stop * scale // stride),
                slice(columns.start * scale // stride, columns.stop * scale // stride),
            )
            out[place] = piece if plus is None else piece + plus[place].to(self.device)
        assert out is not None
        return out

    def normed(self, norm: nn.GroupNorm, x: Tensor) -> _Pointwise:
        """Swish of the GroupNorm of x, for each of its tiles: mean and variance are the whole picture's."""
        count, mean, squares = 0, torch.zeros(()), torch.zeros(())
        for rows, columns in self.tiles(*x.shape[-2:]):
            grouped = (
                x[..., rows, columns]
                .to(self.device)
                .flatten(2)
                .unflatten(1, (norm.num_groups, -1))
                .flatten(2)
            )
            variance, average = torch.var_mean(grouped.float(), dim=-1, correction=0)
            variance, average, n = variance.double().cpu(), average.double().cpu(), grouped.shape[-1]
            # two means and sums of squares as one: Chan, Golub and LeVeque 1983
            apart = average - mean
            squares = squares + variance * n + apart.square() * (count * n / (count + n))
            mean = mean + apart * (n / (count + n))
            count += n
        per_channel = norm.num_channels // norm.num_groups
        factor = (squares / count + norm.eps).rsqrt().repeat_interleave(
            per_channel, dim=1
        ) * norm.weight.double().cpu()
        shift = norm.bias.double().cpu() - mean.repeat_interleave(per_channel, dim=1) * factor
        factor, shift = (values[..., None, None].to(self.device, torch.float32) for values in (factor, shift))
        return lambda piece: F.silu(torch.addcmul(shift, piece.float(), factor).to(self.dtype))

    def tiles(self, height: int, width: int) -> Iterator[tuple[slice, slice]]:
        for top in range(0, height, self.tile):
            for left in range(0, width, self.tile):
                yield (
                    slice(top, min(top + self.tile, height)),
                    slice(left, min(left + self.tile, width)),
                )


def _twice(piece: Tensor) -> Tensor:
    return F.interpolate(piece, scale_factor=2.0, mode="nearest")
