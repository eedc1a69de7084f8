"""Shapes of the models, as frozen dataclasses, and the published presets."""

from dataclasses import dataclass, fields
from typing import Any, Self

TINY = "tiny"  # the model that comes along, by its name
Layout = str
LAYOUTS: tuple[Layout, ...] = ("offset", "index", "diagonal")
FITS: tuple[str, ...] = ("crop", "pad", "stretch", "none")
KEEP_OUTSIDE: tuple[str, ...] = ("off", "auto", "mask")
RESULT_SIZES: tuple[str, ...] = ("model", "original")
SOLVERS: tuple[str, ...] = ("euler", "heun", "dpmpp_2m")

# (height, width) in pixels. Source: flux util.py, PREFERED_KONTEXT_RESOLUTIONS (width, height there).
PREFERRED_SIZES: tuple[tuple[int, int], ...] = (
    (1024, 1024), (1568, 672), (1504, 688), (1456, 720), (1392, 752), (1328, 800), (1248, 832), (1184, 880), (1104, 944),
    (944, 1104), (880, 1184), (832, 1248), (800, 1328), (752, 1392), (720, 1456), (688, 1504), (672, 1568),
)  # fmt: skip


class _FromDict:
    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from JSON values, leaving out what this class does not know. Lists become tuples."""
        names = {field.name for field in fields(cls)}  # pyright: ignore[reportArgumentType]
        return cls(**{name: _frozen(value) for name, value in values.items() if name in names})


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(_FromDict):
    """Sizes of the transformer, and what belongs to a set of weights but does not show in its shapes.

    Args:
        in_channels: numbers in one image token (16 latent channels x 2 x 2).
        out_channels: likewise.
        vec_in_dim: width of CLIP's pooled vector.
        context_in_dim: width of T5's states.
        axes_dim: rotary dimensions for (index, row, column); they add up to one head's width.
        guidance_embed: whether the distilled guidance scale is an input.
        text_length: T5 tokens the model was trained with.
        preferred_sizes: (height, width) in pixels.
        layout: where references stand by default, one of `LAYOUTS`.
    Source: flux model.py, FluxParams.
    """

    in_channels: int
    out_channels: int
    vec_in_dim: int
    context_in_dim: int
    hidden_size: int
    mlp_ratio: float
    num_heads: int
    depth: int
    depth_single_blocks: int
    axes_dim: tuple[int, ...]
    theta: int
    qkv_bias: bool
    guidance_embed: bool
    text_length: int = 512
    preferred_sizes: tuple[tuple[int, int], ...] = PREFERRED_SIZES
    layout: Layout = "offset"

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}"
            )
        head_dim = self.hidden_size // self.num_heads
        if len(self.axes_dim) != 3 or sum(self.axes_dim) != head_dim or any(dim % 2 for dim in self.axes_dim):
            raise ValueError(
                f"axes_dim {self.axes_dim} must be three even numbers that add up to the head's {head_dim}"
            )
        if self.theta <= 1:
            raise ValueError(f"theta {self.theta} must be above 1, or positions do not differ")
        if self.text_length < 1:
            raise ValueError(f"text_length {self.text_length} must be at least 1")
        if not self.preferred_sizes or any(
            len(size) != 2 or any(side < 16 or side % 16 for side in size) for size in self.preferred_sizes
        ):
            raise ValueError(
                f"preferred_sizes {self.preferred_sizes} must be pairs (height, width) of multiples of 16"
            )
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout {self.layout!r} is not one of {', '.join(LAYOUTS)}")

    @property
    def mlp_hidden_dim(self) -> int:
        return int(self.hidden_size * self.mlp_ratio)


@dataclass(frozen=True, kw_only=True)
class VAEConfig(_FromDict):
    """Sizes of the autoencoder.

    Args:
        ch: channels of the first level.
        ch_mult: factor of each level, one halving between two.
        scale_factor: latents are scale_factor * (z - shift_factor).
        shift_factor: likewise.
        norm_groups: groups of every GroupNorm (32 in all published weights).
    Source: flux autoencoder.py, AutoEncoderParams.
    """

    resolution: int
    in_channels: int
    ch: int
    out_ch: int
    ch_mult: tuple[int, ...]
    num_res_blocks: int
    z_channels: int
    scale_factor: float
    shift_factor: float
    norm_groups: int = 32

    def __post_init__(self) -> None:
        if not self.scale_factor > 0:
            raise ValueError(f"scale_factor {self.scale_factor} must be above 0")
        if self.norm_groups < 1 or self.ch % self.norm_groups:
            raise ValueError(f"ch {self.ch} is not a multiple of norm_groups {self.norm_groups}")


KONTEXT_DEV = TransformerConfig(
    in_channels=64,
    out_channels=64,
    vec_in_dim=768,
    context_in_dim=4096,
    hidden_size=3072,
    mlp_ratio=4.0,
    num_heads=24,
    depth=19,
    depth_single_blocks=38,
    axes_dim=(16, 56, 56),
    theta=10_000,
    qkv_bias=True,
    guidance_embed=True,
)

# The tiny model that comes along. theta 100, because 10,000 leaves almost no angle between the few positions
# of a small picture.
TINY_TRANSFORMER = TransformerConfig(
    in_channels=64,
    out_channels=64,
    vec_in_dim=128,
    context_in_dim=128,
    hidden_size=128,
    mlp_ratio=4.0,
    num_heads=4,
    depth=2,
    depth_single_blocks=6,
    axes_dim=(8, 12, 12),
    theta=100,
    qkv_bias=True,
    guidance_embed=False,
    text_length=32,
    preferred_sizes=((128, 128),),
    layout="index",
)

FLUX_VAE = VAEConfig(
    resolution=256,
    in_channels=3,
    ch=128,
    out_ch=3,
    ch_mult=(1, 2, 4, 4),
    num_res_blocks=2,
    z_channels=16,
    scale_factor=0.3611,
    shift_factor=0.1159,
)
