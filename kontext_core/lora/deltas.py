"""Changes of a linear's weight in the forms of files, applied without ever building the whole change.

R rank. `forward(x)` is the change times x; `dense()` is the change itself, (out, in), in float32.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Delta(nn.Module):
    """A change, its scale left out. Its tensors are buffers of the dtype that the layer computes in."""

    kind = ""

    @property
    @abstractmethod
    def rank(self) -> int | None:
        """None where nothing says it."""

    @abstractmethod
    def dense(self) -> Tensor: ...


class LowRank(Delta):
    """up down.

    Args:
        down: (R, in), up (out, R). Source: arXiv:2106.09685.
    """

    kind = "LoRA"
    down: Tensor
    up: Tensor

    def __init__(self, down: Tensor, up: Tensor) -> None:
        super().__init__()
        self.register_buffer("down", down)
        self.register_buffer("up", up)

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.down), self.up)

    def dense(self) -> Tensor:
        return self.up.float() @ self.down.float()


class Kronecker(Delta):
    """left (x) right, each a matrix or a product of two.

    Args:
        left: (o1, i1), right (o2, i2) with o1 o2 = out, i1 i2 = in; or pairs (o, R), (R, i).
    Source: arXiv:2309.14859, LoKr; LyCORIS modules/lokr.py.
    """

    kind = "LoKr"

    def __init__(self, left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> None:
        super().__init__()
        self._sides = len(left), len(right)
        for i, factor in enumerate((*left, *right)):
            self.register_buffer(f"factor_{i}", factor)

    @property
    def _factors(self) -> tuple[list[Tensor], list[Tensor]]:
        factors = [self.get_buffer(f"factor_{i}") for i in range(sum(self._sides))]
        return factors[: self._sides[0]], factors[self._sides[0] :]

    @property
    def rank(self) -> int | None:
        """Of a product; LyCORIS counts the right one's where both are."""
        left, right = self._factors
        pair = right if len(right) > 1 else left
        return pair[1].shape[0] if len(pair) > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        left, right = self._factors
        x = x.unflatten(-1, (left[-1].shape[1], right[-1].shape[1]))
        for factor in reversed(right):
            x = F.linear(x, factor)
        x = x.transpose(-1, -2)
        for factor in reversed(left):
            x = F.linear(x, factor)
        return x.transpose(-1, -2).flatten(-2)

    def dense(self) -> Tensor:
        left, right = (
            factors[0].float() @ factors[1].float() if len(factors) > 1 else factors[0].float()
            for factors in self._factors
        )
        return torch.kron(left, right)


class Hadamard(Delta):
    """(w1_a w1_b) * (w2_a w2_b), entry by entry, which has to be built at each call.

    Args:
        w1_a: (out, R).
        w2_a: likewise.
        w1_b: (R, in). Source: arXiv:2108.06098; LyCORIS modules/loha.py.
        w2_b: likewise.
    """

    kind = "LoHa"
    w1_a: Tensor
    w1_b: Tensor
    w2_a: Tensor
    w2_b: Tensor

    def __init__(self, w1_a: Tensor, w1_b: Tensor, w2_a: Tensor, w2_b: Tensor) -> None:
        super().__init__()
        for name, factor in (("w1_a", w1_a), ("w1_b", w1_b), ("w2_a", w2_a), ("w2_b", w2_b)):
            self.register_buffer(name, factor)

    @property
    def rank(self) -> int:
        return self.w1_b.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, (self.w1_a @ self.w1_b) * (self.w2_a @ self.w2_b))

    def dense(self) -> Tensor:
        return (self.w1_a.float() @ self.w1_b.float()) * (self.w2_a.float() @ self.w2_b.float())


class WholeDifference(Delta):
    """A change that is stored as it is.

    Args:
        change: (out, in). Source: ComfyUI comfy/lora.py, `.diff`.
    """

    kind = "whole difference"
    change: Tensor

    def __init__(self, change: Tensor) -> None:
        super().__init__()
        self.register_buffer("change", change)

    @property
    def rank(self) -> None:
        return None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.change)

    def dense(self) -> Tensor:
        return self.change.float()
