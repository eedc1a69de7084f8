"""GGUF files as dictionaries of tensors that are read when they are wanted.

City96's files of FLUX hold the published names; llama.cpp's of T5 have names of their own, see keys.py.
Source: ggml-org/ggml docs/gguf.md; city96/ComfyUI-GGUF tools/convert.py (`comfy.gguf.orig_shape.*`).
"""

import math
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError
from ..quant.gguf import Blocks, dequantise
from ..quant.iquants import WITH_TABLES
from .gguf_header import Header, Stored, read_header
from .tensors import LazyTensor, Weights

_ORIGINAL_SHAPE = "comfy.gguf.orig_shape."
_PLAIN = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def open_gguf(path: Path) -> tuple[Weights, dict[str, str]]:
    """Tensors and key-value pairs, these as strings; `kontext.config` is called `config`, as in safetensors.

    Raises: CheckpointError if it is damaged, or holds types that are not known.
    """
    header = read_header(path)
    if needing := sorted({tensor.kind for tensor in header.tensors} & WITH_TABLES):
        try:
            import_module("gguf.quants")  # an optional package
        except ImportError as error:
            raise CheckpointError(
                f"{path} holds {needing[0]}, whose tables are in a package that is not installed: pip "
                "install gguf"
            ) from error
    mapped = np.memmap(path, dtype=np.uint8, mode="c")  # what is never written to stays shared with the file
    weights = {tensor.name: _lazy(path, tensor, mapped, header) for tensor in header.tensors}
    metadata = {key: str(value) for key, value in header.values.items()}
    if "kontext.config" in metadata:
        metadata["config"] = metadata.pop("kontext.config")
    return weights, metadata


def _lazy(path: Path, tensor: Stored, mapped: Any, header: Header) -> LazyTensor:
    kind, shape = tensor.kind, tensor.shape
    original = header.values.get(_ORIGINAL_SHAPE + tensor.name)
    if original is not None:
        final_shape = tuple(original) if isinstance(original, list) else ()
        usable = all(type(side) is int and side > 0 for side in final_shape)
        if not usable or math.prod(final_shape) != math.prod(shape):
            raise CheckpointError(f"{path}: {tensor.name!r} of shape {shape} cannot have shape {original!r}")
    else:
        final_shape = shape
    stored = mapped[header.data + tensor.start : header.data + tensor.end]
    if kind in _PLAIN:
        read = partial(_plain, stored, _PLAIN[kind], final_shape)
        return LazyTensor(final_shape, _PLAIN[kind], read, None, kind, mapped=True)

    packed = partial(_packed, kind, stored, shape[0]) if len(shape) == 2 and final_shape == shape else None
    return LazyTensor(final_shape, torch.float32, partial(_unpacked, kind, stored, final_shape), packed, kind)


def _packed(kind: str, stored: Any, rows: int) -> list[Blocks]:
    return [Blocks(kind, torch.from_numpy(stored).view(rows, -1))]


def _plain(stored: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(stored).view(dtype).view(shape)


def _unpacked(kind: str, stored: Any, shape: tuple[int, ...]) -> Tensor:
    return dequantise(kind, torch.from_numpy(stored), torch.float32).view(shape)
