"""What a training run can be told. Defaults made the committed weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..config import TINY_TRANSFORMER as TINY_TRANSFORMER
from ..config import Layout, VAEConfig

# Few channels where the picture is large, because that is where a CPU spends its time; eight groups, because
# a group of one channel would forget how bright a flat picture is.
TINY_VAE = VAEConfig(
    resolution=128,
    in_channels=3,
    ch=16,
    out_ch=3,
    ch_mult=(1, 1, 2, 4),
    num_res_blocks=1,
    z_channels=16,
    scale_factor=1.0,
    shift_factor=0.0,
    norm_groups=8,
)

# How often each kind of edit is drawn, relative to the others.
MIX: Mapping[str, float] = MappingProxyType(
    {
        "recolour": 8.0,
        "remove": 1.0,
        "add": 4.5,
        "move": 2.8,
        "reshape": 4.0,
        "background": 4.5,
        "palette": 4.5,
        "text": 4.0,
        "pointed": 1.6,
        "style": 4.0,
        "character": 1.6,
        "three": 3.0,
        "text_to_image": 1.3,
        "none": 0.6,
    }
)


@dataclass(frozen=True, kw_only=True)
class AutoencoderTraining:
    """How long and on what the autoencoder is trained.

    Args:
        minutes: of training in all.
        crop_px: side of the pieces that it learns from until the last fifth.
        latent_noise: see `autoencoder_loss`.
        worst_weight: likewise.
    """

    minutes: float = 15.0
    batch_size: int = 16
    lr_muon: float = 2e-3
    lr_adam: float = 2e-3
    warmup_steps: int = 100
    cooldown: float = 0.4
    average_decay: float = 0.998
    crop_px: int = 64
    latent_noise: float = 0.0
    worst_weight: float = 0.0
    seed: int = 0


# What makes an autoencoder better that is there already: small steps, its decoder forgiving small errors of
# latents.
REFINING = AutoencoderTraining(
    minutes=60.0,
    batch_size=32,
    lr_muon=1.5e-3,
    lr_adam=1e-3,
    cooldown=1.0,
    average_decay=0.995,
    latent_noise=0.3,
    worst_weight=1.5,
)


@dataclass(frozen=True, kw_only=True)
class TextTraining:
    """How long and on what the text encoders are trained.

    Args:
        minutes: of training in all.
        batch_size: in sentences.
        places_rate: rate of position tables relative to lr_adam.
        mix: how often a kind's sentences are drawn, 1 unless given: long ones are hard to hold.
    """

    minutes: float = 6.0
    batch_size: int = 64
    lr_muon: float = 6e-3
    lr_adam: float = 3e-3
    places_rate: float = 8.0
    warmup_steps: int = 20
    cooldown: float = 0.5
    average_decay: float = 0.98
    mix: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType({"text_to_image": 3.0, "three": 2.0})
    )
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class FlowTraining:
    """What a flow learns with.

    Args:
        minutes: of training in all.
        tokens_per_step: decides the batch.
        scales_rate: learning rate of the scales of queries and keys relative to lr_adam. They decide how
            sharply a token can look at its own place in a reference, and have far to go.
        change_weight: see `change_weights`.
        alignment: weight of the second loss at first, falling to almost nothing; see `Alignment`.
        extra_mu: added to the paper's mu for a share of the samples, which falls to `noisy_share_end`. What
            an instruction means, and copying from a reference, is learnt where the noise hides everything
            else; the paper's own distribution hardly visits such times in a small picture.
        noisy_share: likewise.
        reuse: how often a drawn scene is noised.
        seed: of scenes, noise and times. None takes a new one for each run that the weights have behind them.
        compile: `torch.compile` of the blocks, a minute or more at the start for each of the first shapes of
            batches.
    """

    minutes: float = 90.0
    tokens_per_step: int = 24 * 160
    lr_muon: float = 2e-3
    lr_adam: float = 1e-3
    weight_decay: float = 0.01
    warmup_steps: int = 100
    cooldown: float = 0.95
    average_decay: float = 0.996
    scales_rate: float = 8.0
    change_weight: float = 3.0
    alignment: float = 0.15
    extra_mu: float = 2.2
    noisy_share: float = 0.4
    noisy_share_end: float = 0.2
    layouts: tuple[Layout, ...] = ("index", "index", "index", "offset")
    reuse: int = 6
    pool: int = 20_000
    probe_minutes: float = 8.0
    compile: bool = False
    seed: int | None = None
    mix: Mapping[str, float] = field(default_factory=lambda: MIX)
