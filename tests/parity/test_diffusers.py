"""The same as diffusers on small random weights, which go through diffusers' own files
and our tables of names.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxKontextPipeline,
    FluxTransformer2DModel,
)
from torch import Tensor, nn

from kontext_core.loading import load_transformer, load_vae
from kontext_core.model.latents import noise, pack, unpack
from kontext_core.model.positions import layout_ids, target_ids, text_ids
from kontext_core.model.transformer import Transformer
from kontext_core.model.vae import VAE
from kontext_core.sampling.denoise import denoise
from kontext_core.sampling.schedule import shift_mu, sigmas

HEIGHT, WIDTH = 64, 96  # pixels of the target
REFERENCE_HEIGHT, REFERENCE_WIDTH = 96, 48
TEXT_LENGTH, CONTEXT, POOLED = 7, 48, 32


@pytest.fixture(scope="module", params=[True, False], ids=["guidance", "no-guidance"])
def transformers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[FluxTransformer2DModel, Transformer]:
    """Theirs, and ours loaded from their files."""
    theirs = FluxTransformer2DModel(
        num_layers=2,
        num_single_layers=3,
        attention_head_dim=24,
        num_attention_heads=4,
        joint_attention_dim=CONTEXT,
        pooled_projection_dim=POOLED,
        guidance_embeds=request.param,
        axes_dims_rope=(4, 10, 10),
    )
    return saved_and_loaded(theirs, load_transformer, tmp_path_factory.mktemp("transformer"))


@pytest.fixture(scope="module")
def vaes(tmp_path_factory: pytest.TempPathFactory) -> tuple[AutoencoderKL, VAE]:
    """Theirs, and ours loaded from their files."""
    theirs = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=2,
        latent_channels=16,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    return saved_and_loaded(theirs, load_vae, tmp_path_factory.mktemp("vae"))


@pytest.fixture
def scheduler() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )


@pytest.fixture
def their_pipeline(
    scheduler: FlowMatchEulerDiscreteScheduler,
    transformers: tuple[FluxTransformer2DModel, Transformer],
    vaes: tuple[AutoencoderKL, VAE],
) -> FluxKontextPipeline:
    """Without text encoders: prompts come as embeddings."""
    pipeline = FluxKontextPipeline(
        scheduler=scheduler,
        vae=vaes[0],
        transformer=transformers[0],
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def saved_and_loaded(
    theirs: nn.Module, load: Callable[[Path], nn.Module], folder: Path
) -> tuple[nn.Module, nn.Module]:
    """Every parameter is drawn anew, so that none is one or zero and hides a mistake."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in theirs.named_parameters():
        random = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.data = random / parameter[0].numel() ** 0.5
        else:
            parameter.data = 0.1 * random + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
    theirs.save_pretrained(folder)
    return theirs.eval(), load(folder)


def prompt(batch: int, seed: int) -> tuple[Tensor, Tensor]:
    """T5's states and CLIP's vector."""
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(batch, TEXT_LENGTH, CONTEXT, generator=generator),
        torch.randn(batch, POOLED, generator=generator),
    )


def picture(batch: int) -> Tensor:
    """(B, 3, H, W) in [0, 1]."""
    shape = (batch, 3, REFERENCE_HEIGHT, REFERENCE_WIDTH)
    return torch.rand(shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("layout", ["offset", "index", "diagonal"])
@pytest.mark.parametrize("batch", [1, 2])
def test_transformer(
    transformers: tuple[FluxTransformer2DModel, Transformer],
    layout: str,
    batch: int,
    assert_close: Callable[..., float],
) -> None:
    theirs, ours = transformers
    sizes = [(4, 6), (6, 3), (2, 8)]
    ids = torch.cat([target_ids(*sizes[0]), *layout_ids(sizes[0], sizes[1:], layout)], dim=1)
    img = torch.randn(batch, ids.shape[1], 64, generator=torch.Generator().manual_seed(1))
    txt, pooled = prompt(batch, seed=2)
    times, guidance = torch.tensor([0.7, 0.2])[:batch], torch.tensor([2.5, 4.0])[:batch]
    expected = theirs(
        hidden_states=img,
        encoder_hidden_states=txt,
        pooled_projections=pooled,
        timestep=times,
        img_ids=ids[0],
        txt_ids=text_ids(1, TEXT_LENGTH)[0],
        guidance=guidance if theirs.config.guidance_embeds else None,
    ).sample
    assert_close(ours(img, ids, txt, text_ids(1, TEXT_LENGTH), times, pooled, guidance), expected)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 56)])
