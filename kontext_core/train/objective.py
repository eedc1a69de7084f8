"""The training objectives: rectified flow for the transformer, reconstruction for the autoencoder."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..model.vae import VAE
from ..sampling.schedule import shift_mu

# Weights of the autoencoder's terms, found on a prototype: sharp edges want L1, flat colours MSE; KL only
# bounds the scale.
MSE_WEIGHT = 2.0
KL_WEIGHT = 1e-5


def logit_normal(count: int, mu: float | Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Times from the logit-normal p(t; mu, 1): one from each of `count` equally likely parts, shuffled.

    Each time alone is distributed as in the paper; drawing them apart takes noise out of a batch's gradient.

    Args:
        mu: one for all, or (count,).
    Returns: (count,), float32, on the CPU.
    Source: arXiv:2506.15742 appendix A.1.
    """
    parts = (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count
    return torch.sigmoid(torch.special.ndtri(parts.double()) + mu).float()


def interpolate(clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """z_t = (1 - t) x + t eps, for tokens (B, L, C) and times (B,). Source: arXiv:2506.15742 eq. 4."""
    t = t[:, None, None]
    return (1 - t) * clean + t * noise


def training_times(
    count: int,
    n_target_tokens: int,
    generator: torch.Generator | None = None,
    *,
    extra_mu: float = 0.0,
    share: float = 1.0,
) -> Tensor:
    """Times for a batch, their mu by the number of target tokens.

    Args:
        extra_mu: added for a random `share` of them; it means more noise.
    Source: arXiv:2506.15742 appendix A.2, A.3.
    """
    mu = shift_mu(n_target_tokens)
    if share >= 1:
        return logit_normal(count, mu + extra_mu, generator)
    noisier = torch.rand(count, generator=generator) < share
    return logit_normal(count, mu + extra_mu * noisier, generator)


def autoencoder_loss(
    vae: VAE,
    image: Tensor,
    generator: torch.Generator | None = None,
    *,
    latent_noise: float = 0.0,
    worst_weight: float = 0.0,
    anchor: VAE | None = None,
) -> tuple[Tensor, Tensor]:
    """Reconstruction with a sampled posterior.

    Args:
        image: (B, 3, H, W) in [-1, 1].
        latent_noise: largest standard deviation of noise on the latents, as the transformer sees them; every
            picture gets its own, mostly little. Teaches the decoder to forgive a sampler's small errors.
        worst_weight: of `worst_patches`, for what a mean over the picture hardly sees.
        anchor: an autoencoder whose latents these are to stay close to, so that a transformer still knows
            them.
    Returns: the loss to minimise, and the mean squared error of images in [0, 1], for the log.
    """
    mean, log_variance = vae.posterior(image)
    log_variance = log_variance.clamp(-30.0, 20.0)
    z = mean + torch.exp(0.5 * log_variance) * torch.randn(mean.shape, generator=generator).to(mean)
    if latent_noise:
        strength = latent_noise * torch.rand(len(z), 1, 1, 1, generator=generator).square()
        z = z + (strength * torch.randn(mean.shape, generator=generator)).to(mean) / vae.config.scale_factor
    decoded = vae.decoder(z)
    mse = F.mse_loss(decoded, image)
    kl = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=(1, 2, 3)).mean()
    loss = F.l1_loss(decoded, image) + MSE_WEIGHT * mse + KL_WEIGHT * kl
    if worst_weight:
        loss = loss + worst_weight * worst_patches((decoded - image) / 2)
    if anchor is not None:
        with torch.no_grad():
            known = anchor.posterior(image)[0]
        loss = loss + F.mse_loss(mean * anchor.config.scale_factor, known * anchor.config.scale_factor)
    return loss, mse.detach() / 4


def worst_patches(difference: Tensor) -> Tensor:
    """Fourth-power mean over patches of 8 x 8 px of their root mean square, so that the worst count most.

    Args:
        difference: (B, 3, H, W), of pictures in [0, 1]. Returns: its mean over the pictures.
    """
    squares = F.avg_pool2d(difference.square().mean(1, keepdim=True), 8)
    return squares.square().mean(dim=(1, 2, 3)).add(1e-12).pow(0.25).mean()
