"""One whole edit: pictures through the autoencoder, all steps, and back.

The prompt's states are given on both sides.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kontext_core.model.latents import noise, pack
from kontext_core.model.transformer import Transformer
from kontext_core.model.vae import VAE
from kontext_core.sampling.denoise import denoise
from kontext_core.sampling.schedule import sigmas

from .cases import Case
from .comfyui import ComfyFlux
from .contestants import Contestant, UnavailableError
from .models import Question

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


def edit_of(
    contestant: Contestant,
    model: Any,
    vaes: tuple[VAE, "AutoencoderKL | None"],
    asked: Question,
    case: Case,
    steps: int,
) -> Callable[[], Tensor]:
    """The edit, as a picture (1, 3, H, W) in [0, 1].

    Raises: UnavailableError for what diffusers' pipeline does not take.
    """
    generator = torch.Generator().manual_seed(1)
    side = case.side_px
    pictures = [torch.rand(1, 3, side, side, generator=generator).to(asked.txt) for _ in asked.references]
    if isinstance(model, Transformer):
        return _ours(contestant, model, vaes[0], asked, side, steps, pictures)
    if isinstance(model, ComfyFlux):
        raise UnavailableError("ComfyUI's module is measured by steps")
    if len(pictures) > 1:
        raise UnavailableError("diffusers' pipeline takes one reference")
    return _theirs(contestant, model, vaes[1], asked, side, steps, pictures)


def _ours(
    contestant: Contestant,
    model: Transformer,
    vae: VAE,
    asked: Question,
    side: int,
    steps: int,
    pictures: Sequence[Tensor],
) -> Callable[[], Tensor]:
    def run() -> Tensor:
        with contestant.scope():
            latents = denoise(
                model,
                noise(1, side // 8, side // 8, seed=0),
                asked.txt,
                asked.pooled,
                sigmas(steps, asked.tokens.shape[1]),
                references=[vae.encode(2 * picture - 1) for picture in pictures],
                **contestant.denoise,
            )
            return (vae.decode(latents) / 2 + 0.5).clamp(0, 1)

    return run


def _theirs(
    contestant: Contestant,
    model: Any,
    vae: "AutoencoderKL | None",
    asked: Question,
    side: int,
    steps: int,
    pictures: Sequence[Tensor],
) -> Callable[[], Tensor]:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxKontextPipeline

    pipeline = FluxKontextPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True,
            base_shift=0.5,
            max_shift=1.15,
            base_image_seq_len=256,
            max_image_seq_len=4096,
        ),
        vae=vae,
        transformer=model,
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
    )
    pipeline.set_progress_bar_config(disable=True)
    start = pack(noise(1, side // 8, side // 8, seed=0)).to(asked.txt)

    def run() -> Tensor:
        with contestant.scope():
            return pipeline(
                image=pictures[0] if pictures else None,
                prompt_embeds=asked.txt,
                pooled_prompt_embeds=asked.pooled,
                guidance_scale=2.5,
                latents=start,
                height=side,
                width=side,
                max_area=side * side,
                _auto_resize=False,
                num_inference_steps=steps,
                output_type="pt",
            ).images

    return run
