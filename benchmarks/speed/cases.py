"""What is measured: configurations, pictures, and the work that one step of each is.

D the model's width, N tokens, r the MLP's share of the width, M, K, N of a product (M, K) x (K, N).
"""

from collections import Counter
from dataclasses import dataclass, replace

from kontext_core.config import FLUX_VAE, KONTEXT_DEV, TransformerConfig, VAEConfig

REFERENCE_COUNTS = (0, 1, 2, 4)


@dataclass(frozen=True)
class Configuration:
    """A pair of models, and the sides in pixels of the square pictures that they are asked for."""

    transformer: TransformerConfig
    vae: VAEConfig
    sides: tuple[int, ...]


_SMALL_VAE = replace(FLUX_VAE, ch=32, ch_mult=(1, 1, 2, 2), num_res_blocks=1)

CONFIGURATIONS = {
    "kontext": Configuration(KONTEXT_DEV, FLUX_VAE, (512, 1024, 2048)),
    "middle": Configuration(
        replace(
            KONTEXT_DEV,
            vec_in_dim=128,
            context_in_dim=512,
            hidden_size=512,
            num_heads=8,
            depth=4,
            depth_single_blocks=8,
            axes_dim=(8, 28, 28),
            text_length=64,
        ),
        _SMALL_VAE,
        (512,),
    ),
    "tiny": Configuration(
        replace(
            KONTEXT_DEV,
            vec_in_dim=128,
            context_in_dim=128,
            hidden_size=128,
            num_heads=4,
            depth=2,
            depth_single_blocks=4,
            axes_dim=(8, 12, 12),
            text_length=16,
        ),
        _SMALL_VAE,
        (128,),
    ),
    "least": Configuration(
        replace(
            KONTEXT_DEV,
            vec_in_dim=32,
            context_in_dim=32,
            hidden_size=64,
            num_heads=2,
            depth=1,
            depth_single_blocks=2,
            axes_dim=(8, 12, 12),
            text_length=8,
        ),
        _SMALL_VAE,
        (32,),
    ),
}


@dataclass(frozen=True)
class Case:
    """One square picture with references of its own size."""

    side_px: int
    references: int

    @property
    def name(self) -> str:
        kind = "text to image" if self.references == 0 else f"{self.references} reference"
        return f"{self.side_px} px, {kind}{'s' if self.references > 1 else ''}"

    @property
    def target_tokens(self) -> int:
        return (self.side_px // 16) ** 2

    @property
    def image_tokens(self) -> int:
        return self.target_tokens * (1 + self.references)


def products(config: TransformerConfig, case: Case) -> Counter[tuple[int, int, int]]:
    """How often a step multiplies each (M, K, N): all linears but those that run once an edit."""
    width, mlp = config.hidden_size, config.mlp_hidden_dim
    target, img, txt = case.target_tokens, case.image_tokens, config.text_length
    both = img + txt
    found: Counter[tuple[int, int, int]] = Counter()
    for tokens in (img, txt):
        for inner, outer in ((width, 3 * width), (width, width), (width, mlp), (mlp, width)):
            found[tokens, inner, outer] += config.depth
    singles = config.depth_single_blocks - 1
    found[both, width, 3 * width + mlp] += singles
    found[both, width + mlp, width] += singles
    found[both, width, 3 * width] += 1  # the last block: only the target is read of it
    found[target, width, mlp] += 1
    found[target, width + mlp, width] += 1
    found[target, config.in_channels, width] += 1
    found[target, width, config.out_channels] += 1
    return found


def attentions(config: TransformerConfig, case: Case) -> Counter[tuple[int, int]]:
    """How often a step attends with so many (queries, keys)."""
    both = case.image_tokens + config.text_length
    blocks = config.depth + config.depth_single_blocks
    return Counter({(both, both): blocks - 1}) + Counter({(case.target_tokens, both): 1})


def step_flop(config: TransformerConfig, tokens: int) -> tuple[float, float]:
    """Of products and of attention in one step, by the formula blocks (4 (2 + r) D^2 N + 4
    N^2 D), 24 D^2 N for r = 4.
    """
    width, blocks = config.hidden_size, config.depth + config.depth_single_blocks
    return blocks * 4 * (2 + config.mlp_ratio) * width**2 * tokens, blocks * 4 * tokens**2 * width


def counted_flop(config: TransformerConfig, case: Case) -> tuple[float, float]:
    """The same, summed over the shapes that run."""
    multiplied = sum(2 * m * k * n * times for (m, k, n), times in products(config, case).items())
    attended = sum(
        4 * q * k * config.hidden_size * times for (q, k), times in attentions(config, case).items()
    )
    return multiplied, attended
