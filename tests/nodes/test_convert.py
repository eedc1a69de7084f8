"""ComfyUI's tensors to ours and back."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from .conftest import picture


@pytest.fixture
def convert(part: Callable[[str], Any]) -> Any:
    return part("nodes.convert")


@pytest.fixture
def flux_vae(part: Callable[[str], Any]) -> Any:
    """Scale and shift as published."""
    return part("kontext_core.config").FLUX_VAE


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pictures_of_any_channels(convert: Any, channels: int) -> None:
    image = picture(4, 6, channels=channels)
    made = convert.picture(image)
    assert made.shape == (1, 4, 6, 3)
    if channels in (1, 3):
        assert torch.equal(made, image.expand(-1, -1, -1, 3))


def test_transparent_is_white(convert: Any) -> None:
    image = torch.zeros(1, 1, 2, 4)
    image[0, 0, 1, 3] = 1.0
    assert convert.picture(image)[0, 0].tolist() == [[1, 1, 1], [0, 0, 0]]


def test_values_outside_are_clamped(convert: Any) -> None:
    made = convert.picture(torch.tensor([-1.0, 0.5, 7.0]).reshape(1, 1, 1, 3))
    assert made.flatten().tolist() == [0, 0.5, 1]


def test_latents_are_scaled_as_in_comfyui(convert: Any, flux_vae: Any) -> None:
    from comfy.latent_formats import Flux

    samples = torch.randn(2, 16, 4, 6)
    ours, _ = convert.from_latent({"samples": samples}, flux_vae)
    torch.testing.assert_close(ours, Flux().process_in(samples))
    torch.testing.assert_close(convert.to_latent(ours, flux_vae)["samples"], Flux().process_out(ours))
    torch.testing.assert_close(convert.to_latent(ours, flux_vae)["samples"], samples)


def test_stock_autoencoder_and_ours_are_interchangeable(part: Callable[[str], Any], convert: Any) -> None:
    """The same weights in ComfyUI's autoencoder: its LATENT is ours, each decodes what the other encodes."""
    from comfy.ldm.models.autoencoder import AutoencodingEngine

    config = part("kontext_core.config").VAEConfig(
        resolution=32, in_channels=3, ch=32, out_ch=3, ch_mult=(1, 2), num_res_blocks=1, z_channels=16,
        scale_factor=0.3611, shift_factor=0.1159,
    )  # fmt: skip
    torch.manual_seed(0)
    ours = part("kontext_core.model.vae").VAE(config).eval()
    levels = {
        "ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1, "attn_resolutions": [], "double_z": True, "z_channels": 16,
        "resolution": 32, "in_channels": 3, "out_ch": 3, "dropout": 0.0,
    }  # fmt: skip
    stock = AutoencodingEngine(
        regularizer_config={"target": "comfy.ldm.models.autoencoder.DiagonalGaussianRegularizer"},
        encoder_config={"target": "comfy.ldm.modules.diffusionmodules.model.Encoder", "params": levels},
        decoder_config={"target": "comfy.ldm.modules.diffusionmodules.model.Decoder", "params": levels},
    ).eval()
    stock.load_state_dict(ours.state_dict())
    image = picture(32, 48).permute(0, 3, 1, 2) * 2 - 1
    with torch.no_grad():
        samples = convert.to_latent(ours.encode(image), config)["samples"]
        moments = stock.encoder(image)
        torch.testing.assert_close(samples, moments[:, :16], rtol=1e-4, atol=1e-5)
        back, _ = convert.from_latent({"samples": moments[:, :16]}, config)
        torch.testing.assert_close(ours.decode(back), stock.decode(samples), rtol=1e-4, atol=1e-5)


def test_odd_latents_are_padded_circularly_and_cut_back(convert: Any, flux_vae: Any) -> None:
    from comfy.ldm.common_dit import pad_to_patch_size

    samples = torch.randn(1, 16, 5, 7)
    ours, frame = convert.from_latent({"samples": samples}, flux_vae)
    assert ours.shape[-2:] == (6, 8)
    scaled, _ = convert.from_latent({"samples": samples}, flux_vae, even=False)
    assert torch.equal(ours, pad_to_patch_size(scaled, (2, 2)))
    torch.testing.assert_close(convert.to_latent(ours, flux_vae, frame)["samples"], samples)
    assert frame.cut(torch.zeros(1, 48, 64, 3)).shape == (1, 40, 56, 3)


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (1, 16, 1, 8, 8), (0, 16, 8, 8), (1, 16, 0, 8), (16, 8, 8)])
def test_foreign_latents_are_refused(convert: Any, flux_vae: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"this LATENT is .* the model works with \(batch, 16, height, width\)"
    ):
        convert.from_latent({"samples": torch.zeros(shape)}, flux_vae)


def test_latents_with_nan_are_refused(convert: Any, flux_vae: Any) -> None:
    with pytest.raises(ValueError, match="this LATENT holds numbers that are not finite"):
        convert.from_latent({"samples": torch.full((1, 16, 2, 2), torch.nan)}, flux_vae)


def test_place_travels_with_a_latent_until_its_size_changes(
    part: Callable[[str], Any], convert: Any, flux_vae: Any
) -> None:
    place = part("kontext_core.images.fitting").Placement((32, 48), 4, 0, 24, 48, (12, 24))
    latent = convert.to_latent(torch.zeros(1, 16, 4, 6), flux_vae, convert.CropFrame.of(place))
    assert convert.from_latent(latent, flux_vae)[1].place == place
    latent["samples"] = torch.zeros(1, 16, 8, 8)
    assert convert.from_latent(latent, flux_vae)[1] == convert.CropFrame()


def test_frame_of_a_full_canvas_cuts_nothing(part: Callable[[str], Any], convert: Any) -> None:
    placement = part("kontext_core.images.fitting").Placement
    assert convert.CropFrame.of(placement((32, 48), 0, 0, 32, 48, (16, 24))) == convert.CropFrame()
    assert convert.CropFrame.of(placement((32, 48), 0, -8, 32, 64, (16, 32))) == convert.CropFrame()
    assert convert.CropFrame.of(None) == convert.CropFrame()


@pytest.mark.parametrize("shape", [(32, 48), (1, 32, 48), (3, 32, 48), (1, 1, 32, 48)])
def test_masks_of_any_form(convert: Any, shape: tuple[int, ...]) -> None:
    mask = torch.zeros(shape)
    mask[..., :24] = 1
    made = convert.latent_mask(mask, {"samples": torch.zeros(1, 16, 4, 6)})
    assert made.shape == (3 if shape[0] == 3 else 1, 1, 4, 6)
    assert made[0, 0, :, 0].tolist() == [1.0] * 4
    assert made[0, 0, :, -1].tolist() == [0.0] * 4


def test_whole_tokens_are_masked_by_the_most_that_is_in_them(convert: Any) -> None:
    mask = torch.zeros(1, 32, 40)
    mask[:, 17, 38], mask[:, 3, 3] = 0.25, 1
    made = convert.latent_mask(mask, {"samples": torch.zeros(1, 16, 4, 5)})[0, 0]
    assert made.tolist() == [[1, 1, 0, 0, 0, 0]] * 2 + [[0, 0, 0, 0, 0.25, 0.25]] * 2


@pytest.mark.parametrize("shape", [(1, 32, 32, 1), (2, 3, 32, 32), (0, 32, 32), (32,)])
def test_what_is_no_mask_is_refused(convert: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be \\(batch, height, width\\)"):
        convert.latent_mask(torch.ones(shape), {"samples": torch.zeros(1, 16, 4, 4)})
