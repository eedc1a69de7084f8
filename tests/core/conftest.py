"""Small models with random weights, made once. No test may change them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from kontext_core.config import TransformerConfig, VAEConfig
from kontext_core.model.latents import noise
from kontext_core.model.positions import layout_ids, target_ids, text_ids
from kontext_core.model.transformer import Transformer
from kontext_core.model.vae import VAE
from kontext_core.pipeline import Pipeline
from kontext_core.train.config import TINY_TRANSFORMER, TINY_VAE
from kontext_core.train.text_models import tiny_text_models
from kontext_core.train.tokenizers import train_tokenizers

SENTENCES = (
    "make the red circle blue",
    "remove the small green star at row 2 column 3",
    "add a large yellow square to the picture",
)

SMALL = TransformerConfig(
    in_channels=64,
    out_channels=64,
    vec_in_dim=12,
    context_in_dim=20,
    hidden_size=32,
    mlp_ratio=4.0,
    num_heads=2,
    depth=2,
    depth_single_blocks=2,
    axes_dim=(4, 6, 6),
    theta=100,
    qkv_bias=True,
    guidance_embed=True,
    text_length=5,
)

SMALL_VAE = VAEConfig(
    resolution=32,
    in_channels=3,
    ch=8,
    out_ch=3,
    ch_mult=(1, 1, 2, 2),
    num_res_blocks=1,
    z_channels=16,
    scale_factor=0.5,
    shift_factor=0.25,
    norm_groups=4,
)


def built(kind: Callable[[], Any], seed: int = 0) -> Any:
    """Build a model with random weights; the global random state is unchanged."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind().eval().requires_grad_(False)


@pytest.fixture(scope="session")
def make_transformer() -> Callable[..., Transformer]:
    """`make_transformer(**changes)`: a transformer with other sizes."""
    return lambda **changes: built(lambda: Transformer(replace(SMALL, **changes)))


@pytest.fixture(scope="session")
def transformer(make_transformer: Callable[..., Transformer]) -> Transformer:
    return make_transformer()


@pytest.fixture(scope="session")
def vae() -> VAE:
    return built(lambda: VAE(SMALL_VAE))


@pytest.fixture(scope="session")
def prompts() -> Callable[..., tuple[Tensor, Tensor]]:
    """`prompts(batch=1, seed=0)`: what `transformer` reads in place of an encoded prompt, (txt, pooled)."""

    def make(batch: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        txt = torch.randn(batch, SMALL.text_length, SMALL.context_in_dim, generator=generator)
        return txt, torch.randn(batch, SMALL.vec_in_dim, generator=generator)

    return make


@pytest.fixture(scope="session")
def inputs(prompts: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., dict[str, Tensor]]:
    """`inputs(batch=1)`: what `Transformer.forward` takes, 2 x 3 target tokens and two references."""

    def make(batch: int = 1) -> dict[str, Tensor]:
        sizes = [(2, 3), (2, 2), (1, 4)]
        ids = torch.cat([target_ids(*sizes[0]), *layout_ids(sizes[0], sizes[1:])], dim=1)
        generator = torch.Generator().manual_seed(1)
        txt, pooled = prompts(batch)
        return {
            "img": torch.randn(batch, ids.shape[1], 64, generator=generator),
            "img_ids": ids,
            "txt": txt,
            "txt_ids": text_ids(1, txt.shape[1]),
            "timesteps": torch.rand(batch, generator=generator),
            "pooled": pooled,
            "guidance": 1 + 3 * torch.rand(batch, generator=generator),
        }

    return make


@pytest.fixture(scope="session")
def latents() -> Callable[..., Tensor]:
    """`latents(height, width, batch=1, seed=0)`: some latents, sizes in latents."""
    return lambda height, width, batch=1, seed=0: noise(batch, height, width, seed)


@pytest.fixture(scope="session")
def pictures() -> Callable[..., Tensor]:
    """`pictures(height, width, batch=1, seed=0)`: (B, H, W, 3) in [0, 1], sizes in pixels."""

    def make(height: int, width: int, batch: int = 1, seed: int = 0) -> Tensor:
        return torch.rand(batch, height, width, 3, generator=torch.Generator().manual_seed(seed))

    return make


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A pipeline of the tiny model's sizes, with random weights."""
    folder = tmp_path_factory.mktemp("tokenizers")
    train_tokenizers(SENTENCES, folder)
    text = built(lambda: tiny_text_models(folder, text_length=TINY_TRANSFORMER.text_length))
    sizes = ((64, 64), (32, 96), (96, 32))
    config = replace(TINY_TRANSFORMER, preferred_sizes=sizes, depth=1, depth_single_blocks=1)
    return Pipeline(built(lambda: Transformer(config)), built(lambda: VAE(TINY_VAE)), text)
