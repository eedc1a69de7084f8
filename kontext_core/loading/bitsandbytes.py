"""Weights in 4 bits as bitsandbytes packs and diffusers, transformers and others save them.

Beside `<name>` with two numbers a byte lie `<name>.absmax` (a factor of each block), `<name>.quant_map` (the
16 numbers) and JSON in `<name>.quant_state.bitsandbytes__nf4`: shape, block size, and how the factors are
packed themselves, with `<name>.nested_absmax` and `<name>.nested_quant_map`.
Source: bitsandbytes functional.py, QuantState.as_dict.
"""

import math
from typing import Any

import torch

from ..checks.strict_json import parse_object
from ..errors import CheckpointError
from ..quant.four_bits import FourBits, PackedFactors
from .tensors import LazyTensor, Weights

_STATE = ".quant_state.bitsandbytes__"
_HELPERS = (".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map")
_KINDS = ("nf4", "fp4")
_LONGEST_STATE = 65_536  # bytes
_EIGHT_BITS = ".SCB"


def unpack(weights: Weights) -> tuple[Weights, str]:
    """Weights without their helpers; each can be read, or stay packed.

    Returns: the weights, and what the form is called ("" where there is none).
    Raises: CheckpointError where something is missing or does not fit.
    """
    if any(key.endswith(_EIGHT_BITS) for key in weights):
        raise CheckpointError(
            "its weights are in 8 bits of bitsandbytes, which are not supported; its 4 bits (NF4), fp8 and GGUF are"
        )
    plain = dict(weights)
    kinds: set[str] = set()
    for key in [key for key in weights if _STATE in key]:
        name, _, kind = key.partition(_STATE)
        if kind not in _KINDS:
            raise CheckpointError(f"{name} is packed as {kind!r} of bitsandbytes; nf4 and fp4 are supported")
        kinds.add(kind)
        del plain[key]
        helpers = {end[1:]: plain.pop(name + end) for end in _HELPERS if name + end in plain}
        plain[name] = _lazy(name, kind, weights, helpers, _state(name, weights[key]))
    return plain, " and ".join(f"{kind.upper()} of bitsandbytes" for kind in sorted(kinds))


def _state(name: str, stored: LazyTensor) -> dict[str, Any]:
    try:
        if stored.numel > _LONGEST_STATE:
            raise ValueError(f"{stored.numel} bytes of it")
        text = bytes(stored.read().tolist())
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"how {name} is packed (quant_state) cannot be read: {error!r}") from error
    state = parse_object(text, f"how {name} is packed (quant_state)")
    try:
        rows, columns = state["shape"]
        numbers = (rows, columns, state["blocksize"], state.get("nested_blocksize", 1))
        if any(type(number) is not int or number < 1 for number in numbers):
            raise ValueError(f"shape and blocks are {numbers}")
        state["nested_offset"] = float(state.get("nested_offset", 0.0))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"how {name} is packed (quant_state) cannot be read: {error!r}") from error
    return state


def _lazy(
    name: str, kind: str, weights: Weights, helpers: dict[str, LazyTensor], state: dict[str, Any]
) -> LazyTensor:
    shape: tuple[int, int] = (state["shape"][0], state["shape"][1])
    numbers = math.prod(shape)
    blocks = math.ceil(numbers / state["blocksize"])
    lengths = {"absmax": blocks, "quant_map": 16}
    nested = "nested_absmax" in helpers or "nested_quant_map" in helpers
    block = state.get("nested_blocksize", 256)
    if nested:
        lengths |= {"nested_absmax": math.ceil(blocks / block), "nested_quant_map": 256}
    if absent := [end for end in lengths if end not in helpers]:
        raise CheckpointError(f"{name} is packed in 4 bits, and {name}.{absent[0]} is missing")
    stored = weights.get(name)
    if stored is None:
        raise CheckpointError(f"{name} is missing, though the description of its packing is there")
    actual = {name: stored.numel, **{f"{name}.{end}": helpers[end].numel for end in lengths}}
    needed = {name: math.ceil(numbers / 2), **{f"{name}.{end}": count for end, count in lengths.items()}}
    for key, count in needed.items():
        if actual[key] != count:
            raise CheckpointError(
                f"{key} has {actual[key]} entries; for {name} of shape {shape} it needs {count}"
            )
    if stored.dtype is not torch.uint8 or (nested and helpers["absmax"].dtype is not torch.uint8):
        raise CheckpointError(
            f"{name} is packed in 4 bits and must be stored as bytes, not as {stored.dtype}"
        )

    def piece() -> FourBits:
        packed = None
        if nested:
            table, factors = helpers["nested_quant_map"].read(), helpers["nested_absmax"].read()
            packed = PackedFactors(table, factors, block, state["nested_offset"])
        table, factors = helpers["quant_map"].read(), helpers["absmax"].read()
        return FourBits(stored.read(), table, factors, shape=shape, block=state["blocksize"], packed=packed)

    def read() -> torch.Tensor:
        return piece().dequantise(torch.float32)

    return LazyTensor(shape, torch.float32, read, lambda: [piece()], kind)
