import math
from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from kontext_core.model.vae import VAE
from kontext_core.sampling.schedule import shift_mu
from kontext_core.train.objective import (
    autoencoder_loss,
    interpolate,
    logit_normal,
    training_times,
    worst_patches,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_interpolation_runs_from_data_to_noise() -> None:
    clean, noise = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    mixed = interpolate(clean, noise, torch.tensor([0.0, 1.0, 0.25]))
    assert torch.equal(mixed[0], clean[0])
    assert torch.equal(mixed[1], noise[1])
    torch.testing.assert_close(mixed[2], 0.75 * clean[2] + 0.25 * noise[2])


def test_its_derivative_is_the_velocity() -> None:
    """Noise minus data, at every time: what the network is to predict, and the sampler follows."""
    clean, noise = torch.randn(2, 4, 5).double(), torch.randn(2, 4, 5).double()
    t, later = torch.tensor([0.3, 0.7]).double(), torch.tensor([0.4, 0.8]).double()
    slope = (interpolate(clean, noise, later) - interpolate(clean, noise, t)) / 0.1
    torch.testing.assert_close(slope, noise - clean, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mu", [0.0, 0.4675, 1.15])
def test_logit_normal(mu: float) -> None:
    """The logit of t is normal with mean mu and deviation 1."""
    times = logit_normal(20_000, mu, generator())
    assert times.shape == (20_000,)
    assert times.dtype == torch.float32
    assert 0 <= times.min() < times.max() <= 1
    logits = torch.logit(times.double())
    assert logits.mean().item() == pytest.approx(mu, abs=0.02)
    assert logits.std().item() == pytest.approx(1.0, abs=0.02)
    within = ((logits - mu).abs() < 1).double().mean().item()
    assert within == pytest.approx(math.erf(1 / math.sqrt(2)), abs=0.01)


def test_each_time_alone_is_logit_normal() -> None:
    """Times of one batch are drawn apart, but the first of many batches is distributed as any."""
    firsts = torch.cat([logit_normal(8, 0.5, generator(seed))[:1] for seed in range(4000)])
    logits = torch.logit(firsts.double())
    assert logits.mean().item() == pytest.approx(0.5, abs=0.06)
    assert logits.std().item() == pytest.approx(1.0, abs=0.06)


def test_times_of_a_batch_lie_apart() -> None:
    times = logit_normal(16, 0.0, generator())
    parts = (torch.special.ndtr(torch.logit(times.double())) * 16).floor()
    assert parts.sort().values.tolist() == list(range(16))
    assert parts.tolist() != list(range(16)), "in random order"


@pytest.mark.parametrize("n_target", [64, 4096])
def test_times_shift_with_the_target(n_target: int) -> None:
    assert torch.equal(
        training_times(9, n_target, generator()), logit_normal(9, shift_mu(n_target), generator())
    )
    more = training_times(9, n_target, generator(), extra_mu=1.5)
    assert torch.equal(more, logit_normal(9, shift_mu(n_target) + 1.5, generator()))


def test_generators_decide_alone() -> None:
    before = torch.get_rng_state()
    assert torch.equal(logit_normal(5, 0.0, generator(3)), logit_normal(5, 0.0, generator(3)))
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_on_latents_is_as_strong_as_asked(vae: VAE) -> None:
    """Without any the decoder sees the same latents; with more the picture moves away further."""
    image = torch.rand(4, 3, 16, 16, generator=generator()) * 2 - 1
    losses = [
        autoencoder_loss(vae, image, generator(1), latent_noise=noise)[0].item()
        for noise in (0.0, 1e-6, 10.0)
    ]
    assert losses[0] == autoencoder_loss(vae, image, generator(1))[0].item()
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert abs(losses[2] - losses[0]) > 1e-3


def test_autoencoder_loss_by_hand(vae: VAE, assert_close: Callable[..., float]) -> None:
    image = torch.rand(2, 3, 16, 16, generator=generator()) * 2 - 1
    loss, mse = autoencoder_loss(vae, image, generator(1))
    mean, log_variance = vae.posterior(image)
    draw = torch.randn(mean.shape, generator=generator(1))
    decoded = vae.decoder(mean + (log_variance / 2).exp() * draw)
    gaussian = torch.distributions.Normal(mean, (log_variance / 2).exp())
    kl = torch.distributions.kl_divergence(gaussian, torch.distributions.Normal(0.0, 1.0))
    expected = (decoded - image).abs().mean() + 2 * (decoded - image).square().mean()
    expected = expected + 1e-5 * kl.sum(dim=(1, 2, 3)).mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(mse, ((decoded - image) / 2).square().mean())


def test_the_worst_patch_counts_most() -> None:
    """By hand: of four patches one is off by 0.5 in every pixel, which is 0.5
    (1/4)^(1/4) and more than its mean.
    """
    difference = torch.zeros(1, 3, 16, 16)
    difference[..., :8, 8:] = -0.5
    torch.testing.assert_close(worst_patches(difference), torch.tensor(0.5 * 0.25**0.25))
    even = torch.full((2, 3, 16, 16), 0.125)
    torch.testing.assert_close(worst_patches(even), torch.tensor(0.125))


def test_latents_are_held_to_their_anchor(vae: VAE) -> None:
    """Their own anchor costs nothing; others the mean square of the distance, in the transformer's units."""
    image = torch.rand(2, 3, 16, 16, generator=generator()) * 2 - 1
    alone = autoencoder_loss(vae, image, generator(1))[0]
    torch.testing.assert_close(autoencoder_loss(vae, image, generator(1), anchor=vae)[0], alone)
    other = deepcopy(vae)
    with torch.no_grad():
        other.encoder.conv_out.bias[: vae.config.z_channels] += 0.5
    apart = autoencoder_loss(vae, image, generator(1), anchor=other)[0] - alone
    torch.testing.assert_close(apart, torch.tensor((0.5 * vae.config.scale_factor) ** 2))


def test_autoencoder_loss_survives_wild_variances(vae: VAE, monkeypatch: pytest.MonkeyPatch) -> None:
    def wild(image: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(1, 16, 2, 2), torch.full((1, 16, 2, 2), 500.0)

    monkeypatch.setattr(vae, "posterior", wild)
    assert autoencoder_loss(vae, torch.zeros(1, 3, 16, 16), generator())[0].isfinite()


def test_a_share_of_the_times_is_noisier() -> None:
    """One mode at the paper's mu, one beyond it."""
    times = training_times(20_000, 64, generator(), extra_mu=4.0, share=0.25).logit()
    assert (times > shift_mu(64) + 2).float().mean() == pytest.approx(0.25 * 0.977 + 0.75 * 0.023, abs=0.01)
    assert times.mean() == pytest.approx(shift_mu(64) + 0.25 * 4, abs=0.05)
