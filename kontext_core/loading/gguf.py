"""GGUF files as dictionaries of tensors that are read when they are wanted. The `gguf` package parses them.

City96's files of FLUX hold the published names; llama.cpp's of T5 have names of their own, see keys.py.
Source: ggml-org/ggml docs/gguf.md; city96/ComfyUI-GGUF tools/convert.py (`comfy.gguf.orig_shape.*`).
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError
from ..packed.gguf import BLOCKS, Blocks, dequantise
from . import gguf_header
from .checkpoint import LazyTensor, Weights

_ORIGINAL_SHAPE = "comfy.gguf.orig_shape."
_PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_LONGEST_LIST = 16  # a shape; vocabularies are left alone


def open_gguf(path: Path) -> tuple[Weights, dict[str, str]]:
    """Tensors and key-value pairs, these as strings; `kontext.config` is called `config`, as in safetensors.

    Raises: CheckpointError if it is damaged, holds types that are not known, or the gguf package is not there.
    """
    gguf_header.check(path)
    try:
        from gguf import GGUFReader  # an optional package
    except ImportError as error:
        raise CheckpointError(
            f"{path} is a GGUF file, and the package that reads those is not there: pip install gguf"
        ) from error
    try:
        reader = GGUFReader(path, "c")  # mapped; what is never written to stays shared with the file
        values = {key: _value(field) for key, field in reader.fields.items()}
        weights = {tensor.name: _lazy(path, tensor, values) for tensor in reader.tensors}
    except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} is a damaged GGUF file: {error}") from error
    metadata = {key: str(value) for key, value in values.items() if value is not None}
    if "kontext.config" in metadata:
        metadata["config"] = metadata.pop("kontext.config")
    return weights, metadata


def _value(field: Any) -> Any:
    """A number, a string or a short list; None for a long one."""
    return None if len(field.data) > _LONGEST_LIST else field.contents()


def _lazy(path: Path, tensor: Any, values: dict[str, Any]) -> LazyTensor:
    kind = str(tensor.tensor_type.name)
    shape = tuple(int(side) for side in reversed(tensor.shape))
    original = values.get(_ORIGINAL_SHAPE + tensor.name)
    if original is not None:
        wanted = tuple(original) if isinstance(original, list) else ()
        if not all(type(side) is int and side > 0 for side in wanted) or np.prod(wanted) != np.prod(shape):
            raise CheckpointError(f"{path}: {tensor.name!r} of shape {shape} cannot have shape {original!r}")
    else:
        wanted = shape
    stored = tensor.data
    if kind in _PLAIN:
        read = partial(_plain, stored, _PLAIN[kind], wanted)
        return LazyTensor(wanted, _PLAIN[kind], read, None, kind, mapped=True)

    packed = partial(_packed, kind, stored) if len(shape) == 2 and wanted == shape else None
    return LazyTensor(wanted, torch.float32, partial(_unpacked, kind, stored, wanted), packed, kind)


def _packed(kind: str, stored: Any) -> list[Blocks]:
    return [Blocks(kind, torch.from_numpy(stored))]


def _plain(stored: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(stored).view(dtype).view(shape)


def _unpacked(kind: str, stored: Any, shape: tuple[int, ...]) -> Tensor:
    assert kind in BLOCKS
    return dequantise(kind, torch.from_numpy(stored), torch.float32).view(shape)
