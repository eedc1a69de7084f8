"""`PYTHONPATH=FOLDER python -m tests.core.loading.written_by_torchao`: tests/data/torchao, by torchao
and diffusers themselves.

FOLDER has torchao (pip install --no-deps --target FOLDER torchao==0.18.0), which takes half a minute to
import: too long for every run of the tests, and no place in the environment, where peft and diffusers would
import it too. What is written: small FLUX transformers of random weights as diffusers saves them, in int8
and, in shards, in float8; `forms.safetensors`, one small matrix in each scheme with torchao's own float32
numbers of it under `expected.`; and `digests.json`, sha256 of the float32 numbers that torchao gives for
each matrix of the folders.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxTransformer2DModel, TorchAoConfig
from safetensors.torch import save_file
from torch import Tensor, nn

from tools.paths import ROOT

DATA = ROOT / "tests" / "data" / "torchao"


def main() -> None:
    """Run the command line."""
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig

    shutil.rmtree(DATA, ignore_errors=True)
    torch.manual_seed(0)
    model = FluxTransformer2DModel(
        num_layers=1, num_single_layers=1, attention_head_dim=32, num_attention_heads=1, joint_attention_dim=64,
        pooled_projection_dim=32, guidance_embeds=True, axes_dims_rope=(8, 12, 12),
    ).to(torch.bfloat16)  # fmt: skip
    digests: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as whole:
        model.save_pretrained(whole)
        for name, scheme, shard in (
            ("int8", Int8WeightOnlyConfig(version=2), "1GB"),
            ("float8", Float8WeightOnlyConfig(), "60KB"),
        ):
            packed = FluxTransformer2DModel.from_pretrained(
                whole, quantization_config=TorchAoConfig(scheme), torch_dtype=torch.bfloat16
            )
            packed.register_to_config(_name_or_path=None)  # the temporary folder
            packed.save_pretrained(DATA / name, max_shard_size=shard)
            digests[name] = {key: _digest(_whole(one)) for key, one in packed.state_dict().items()}
    (DATA / "digests.json").write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")
    _write_forms(DATA / "forms.safetensors")


def _write_forms(path: Path) -> None:
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
    from torchao.quantization import (
        Float8Tensor,
        Float8WeightOnlyConfig,
        Int8DynamicActivationInt8WeightConfig,
        Int8WeightOnlyConfig,
        IntxWeightOnlyConfig,
        MappingType,
        PerGroup,
        PerTensor,
        quantize_,
    )
    from torchao.quantization.granularity import PerBlock

    schemes: dict[str, Any] = {
        "int8_rows": Int8WeightOnlyConfig(version=2),
        "int8_groups": Int8WeightOnlyConfig(version=2, granularity=PerGroup(32)),
        "int8_whole": Int8WeightOnlyConfig(version=2, granularity=PerTensor()),
        "int8_dynamic": Int8DynamicActivationInt8WeightConfig(version=2),
        "int4_shifted": IntxWeightOnlyConfig(
            weight_dtype=torch.int4, granularity=PerGroup(32), mapping_type=MappingType.ASYMMETRIC
        ),
        "float8_rows": Float8WeightOnlyConfig(),
        "float8_e5m2": Float8WeightOnlyConfig(weight_dtype=torch.float8_e5m2),
    }
    layers: dict[str, Tensor] = {}
    for name, scheme in schemes.items():
        own = torch.float32 if "int4" in name else torch.bfloat16  # what its dequantize() gives, and no other
        layer = nn.Sequential(nn.Linear(64, 32, dtype=own))
        quantize_(layer, scheme)
        layers |= {f"{name}.{key[2:]}": one for key, one in layer.state_dict().items()}
    for name, granularity in (("float8_whole", PerTensor()), ("float8_blocks", PerBlock([16, 32]))):
        weight = torch.randn(32, 64, dtype=torch.bfloat16)
        layers[f"{name}.weight"] = Float8Tensor.from_hp(weight, granularity=granularity)
    tensors, metadata = flatten_tensor_state_dict(layers)
    expected = {f"expected.{key}": _whole(one).clone() for key, one in layers.items()}
    ready = {key: one.contiguous() for key, one in (tensors | expected).items()}
    save_file(ready, path, metadata)


def _whole(tensor: Any) -> Tensor:
    if type(tensor) in (Tensor, nn.Parameter):
        return tensor.float().contiguous()
    return tensor.dequantize(*(() if tensor.dtype == torch.float32 else (torch.float32,))).contiguous()


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()


if __name__ == "__main__":
    main()
