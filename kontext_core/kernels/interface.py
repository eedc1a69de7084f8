"""What every set of kernels has."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from .float8_rows import Rows

# What one stream brings to attention: qkv (B, L, 3, H, D), and the scales (D,) of its queries' and keys' RMS norm.
Stream = tuple[Tensor, Tensor, Tensor]


class Kernels(Protocol):
    """What both forms have. See `plain`; a result that goes to a `Float8Linear` alone may be `Rows`."""

    def modulate(
        self, x: Tensor, shift: Tensor, scale: Tensor, reader: nn.Module | None = None
    ) -> Tensor: ...
    def add_gated(self, x: Tensor, gate: Tensor, update: Tensor) -> Tensor: ...
    def add_gated_modulated(
        self,
        x: Tensor,
        gate: Tensor,
        update: Tensor,
        shift: Tensor,
        scale: Tensor,
        reader: nn.Module | None = None,
    ) -> tuple[Tensor, Tensor]: ...
    def turned(self, streams: Sequence[Stream], pe: Tensor) -> tuple[Tensor, Tensor, Tensor]: ...
    def beside(self, attended: Tensor, mlp: Tensor, reader: nn.Module | None = None) -> Tensor: ...
    def activated(self, linear: nn.Module, x: Tensor, reader: nn.Module | None = None) -> Tensor: ...
    def packed(self, x: Tensor) -> Rows: ...
