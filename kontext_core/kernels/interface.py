"""What every set of kernels has."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from .float8_rows import Float8Rows

# What one stream brings to attention: qkv (B, L, 3, H, D), and the scales (D,) of its queries' and keys' RMS
# norm.
QKV = tuple[Tensor, Tensor, Tensor]


class Kernels(Protocol):
    """What every set has, see `reference`; what a `Float8Reader` alone reads may be `Float8Rows`."""

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
    def qk_norm_rope(self, streams: Sequence[QKV], pe: Tensor) -> tuple[Tensor, Tensor, Tensor]: ...
    def gelu_concat(self, attended: Tensor, mlp: Tensor, reader: nn.Module | None = None) -> Tensor: ...
    def linear_gelu(self, linear: nn.Module, x: Tensor, reader: nn.Module | None = None) -> Tensor: ...
    def quantise_rows(self, x: Tensor) -> Float8Rows: ...
