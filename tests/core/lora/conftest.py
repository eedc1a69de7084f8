"""LoRA files made by hand, and the expected model: the same with the changes in its weights."""

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kontext_core.lora import Attached, Lora, with_loras
from kontext_core.model.transformer import Transformer

Tensors = dict[str, Tensor]
NO_TEXT: Any = SimpleNamespace(clip=nn.Identity(), t5=nn.Identity())


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """`write(tensors, name="lora.safetensors", **metadata)`: the file.

    Metadata that is no text becomes JSON.
    """

    def write(tensors: Tensors, name: str = "lora.safetensors", **metadata: Any) -> Path:
        texts = {
            key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()
        }
        save_file({key: one.contiguous() for key, one in tensors.items()}, tmp_path / name, texts)
        return tmp_path / name

    return write


def drawn(*shape: int, seed: int = 0, scale: float = 0.3) -> Tensor:
    """Return random numbers."""
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def low_rank(
    module: str, out: int, width: int, rank: int = 3, seed: int = 0, alpha: float | None = 5.0
) -> Tensors:
    """Return a module as kohya writes it."""
    made = {
        f"{module}.lora_down.weight": drawn(rank, width, seed=seed),
        f"{module}.lora_up.weight": drawn(out, rank, seed=seed + 100),
    }
    return made if alpha is None else made | {f"{module}.alpha": torch.tensor(alpha)}


def product(tensors: Tensors, module: str) -> Tensor:
    """Return the full change of such a module."""
    up, down = tensors[f"{module}.lora_up.weight"], tensors[f"{module}.lora_down.weight"]
    return up @ down * (tensors[f"{module}.alpha"] / len(down) if f"{module}.alpha" in tensors else 1)


def changed(transformer: Transformer, deltas: Mapping[str, Tensor]) -> Transformer:
    """A copy with changes added to its weights, by the name of the layer."""
    made = copy.deepcopy(transformer)
    for layer, delta in deltas.items():
        made.get_submodule(layer).weight.data += delta
    return made


def viewed(transformer: Transformer, *loras: Lora) -> Transformer:
    """Return the transformer with LoRAs that act at all steps."""
    ((_, view),) = attached(transformer, *loras).stages
    return view


def attached(transformer: Transformer, *loras: Lora) -> Attached:
    return with_loras(transformer, NO_TEXT, loras)
