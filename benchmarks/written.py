"""The tiny model's transformer in every format that published files come in, by writers that share
nothing with the readers.

GGUF is written by the gguf package, the rest from what is documented of each: see kontext_core/loading and
packed.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import gguf
import torch
from safetensors.torch import save_file
from torch import Tensor

from kontext_core.model.transformer import Transformer

GGUF = ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")  # what the gguf package can write
_Tensors = Mapping[str, Tensor]

# The quantiles of the normal distribution that NF4 is made of, and the half steps of FP4; bitsandbytes'
# order.
_NF4 = (
    -1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0, 0.0795803, 0.1609302,
    0.24611230, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0,
)  # fmt: skip
_FP4 = tuple(sign * one / 12 for sign in (1, -1) for one in (0, 0.0625, 8, 12, 4, 6, 2, 3))


def write(form: str, transformer: Transformer, path: Path) -> Path:
    """Write one of `FORMS`. Returns: the file, with the end that belongs to it."""
    tensors = {key: one.detach().float() for key, one in transformer.state_dict().items()}
    config = json.dumps(asdict(transformer.config))
    if form.removeprefix("GGUF ") in GGUF:
        return _write_gguf(form.removeprefix("GGUF "), tensors, config, path.with_suffix(".gguf"))
    stored, metadata = _WRITERS[form](tensors)
    ready = {key: one.contiguous() for key, one in stored.items()}
    save_file(ready, path.with_suffix(".safetensors"), {"config": config, **metadata})
    return path.with_suffix(".safetensors")


def _write_gguf(kind: str, tensors: _Tensors, config: str, path: Path) -> Path:
    writer = gguf.GGUFWriter(path, "flux")
    writer.add_string("kontext.config", config)
    own = gguf.GGMLQuantizationType[kind]
    for key, one in tensors.items():
        if _is_matrix(key, one):
            writer.add_tensor(key, gguf.quantize(one.numpy(), own), raw_dtype=own)
        else:
            writer.add_tensor(key, one.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _cast(dtype: torch.dtype) -> Callable[[_Tensors], tuple[dict[str, Tensor], dict[str, str]]]:
    return lambda tensors: ({key: one.to(dtype) for key, one in tensors.items()}, {})


def _fp8_scaled(tensors: _Tensors) -> tuple[dict[str, Tensor], dict[str, str]]:
    stored = {"scaled_fp8": torch.empty(0).to(torch.float8_e4m3fn)}
    for key, one in tensors.items():
        stored[key] = one.bfloat16()
        if _is_matrix(key, one):
            scale = one.abs().max() / 448
            stored[key] = (one / scale).to(torch.float8_e4m3fn)
            stored[f"{key.removesuffix('.weight')}.scale_weight"] = scale
    return stored, {}


def _per_layer(tensors: _Tensors) -> tuple[dict[str, Tensor], dict[str, str]]:
    stored, layers = {}, {}
    for key, one in tensors.items():
        layer = key.removesuffix(".weight")
        stored[key] = one.bfloat16()
        if _is_matrix(key, one):
            scale = one.abs().amax() / 448
            stored[key], stored[f"{layer}.weight_scale"] = (one / scale).to(torch.float8_e4m3fn), scale
            layers[layer] = {"format": "float8_e4m3fn"}
    return stored, {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})}


def _torchao(kind: str, dtype: torch.dtype) -> Callable[[_Tensors], tuple[dict[str, Tensor], dict[str, str]]]:
    """As torchao flattens its tensors: a factor a row, all names and what became of each in the header."""

    def quantised(tensors: _Tensors) -> tuple[dict[str, Tensor], dict[str, str]]:
        stored, said = {}, {}
        most = 127 if dtype == torch.int8 else torch.finfo(dtype).max
        for key, one in tensors.items():
            said[key] = {"_type": "Tensor"}
            if not _is_matrix(key, one):
                stored[key] = one.bfloat16()
                continue
            scale = one.abs().amax(dim=1, keepdim=True) / most
            layer = key.removesuffix(".weight")
            numbers = one / scale
            stored[f"{layer}._weight_qdata"] = (numbers.round() if dtype == torch.int8 else numbers).to(dtype)
            stored[f"{layer}._weight_scale"] = scale
            block = {"block_size": [1, one.shape[1]]}
            said[key] = {"_type": kind, "_data": block, "_tensor_data_names": ["qdata", "scale"]}
        names = json.dumps(list(tensors))
        return stored, {"tensor_names": names, **{key: json.dumps(one) for key, one in said.items()}}

    return quantised


def _four_bits(
    kind: str, numbers: tuple[float, ...]
) -> Callable[[_Tensors], tuple[dict[str, Tensor], dict[str, str]]]:
    def quantised(tensors: _Tensors) -> tuple[dict[str, Tensor], dict[str, str]]:
        table, stored = torch.tensor(numbers), {}
        for key, one in tensors.items():
            stored[key] = one.bfloat16()
            if not _is_matrix(key, one):
                continue
            blocks = one.reshape(-1, 64)
            factors = blocks.abs().amax(dim=1)
            distance = (blocks / factors[:, None])[..., None] - table
            indices = distance.abs().argmin(dim=-1).to(torch.uint8).flatten()
            state = {"quant_type": kind, "blocksize": 64, "dtype": "bfloat16", "shape": list(one.shape)}
            stored[key] = (indices[::2] * 16 + indices[1::2])[:, None]
            stored[f"{key}.absmax"], stored[f"{key}.quant_map"] = factors, table.clone()
            stored[f"{key}.quant_state.bitsandbytes__{kind}"] = torch.tensor(
                list(json.dumps(state).encode()), dtype=torch.uint8
            )
        return stored, {}

    return quantised


def _is_matrix(key: str, tensor: Tensor) -> bool:
    """Whether the programs that make such files quantise it: the large matrices of the blocks."""
    return tensor.ndim == 2 and key.startswith(("double_blocks", "single_blocks"))


_WRITERS: dict[str, Callable[[_Tensors], tuple[dict[str, Tensor], dict[str, str]]]] = {
    "float32": _cast(torch.float32),
    "bfloat16": _cast(torch.bfloat16),
    "float16": _cast(torch.float16),
    "fp8 e4m3": _cast(torch.float8_e4m3fn),
    "fp8 e5m2": _cast(torch.float8_e5m2),
    "fp8_scaled": _fp8_scaled,
    "fp8 by layer": _per_layer,
    "NF4": _four_bits("nf4", _NF4),
    "FP4": _four_bits("fp4", _FP4),
    "torchao int8": _torchao("Int8Tensor", torch.int8),
    "torchao float8": _torchao("Float8Tensor", torch.float8_e4m3fn),
}
FORMS = (*_WRITERS, *(f"GGUF {kind}" for kind in GGUF))
