from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from kontext_core.model.vae import VAE, Upsample


def test_encoding_is_the_mode(vae: VAE) -> None:
    """Repeatable, and without a draw."""
    image, before = torch.randn(2, 3, 16, 24), torch.get_rng_state()
    latents = vae.encode(image)
    assert latents.shape == (2, 16, 2, 3)
    assert torch.equal(vae.encode(image), latents)
    assert torch.equal(torch.get_rng_state(), before)
    mean, log_variance = vae.posterior(image)
    assert mean.shape == log_variance.shape == latents.shape
    assert torch.equal(latents, 0.5 * (mean - 0.25))


def test_decoding_undoes_scale_and_shift(vae: VAE) -> None:
    z = torch.randn(1, 16, 2, 3)
    torch.testing.assert_close(vae.decode(0.5 * (z - 0.25)), vae.decoder(z))
    assert vae.decode(z).shape == (1, 3, 16, 24)


@pytest.mark.parametrize(("height", "width"), [(12, 16), (16, 12), (1, 1)])
def test_sides_must_be_multiples_of_8(vae: VAE, height: int, width: int) -> None:
    with pytest.raises(
        ValueError, match=f"an image of {width} x {height} px .* both sides must be multiples of 8"
    ):
        vae.encode(torch.zeros(1, 3, height, width))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(vae: VAE, dtype: torch.dtype, assert_close: Callable[..., float]) -> None:
    """Inputs may stay float32."""
    half = VAE(vae.config).to(dtype)
    half.load_state_dict(vae.state_dict())
    image, latents = torch.rand(1, 3, 16, 16), torch.randn(1, 16, 2, 2)
    with torch.no_grad():
        assert half.encode(image).dtype == half.decode(latents).dtype == dtype
        assert_close(half.encode(image), vae.encode(image), 0.05)
        assert_close(half.decode(latents), vae.decode(latents), 0.05)


def test_pictures_of_a_batch_do_not_mix(vae: VAE, assert_close: Callable[..., float]) -> None:
    image = torch.rand(3, 3, 16, 16)
    together = vae.encode(image)
    for i in range(3):
        assert_close(together[i : i + 1], vae.encode(image[i : i + 1]))


@torch.no_grad()
def test_enlarging_in_one_step(assert_close: Callable[..., float]) -> None:
    """On a CPU in float32 it is one transposed convolution, at the borders too."""
    for channels, size in ((32, (3, 5)), (64, (1, 1))):
        enlarge, x = Upsample(channels), torch.randn(2, channels, *size)
        assert_close(enlarge(x), enlarge.conv(F.interpolate(x, scale_factor=2.0, mode="nearest")), 1e-6)


def test_results_are_laid_out_as_usual(vae: VAE) -> None:
    latents = vae.encode(torch.rand(2, 3, 16, 24))
    assert latents.is_contiguous()
    assert vae.decode(latents).is_contiguous()
    assert all(moment.stride(-1) == 1 for moment in vae.posterior(torch.rand(2, 3, 16, 24)))
