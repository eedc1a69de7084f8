"""Files as large as wanted, of the published layout, for what is measured about loading."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from kontext_core.config import TransformerConfig
from kontext_core.model.transformer import Transformer


def write_random(path: Path, config: TransformerConfig) -> int:
    """A transformer of random bfloat16 numbers. Returns: the file's bytes."""
    with torch.device("meta"):
        shapes = {name: one.shape for name, one in Transformer(config).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.empty(shape, dtype=torch.bfloat16).uniform_(-0.02, 0.02, generator=generator)
        for name, shape in shapes.items()
    }
    save_file(tensors, path, {"config": json.dumps(asdict(config))})
    return path.stat().st_size
