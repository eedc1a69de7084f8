"""The autoencoder in tiles against the autoencoder whole."""

from collections.abc import Callable

import pytest
import torch

from kontext_core.loading import load_vae
from kontext_core.loading.folders import TINY
from kontext_core.vae import VAE
from kontext_core.vae_tiles import decode_in_tiles, encode_in_tiles


@pytest.mark.parametrize(("height", "width"), [(64, 64), (40, 104), (16, 128), (8, 8)])
@pytest.mark.parametrize("tile", [4, 10, 64])
def test_tiles_give_the_same_numbers(
    vae: VAE, height: int, width: int, tile: int, assert_close: Callable[..., float]
) -> None:
    """Sides that tiles divide and sides that they do not, one tile and many, a batch of two."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, height, width, generator=generator) * 2 - 1
    latents = torch.randn(2, 16, height // 8, width // 8, generator=generator)
    with torch.no_grad():
        assert_close(encode_in_tiles(vae, image, tile), vae.encode(image))
        assert_close(decode_in_tiles(vae, latents, tile), vae.decode(latents))


def test_no_seam_is_seen_in_a_trained_picture() -> None:
    """Far below 1/255, in bfloat16 as near to the whole as that is to float32."""
    vae = load_vae(TINY, dtype=torch.float32)
    latents = torch.randn(1, 16, 24, 40, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = vae.decode(latents)
        assert (decode_in_tiles(vae, latents, 32) - whole).abs().max() < 1e-4
        half = VAE(vae.config).to(torch.bfloat16)
        half.load_state_dict(vae.state_dict())
        rounded = (half.decode(latents).float() - whole).square().mean()
        tiled = (decode_in_tiles(half, latents, 32).float() - whole).square().mean()
    assert tiled <= 1.1 * rounded


@pytest.mark.parametrize(("height", "width"), [(4096, 32), (32, 4096)])
def test_the_longest_sides_in_the_usual_tiles(height: int, width: int) -> None:
    """Eight tiles, and a norm's mean over all of them: a tenth of 1/255 of what a picture spans, at most. More: benchmarks.vae_tiles."""
    vae = load_vae(TINY, dtype=torch.float32)
    latents = torch.randn(1, 16, height // 8, width // 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        picture = vae.decode(latents)
        assert (decode_in_tiles(vae, latents) - picture).abs().max() / 2 < 0.1 / 255
        assert (encode_in_tiles(vae, picture) - vae.encode(picture)).abs().max() < 1e-3


@pytest.mark.parametrize(("height", "width"), [(12, 16), (16, 12)])
def test_sides_must_be_multiples_of_8(vae: VAE, height: int, width: int) -> None:
    with pytest.raises(ValueError, match="both sides must be multiples of 8"):
        encode_in_tiles(vae, torch.zeros(1, 3, height, width))
