"""Training of the small autoencoder."""

import random
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..config import VAEConfig
from ..model.vae import VAE
from ..world.draw import draw
from ..world.edits import KINDS, sample
from ..world.scenes import PALETTES, STYLES, TIMES
from ..world.score import psnr
from ..world.single import random_scene
from .config import AutoencoderTraining
from .objective import autoencoder_loss
from .optimizer import Muon, split_parameters
from .run import TrainingRun


def train_autoencoder(
    config: VAEConfig,
    training: AutoencoderTraining,
    folder: Path,
    device: str = "cpu",
    *,
    start: VAE | None = None,
) -> VAE:
    """Train from scratch, or go on with the run in `folder`.

    Args:
        start: an autoencoder to make better, on whole pictures; its latents stay close to what they are.
    Returns: the averaged weights. From scratch, scale and shift are set so that latents of the world have
        mean 0 and variance 1.
    """
    torch.manual_seed(training.seed)
    start = start and start.to(device)
    vae = (VAE(config) if start is None else deepcopy(start)).to(device).train()
    # a third less time on a CPU
    vae.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    matrices, _, others = split_parameters(vae)
    optimizers: list[torch.optim.Optimizer] = [
        Muon(matrices, lr=training.lr_muon),
        torch.optim.AdamW(others, lr=training.lr_adam, weight_decay=0.0),
    ]
    run = TrainingRun(
        folder,
        vae,
        optimizers,
        minutes=training.minutes,
        warmup_steps=training.warmup_steps,
        cooldown=training.cooldown,
        average_decay=training.average_decay,
    )
    for step in run.steps():
        rng = random.Random(f"autoencoder/{training.seed}/{step}")
        generator = torch.Generator().manual_seed(rng.getrandbits(63))
        whole = start is not None or run.progress > 0.8
        # four crops of one picture cost as much as the picture whole
        if whole:
            image = torch.cat(
                [draw_some(rng, training.batch_size // 8, device) for draw_some in (pictures, odd_pictures)]
            )
        else:
            image = _crops(crowded_pictures(rng, training.batch_size, device), training.crop_px, rng)
        loss, mse = autoencoder_loss(
            vae,
            (image * 2 - 1).contiguous(memory_format=torch.channels_last),
            generator,
            latent_noise=training.latent_noise,
            worst_weight=training.worst_weight,
            anchor=start,
        )
        norm = run.update(loss, image.shape[0])
        run.record(loss=loss.item(), psnr=-10 * torch.log10(mse).item(), grad=norm, rate=run.lr_scale)
    vae.load_state_dict(run.average.tensors)
    return vae.eval() if start is not None else normalised(vae, device)


def crowded_pictures(rng: random.Random, count: int, device: str = "cpu") -> Tensor:
    """Pictures (B, 3, 128, 128) in [0, 1] with more things than edits have: few empty cells.

    Every other one may have fewer, and has any style, palette and time of day: most scenes are plain, and the
    rest must look right too.
    """
    scenes = [random_scene(rng, 1 if i % 2 else 6, 13) for i in range(count)]
    looks = {"style": STYLES, "palette": PALETTES, "time": TIMES}
    for i in range(1, count, 2):
        scenes[i] = replace(scenes[i], **{name: rng.choice(values) for name, values in looks.items()})
    return draw(scenes, device)


def odd_pictures(rng: random.Random, count: int, device: str = "cpu") -> Tensor:
    """Pictures (B, 3, 128, 128) in [0, 1] that an autoencoder remembers last.

    One to five things, or a crowd, in any style, at any time of day, two in five of them grey: large plain
    areas in rare colours show its errors most.
    """
    scenes = []
    for i in range(count):
        fewest, most = (1, 5) if i % 2 else (2, 13)
        palette = "grey" if rng.random() < 0.4 else rng.choice(PALETTES)
        scenes.append(
            replace(
                random_scene(rng, fewest, most),
                style=rng.choice(STYLES),
                palette=palette,
                time=rng.choice(TIMES),
            )
        )
    return draw(scenes, device)


def pictures(rng: random.Random, count: int, device: str = "cpu") -> Tensor:
    """Scenes of every kind (B, 3, 128, 128) in [0, 1], references and results alike."""
    drawn = [sample(rng.choice(KINDS), rng) for _ in range(count)]
    return draw([rng.choice([*example.references, example.target]) for example in drawn], device)


@torch.no_grad()
def normalised(vae: VAE, device: str = "cpu") -> VAE:
    """The same weights, with scale and shift measured on 256 pictures."""
    rng = random.Random("scale")
    means = torch.cat([vae.posterior(pictures(rng, 32, device) * 2 - 1)[0] for _ in range(8)])
    vae.config = replace(
        vae.config, scale_factor=round(1 / means.std().item(), 4), shift_factor=round(means.mean().item(), 4)
    )
    return vae.eval()


@torch.no_grad()
def reconstruction_psnr(vae: VAE, count: int = 128, seed: int = 10_000, device: str = "cpu") -> float:
    """Mean PSNR in dB of pictures never trained on, through encode and decode."""
    rng = random.Random(f"held-out/{seed}")
    image = pictures(rng, count, device)
    decoded = torch.cat([vae.decode(vae.encode(part * 2 - 1)) for part in image.split(32)])
    return float(psnr((decoded / 2 + 0.5).clamp(0, 1), image).mean())


def _crops(image: Tensor, size: int, rng: random.Random) -> Tensor:
    spare = image.shape[-1] - size
    corners = [
        (rng.randint(0, spare // 8) * 8, rng.randint(0, spare // 8) * 8) for _ in range(image.shape[0])
    ]
    return torch.stack(
        [picture[:, y : y + size, x : x + size] for picture, (y, x) in zip(image, corners, strict=True)]
    )
