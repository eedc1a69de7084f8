"""Tensors of files, known by shape and dtype, and read when they are wanted."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..quant.layer import PackedWeight

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool, "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64, "C64": torch.complex64,
}  # fmt: skip

MOST_TENSORS = 65_536  # of a file; FLUX.1 has 780, and in a packed form six times as many


@dataclass(frozen=True)
class LazyTensor:
    """A tensor that is known by shape and dtype, and read from its file on `read()`.

    Args:
        dtype: that of what `read` gives.
        packed: makes the pieces, by rows, in which a matrix can stay as it is stored; None where it is stored
            plainly.
        stored: what its type in the file is called, "" where that is the dtype's name.
        mapped: whether what `read` gives lies in the file and takes no memory; of packed pieces that is so
            always.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]
    packed: Callable[[], Sequence[PackedWeight]] | None = None
    stored: str = ""
    mapped: bool = False

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


Weights = dict[str, LazyTensor]


def first_few(names: Any, count: int = 4) -> str:
    """Names for a message: the first few of them, sorted, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - count} more" if len(ordered) > count else ""
    return ", ".join(ordered[:count]) + more
