"""A linear layer whose weight stays as it is stored. To whoever calls it, it is an `nn.Linear`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..linear import multiply_split


class PackedWeight(nn.Module, ABC):
    """Some rows of a matrix in a packed form. Its buffers move with the model and keep their dtype.

    Args:
        shape: (rows, columns) of the matrix.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = shape

    @abstractmethod
    def dequantise(self, dtype: torch.dtype) -> Tensor:
        """The matrix (rows, columns), where the buffers are; computed in float32, then rounded to `dtype`."""

    def dequantise_bytes(self, dtype: torch.dtype) -> int:
        """Most that `dequantise` holds in between and as its result."""
        return self.shape[0] * self.shape[1] * (torch.float32.itemsize + dtype.itemsize)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        for name, buffer in self._buffers.items():
            if buffer is not None:
                applied = fn(buffer)
                self._buffers[name] = applied if applied.dtype == buffer.dtype else buffer.to(applied.device)
        return self


class UnquantisedRows(PackedWeight):
    """Rows that are not packed, beside others that are."""

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__((weight.shape[0], weight.shape[1]))
        self.register_buffer("weight", weight)

    def dequantise(self, dtype: torch.dtype) -> Tensor:
        return self.weight.to(dtype)


class PackedLinear(nn.Module):
    """A linear whose weight is multiplied out at each call.

    Args:
        pieces: the weight, from the first row to the last.
        bias: (rows,) or None.
    """

    weight = None  # transformers' T5 looks whether it is a tensor

    def __init__(self, pieces: Sequence[PackedWeight], bias: nn.Parameter | None = None) -> None:
        super().__init__()
        self.pieces = nn.ModuleList(pieces)
        self.in_features = pieces[0].shape[1]
        self.out_features = sum(piece.shape[0] for piece in pieces)
        self.register_parameter("bias", bias)

    def dequantise(self, dtype: torch.dtype) -> Tensor:
        """The weight (out_features, in_features)."""
        pieces = cast("Sequence[PackedWeight]", self.pieces)
        if len(pieces) == 1:
            return pieces[0].dequantise(dtype)
        return torch.cat([piece.dequantise(dtype) for piece in pieces])

    def dequantise_bytes(self, dtype: torch.dtype) -> int:
        """The same of all pieces together."""
        each = [piece.dequantise_bytes(dtype) for piece in cast("Sequence[PackedWeight]", self.pieces)]
        whole = self.out_features * self.in_features * dtype.itemsize
        return each[0] if len(each) == 1 else whole + max(whole, *each)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.dequantise(x.dtype), cast("Tensor | None", self.bias))

    def split_forward(self, x: Tensor, first: int, tokens: slice) -> tuple[Tensor, Tensor]:
        """See `SplitLinear`; the weight is multiplied out once."""
        return multiply_split(x, self.dequantise(x.dtype), cast("Tensor | None", self.bias), first, tokens)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, pieces={len(self.pieces)}"


def whole_state_dict(model: nn.Module, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The state dict that the model would have if nothing in it were packed.

    Args:
        dtype: of what was.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, PackedLinear)}
    packed = tuple(f"{name}.pieces." for name in layers)
    kept = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith(packed)}
    return kept | {f"{name}.weight": layer.dequantise(dtype) for name, layer in layers.items()}


def dequantise_bytes(model: nn.Module, dtype: torch.dtype) -> int:
    """Most that multiplying out one weight takes for a while; 0 if nothing is packed."""
    layers = (module for module in model.modules() if isinstance(module, PackedLinear))
    return max((layer.dequantise_bytes(dtype) for layer in layers), default=0)


def packed_bytes(model: nn.Module) -> int:
    """Bytes of all packed weights in a model; 0 if it has none."""
    pieces: list[Any] = [module for module in model.modules() if isinstance(module, PackedWeight)]
    return sum(buffer.nbytes for piece in pieces for buffer in piece.buffers())