def test_autoencoder(
    vaes: tuple[AutoencoderKL, VAE], height: int, width: int, assert_close: Callable[..., float]
) -> None:
    theirs, ours = vaes
    image = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(3))
    mode = theirs.encode(image).latent_dist.mode()
    latents = (mode - theirs.config.shift_factor) * theirs.config.scaling_factor
    assert_close(ours.encode(image), latents)
    expected = theirs.decode(latents / theirs.config.scaling_factor + theirs.config.shift_factor).sample
    assert_close(ours.decode(latents), expected)


@pytest.mark.parametrize("n_target", [64, 256, 1024, 4096, 6000])
@pytest.mark.parametrize("steps", [1, 4, 28])
def test_scheduler(scheduler: FlowMatchEulerDiscreteScheduler, steps: int, n_target: int) -> None:
    scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)], mu=shift_mu(n_target))
    assert sigmas(steps, n_target) == pytest.approx(scheduler.sigmas.tolist(), abs=1e-6)


@pytest.mark.parametrize("referenced", [True, False], ids=["reference", "no-reference"])
@pytest.mark.parametrize("cfg_scale", [1.0, 3.0])
@pytest.mark.parametrize("batch", [1, 2])
def test_whole_pipeline(
    their_pipeline: FluxKontextPipeline,
    transformers: tuple[FluxTransformer2DModel, Transformer],
    vaes: tuple[AutoencoderKL, VAE],
    referenced: bool,
    cfg_scale: float,
    batch: int,
    assert_close: Callable[..., float],
) -> None:
    """Comparable only with the size given as an area too, no snapping, and a scheduler that shifts."""
    start = noise(batch, HEIGHT // 8, WIDTH // 8, seed=0)
    txt, pooled = prompt(batch, seed=2)
    negative = prompt(batch, seed=4)
    expected = their_pipeline(
        image=picture(batch) if referenced else None,
        prompt_embeds=txt,
        pooled_prompt_embeds=pooled,
        negative_prompt_embeds=negative[0],
        negative_pooled_prompt_embeds=negative[1],
        true_cfg_scale=cfg_scale,
        guidance_scale=3.5,
        latents=pack(start),
        height=HEIGHT,
        width=WIDTH,
        max_area=HEIGHT * WIDTH,
        _auto_resize=False,
        num_inference_steps=6,
        output_type="latent",
    ).images
    (_, transformer), (_, vae) = transformers, vaes
    latents = denoise(
        transformer,
        start,
        txt,
        pooled,
        sigmas(6, HEIGHT * WIDTH // 256),
        guidance=3.5,
        references=[vae.encode(picture(batch) * 2 - 1)] if referenced else [],
        cfg_scale=cfg_scale,
        negative=negative,
    )
    assert_close(latents, unpack(expected, HEIGHT // 8, WIDTH // 8))


def test_whole_pipeline_to_the_picture(
    their_pipeline: FluxKontextPipeline,
    transformers: tuple[FluxTransformer2DModel, Transformer],
    vaes: tuple[AutoencoderKL, VAE],
    assert_close: Callable[..., float],
) -> None:
    start = noise(1, HEIGHT // 8, WIDTH // 8, seed=1)
    txt, pooled = prompt(1, seed=2)
    expected = their_pipeline(
        image=picture(1),
        prompt_embeds=txt,
        pooled_prompt_embeds=pooled,
        guidance_scale=2.5,
        latents=pack(start),
        height=HEIGHT,
        width=WIDTH,
        max_area=HEIGHT * WIDTH,
        _auto_resize=False,
        num_inference_steps=4,
        output_type="pt",
    ).images
    (_, transformer), (_, vae) = transformers, vaes
    references = [vae.encode(picture(1) * 2 - 1)]
    latents = denoise(
        transformer, start, txt, pooled, sigmas(4, HEIGHT * WIDTH // 256), references=references
    )
    assert_close((vae.decode(latents) / 2 + 0.5).clamp(0, 1), expected)
