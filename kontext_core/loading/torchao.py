"""Weights in 8 bits as torchao 0.16 and later flatten them, and diffusers and transformers save them.

In place of `<layer>.weight` lie its parts, `<layer>._weight_qdata`, `<layer>._weight_scale` and perhaps
`<layer>._weight_zero_point`. The header has JSON under `<layer>.weight`, {"_type": class, "_data":
{"block_size": ...}, "_tensor_data_names": [part, ...]}, and the list of all names under `tensor_names`. A
factor belongs to a tile of `block_size` numbers: weight = scale * (qdata - zero_point). How inputs are
rounded for 8-bit products is left out.
Source: pytorch/ao torchao/prototype/safetensors (flatten_tensor_state_dict),
quantization/quantize_/workflows.
"""

from typing import Any

import torch
from torch import Tensor

from ..checks.shorten import short
from ..checks.strict_json import parse, parse_object
from ..errors import CheckpointError
from ..quant.float8 import FLOAT8_DTYPES, Float8
from ..quant.layer import PackedWeight
from ..quant.tiles import Tiles
from .foreign import TAKE
from .tensors import LazyTensor, Weights

NAMES = "tensor_names"
_PART = "._weight_"
_MAIN = "qdata"
_PLAIN = "Tensor"
_KINDS = {"Int8Tensor": "int8", "IntxUnpackedToInt8Tensor": "integers in 8 bits", "Float8Tensor": "float8"}
_INPUTS = ("act_quant_scale", "act_quant_zero_point")
_KNOWN = (_MAIN, "scale", "zero_point", *_INPUTS)


def names(weights: Weights) -> set[str]:
    """The names that the weights have when they are whole."""
    return {key.replace(_PART + _MAIN, ".weight") if key.endswith(_PART + _MAIN) else key for key in weights}


def unpack(weights: Weights, metadata: dict[str, str]) -> tuple[Weights, str]:
    """Weights without their parts; each can be read, or stay packed.

    Args:
        metadata: the header's strings.
    Returns: the weights, and what the form is called ("" where there is none).
    Raises: CheckpointError where something is missing, does not fit, or is of a class that is not known.
    """
    if not any(_PART in key for key in weights):
        return weights, ""
    plain = dict(weights)
    kinds: set[str] = set()
    for name in _listed(metadata):
        entry = _header_entry(name, metadata)
        if entry["_type"] == _PLAIN:
            continue
        if entry["_type"] not in _KINDS:
            raise CheckpointError(
                f"{name} is stored as torchao's {entry['_type']}; of torchao's forms {', '.join(_KINDS)} are "
                f"supported; {TAKE}"
            )
        start = f"{name.removesuffix('.weight')}{_PART}"
        parts = {part: plain.pop(start + part, None) for part in entry["_tensor_data_names"]}
        if absent := [part for part, tensor in parts.items() if tensor is None]:
            raise CheckpointError(f"{name} is packed by torchao, and {start}{absent[0]} is missing")
        kinds.add(_KINDS[entry["_type"]])
        plain[name] = _lazy(
            name, {part: tensor for part, tensor in parts.items() if tensor is not None}, entry
        )
    if lone := [key for key in plain if _PART in key]:
        raise CheckpointError(f"the header says nothing of {lone[0]}, a part of a weight that torchao packed")
    return plain, f"{' and '.join(sorted(kinds))} of torchao"


def _listed(metadata: dict[str, str]) -> list[str]:
    try:
        listed = parse(metadata[NAMES], f"{NAMES!r} in its header")
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise TypeError("it is not a list of names")
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"its weights are packed by torchao, and {NAMES!r} in the header, which says how, cannot be read: {error!r}"
        ) from error
    return listed


def _header_entry(name: str, metadata: dict[str, str]) -> dict[str, Any]:
    """What the header says of one tensor: class, parts and, where it is packed, the sides of its tiles."""
    try:
        entry = parse_object(metadata[name], f"{name!r} in its header")
        if not isinstance(entry["_type"], str):
            raise TypeError(f"its _type is {short(entry['_type'])}")
        if entry["_type"] != _PLAIN:
            entry = {key: entry[key] for key in ("_type", "_tensor_data_names", "_data")}
            parts, block = entry["_tensor_data_names"], entry["_data"].get("block_size")
            if not all(isinstance(part, str) for part in parts):
                raise TypeError(f"its parts are {parts!r}")
            if block and not (len(block) == 2 and all(type(side) is int and side > 0 for side in block)):
                raise TypeError(f"its block_size is {block!r}")
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"what the header says of {name} cannot be read: {error!r}") from error
    return entry


def _lazy(name: str, parts: dict[str, LazyTensor], entry: dict[str, Any]) -> LazyTensor:
    if "act_pre_scale" in parts:
        raise CheckpointError(
            f"{name} wants its inputs scaled (act_pre_scale of torchao), which is not supported"
        )
    if unknown := sorted(parts.keys() - set(_KNOWN)):
        raise CheckpointError(
            f"{name} has a part {unknown[0]!r} that torchao's {entry['_type']} is not known to have"
        )
    if absent := [part for part in (_MAIN, "scale") if part not in parts]:
        raise CheckpointError(
            f"{name} is packed by torchao, and the header names no part {absent[0]!r} of it"
        )
    stored, scale, zero = parts[_MAIN], parts["scale"], parts.get("zero_point")
    right = FLOAT8_DTYPES if entry["_type"] == "Float8Tensor" else (torch.int8,)
    if len(stored.shape) != 2 or 0 in stored.shape or stored.dtype not in right:
        raise CheckpointError(
            f"{name} is stored as {stored.dtype} of shape {stored.shape}; torchao's {entry['_type']} of a linear is a matrix of "
            f"{' or '.join(str(dtype) for dtype in right)}"
        )
    down, across = _tiles(name, stored, entry["_data"].get("block_size"), scale)
    for part in (scale, *([zero] if zero else ())):
        if part.numel != down * across:
            raise CheckpointError(
                f"{name} of shape {stored.shape} has factors of shape {part.shape}; its tiles need {(down, across)}"
            )

    def piece() -> PackedWeight:
        numbers, factor = stored.read(), scale.read().view(down, across)
        shift = None if zero is None else zero.read().view(down, across)
        if shift is not None and not shift.any():
            shift = None
        if shift is None and stored.dtype in FLOAT8_DTYPES and across == 1 and down in (1, stored.shape[0]):
            return Float8(numbers, factor)
        return Tiles(numbers, factor, shift)

    def read() -> Tensor:
        return piece().dequantise(torch.float32)

    kind = str(stored.dtype).removeprefix("torch.")
    return LazyTensor((stored.shape[0], stored.shape[1]), torch.float32, read, lambda: [piece()], kind)


def _tiles(name: str, stored: LazyTensor, block: list[int] | None, scale: LazyTensor) -> tuple[int, int]:
    """How many tiles there are down and across.

    Float8Tensor may say nothing of their size: one factor is for all.
    """
    rows, columns = stored.shape
    high, wide = block or ((rows, columns) if scale.numel == 1 else (1, columns))
    if rows % high or columns % wide:
        raise CheckpointError(f"{name} of shape {stored.shape} is not made of whole tiles of {high} x {wide}")
    return rows // high, columns // wide
