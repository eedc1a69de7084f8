"""Weights in 8-bit floats: they can be multiplied out, or stay as they are stored.

Plain casts need no more. ComfyUI's scaled forms keep one factor beside each linear, weight = factor * stored:

- `scaled_fp8`, an empty marker tensor, with `<layer>.scale_weight` and perhaps `<layer>.scale_input`;
- `_quantization_metadata` in the header, JSON {"layers": {layer: {"format": "float8_e4m3fn"}}}, with
  `<layer>.weight_scale` and perhaps `<layer>.input_scale` (ComfyUI 0.3.75); later versions keep each layer's
  JSON in a tensor of bytes, `<layer>.comfy_quant`.

Factors of inputs only matter to 8-bit matrix products and are left out.
Source: Comfy-Org/ComfyUI comfy/ops.py, comfy/quant_ops.py, comfy/model_detection.py.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..checks.shorten import short
from ..checks.strict_json import parse_object
from ..errors import CheckpointError
from ..quant.float8 import FLOAT8_DTYPES, Float8
from ..quant.layer import PackedWeight
from .foreign import TAKE
from .tensors import LazyTensor, Weights, first_few

_MARKER = "scaled_fp8"
_FACTORS = (".scale_weight", ".weight_scale")
_INPUT_FACTORS = (".scale_input", ".input_scale")
_METADATA = "_quantization_metadata"
_LAYER_FORMAT = ".comfy_quant"
_LONGEST_FORMAT = 65_536  # bytes
_FORMATS = ("float8_e4m3fn", "float8_e5m2")


def unpack(weights: Weights, metadata: dict[str, str]) -> tuple[Weights, str]:
    """Weights without their factors, which are multiplied in as each is read; or it stays packed with them.

    Args:
        metadata: the header's strings.
    Returns: the weights, and the name of the form they were stored in ("" without factors).
    Raises: CheckpointError for a form that is not known, and for a weight or a factor without the other.
    """
    declared = _declared_formats(weights, metadata)
    if unknown := {f"{layer} ({kind})" for layer, kind in declared.items() if kind not in _FORMATS}:
        raise CheckpointError(
            f"{len(unknown)} layers are quantised in a form that is not supported: {first_few(unknown)}; "
            f"{TAKE}"
        )

    factors = {key.removesuffix(end): key for end in _FACTORS for key in weights if key.endswith(end)}
    if lone := {key for layer, key in factors.items() if f"{layer}.weight" not in weights}:
        raise CheckpointError(f"{len(lone)} factors have no weight that they belong to: {first_few(lone)}")
    if bare := {layer for layer in declared if f"{layer}.weight" in weights and layer not in factors}:
        raise CheckpointError(
            f"{len(bare)} quantised layers have no factor (weight_scale): {first_few(bare)}"
        )

    helpers = (*_FACTORS, *_INPUT_FACTORS, _LAYER_FORMAT)
    plain = {key: tensor for key, tensor in weights.items() if not key.endswith(helpers) and key != _MARKER}
    for name, tensor in plain.items():
        if tensor.dtype in FLOAT8_DTYPES and len(tensor.shape) == 2:
            plain[name] = replace(tensor, packed=lambda tensor=tensor: [Float8(tensor.read())])
    for layer, key in factors.items():
        plain[f"{layer}.weight"] = _scaled(f"{layer}.weight", weights[f"{layer}.weight"], weights[key])
    if not factors:
        return plain, ""
    return plain, "ComfyUI's per-layer quantisation" if declared else "ComfyUI's fp8_scaled"


def _scaled(name: str, weight: LazyTensor, factor: LazyTensor) -> LazyTensor:
    if not weight.dtype.is_floating_point:
        raise CheckpointError(
            f"{name} is stored as {weight.dtype}; of quantised weights only 8-bit floats are supported; "
            f"{TAKE}"
        )
    if factor.numel not in (1, weight.shape[0]):
        raise CheckpointError(
            f"{name} of shape {weight.shape} has factors of shape {factor.shape}: one a layer or row is known"
        )

    def read() -> Tensor:
        return weight.read().float() * factor.read().float().reshape(-1, *[1] * (len(weight.shape) - 1))

    def packed() -> list[PackedWeight]:
        return [Float8(weight.read(), factor.read())]

    stays = weight.dtype in FLOAT8_DTYPES and len(weight.shape) == 2
    return replace(weight, read=read, packed=packed if stays else None, mapped=False)


def _declared_formats(weights: Weights, metadata: dict[str, str]) -> dict[str, str]:
    """The format of every layer that says that it is quantised."""
    layers: dict[str, Any] = {}
    try:
        if _METADATA in metadata:
            declared = parse_object(metadata[_METADATA], f"{_METADATA!r} in its header")["layers"]
            if not isinstance(declared, dict):
                raise TypeError(f"its layers are {short(declared)}")
            layers |= declared
        for key, tensor in weights.items():
            if key.endswith(_LAYER_FORMAT):
                layers[key.removesuffix(_LAYER_FORMAT)] = _layer_format(key, tensor)
        return {layer: str(described["format"]) for layer, described in layers.items()}
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"the description of its quantised layers cannot be read: {error!r}") from error


def _layer_format(key: str, tensor: LazyTensor) -> dict[str, Any]:
    if tensor.numel > _LONGEST_FORMAT or tensor.dtype is not torch.uint8:
        raise CheckpointError(f"{key} is {tensor.numel} x {tensor.dtype}; it should be a few bytes of JSON")
    return parse_object(bytes(tensor.read().flatten().tolist()), key)
