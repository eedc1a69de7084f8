"""Small models with random weights, and what they compute."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kontext_core.config import TransformerConfig, VAEConfig
from kontext_core.loading.tensors import LazyTensor, Weights
from kontext_core.model.positions import target_ids, text_ids
from kontext_core.model.text import TextEncoders
from kontext_core.model.transformer import Transformer
from kontext_core.model.vae import VAE
from kontext_core.train.text_models import tiny_text_models
from kontext_core.train.tokenizers import train_tokenizers

SENTENCES = (
    "make the red circle blue",
    "remove the small green star in the top left corner.",
    'replace the text "hi" with "ok"',
    "add a large yellow square at the bottom right",
)

TINY = TransformerConfig(
    in_channels=64, out_channels=64, vec_in_dim=128, context_in_dim=128, hidden_size=64, mlp_ratio=4.0, num_heads=2,
    depth=2, depth_single_blocks=3, axes_dim=(8, 12, 12), theta=100, qkv_bias=True, guidance_embed=True,
    text_length=32, preferred_sizes=((128, 128),), layout="index",
)  # fmt: skip

TINY_VAE = VAEConfig(
    resolution=64, in_channels=3, ch=32, out_ch=3, ch_mult=(1, 1, 2, 2), num_res_blocks=1, z_channels=16,
    scale_factor=0.5, shift_factor=0.25,
)  # fmt: skip

Write = Callable[..., Path]


def randomise(model: nn.Module) -> Any:
    """Make all parameters different: zeros and ones would hide swapped ones."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name and name.endswith(("weight", "scale")) else 0.0, 0.1)
    return model.eval()


@pytest.fixture(scope="session")
def transformer() -> Transformer:
    return randomise(Transformer(TINY))


@pytest.fixture(scope="session")
def vae() -> VAE:
    return randomise(VAE(TINY_VAE))


@pytest.fixture(scope="session")
def text_encoders(tmp_path_factory: pytest.TempPathFactory) -> TextEncoders:
    folder = tmp_path_factory.mktemp("tokenizers")
    train_tokenizers(SENTENCES, folder)
    torch.manual_seed(0)
    return tiny_text_models(folder).eval()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write tensors as a safetensors file."""

    def write(name: str, tensors: dict[str, Tensor], config: Any = None, **metadata: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if config is not None:
            metadata["config"] = json.dumps(config)
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, metadata)
        return path

    return write


@pytest.fixture(scope="session")
def velocity() -> Callable[[Transformer], Tensor]:
    """Return a transformer's output for a fixed input."""

    def velocity(model: Transformer) -> Tensor:
        generator = torch.Generator().manual_seed(2)
        img, txt = torch.randn(1, 16, 64, generator=generator), torch.randn(1, 5, 128, generator=generator)
        pooled = torch.randn(1, 128, generator=generator)
        half = torch.tensor([0.5])
        with torch.no_grad():
            return model(img, target_ids(4, 4), txt, text_ids(1, 5), half, pooled, guidance=5 * half)

    return velocity


@pytest.fixture(scope="session")
def lazy() -> Callable[[dict[str, Tensor]], Weights]:
    """Return tensors as a file would give them."""
    return lazily


def lazily(tensors: dict[str, Tensor]) -> Weights:
    return {key: LazyTensor(tuple(t.shape), t.dtype, lambda t=t: t) for key, t in tensors.items()}
