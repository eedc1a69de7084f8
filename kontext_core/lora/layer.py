"""A linear with changes beside it: y = W x + strength * scale * (change x).

W is never touched, and may be packed.

DoRA gives the changed weight a norm of its own: W' = m (W + scale * change) / |W + scale * change|, by rows
or, in files of older LyCORIS, by columns. Its strength s leads from W to W', as ComfyUI's does: (1 - s) W + s
W'.
Source: arXiv:2402.09353, eq. 5.
"""

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from .deltas import Delta

Rows = tuple[tuple[int, int], ...]


class BoundDelta(nn.Module):
    """A change at its strength, bound to a layer.

    The delta may belong to several changes, at other strengths.

    Args:
        layer: what it changes.
        rows: where the change's outputs belong among the layer's, in their order.
        strength: factor of all of it.
        delta: of the weight; None where the bias alone changes.
        scale: alpha / rank, a factor of the delta.
        magnitude: DoRA's m, (out,), (out, 1) or (1, in); None for all others.
        bias: (out,), what is added to the bias.
    """

    gain: Tensor | None
    bias: Tensor | None

    def __init__(
        self,
        layer: nn.Module,
        rows: Rows,
        strength: float,
        delta: Delta | None = None,
        scale: float = 1.0,
        magnitude: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.delta = delta
        self.rows = rows
        self.scale = scale
        self.strength = strength
        self.register_buffer("bias", bias)
        gain = None  # (out,) of rows, or (1, in) of columns
        if magnitude is not None and delta is not None:
            weight = dense_weight(layer).to(magnitude.device)
            gain = self._gain(weight, delta, magnitude.float()).to(magnitude.dtype)
        self.register_buffer("gain", gain)

    def _gain(self, weight: Tensor, delta: Delta, magnitude: Tensor) -> Tensor:
        changed = self._pick(weight, 0) + self.scale * delta.dense()
        if magnitude.ndim == 2 and magnitude.shape[0] == 1 and changed.shape[0] != 1:
            return magnitude / changed.norm(dim=0, keepdim=True)
        return magnitude.flatten() / changed.norm(dim=1)

    def _pick(self, x: Tensor, dim: int) -> Tensor:
        pieces = [x.narrow(dim, start, stop - start) for start, stop in self.rows]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim)

    def _add(self, y: Tensor, update: Tensor, factor: float, dim: int) -> None:
        begin = 0
        for start, stop in self.rows:
            y.narrow(dim, start, stop - start).add_(update.narrow(dim, begin, stop - start), alpha=factor)
            begin += stop - start

    def add_output(self, y: Tensor, x: Tensor, plain: Tensor, layer: nn.Module) -> None:
        """Add to the layer's output.

        Args:
            y: changed in place.
            plain: what the layer alone makes of x.
        """
        if self.bias is not None:
            self._add(y, self.bias, self.strength, -1)
        if self.delta is None:
            return
        if self.gain is None:
            self._add(y, self.delta(x), self.strength * self.scale, -1)
            return
        bias = cast("Tensor | None", layer.bias)
        bare = self._pick(plain if bias is None else plain - bias, -1)
        if self.gain.ndim == 1:
            update = (self.gain - 1) * bare + self.gain * (self.scale * self.delta(x))
        else:
            x = x * self.gain.squeeze(0)
            changed = layer(x) if bias is None else layer(x) - bias
            update = self._pick(changed, -1) + self.scale * self.delta(x) - bare
        self._add(y, update, self.strength, -1)

    def add_weight(self, merged: Tensor, weight: Tensor) -> None:
        """Add to a weight.

        Args:
            merged: (out, in), float32, changed in place.
            weight: what it was without any change.
        """
        if self.delta is None:
            return
        delta = self.scale * self.delta.dense()
        if self.gain is not None:
            bare = self._pick(weight, 0)
            gain = self.gain.float()
            delta = (gain[:, None] if gain.ndim == 1 else gain) * (bare + delta) - bare
        self._add(merged, delta, self.strength, 0)

    def add_bias(self, merged: Tensor) -> None:
        """Add to a bias.

        Args:
            merged: (out,), float32, changed in place.
        """
        if self.bias is not None:
            self._add(merged, self.bias.float(), self.strength, 0)


class LoraLinear(nn.Module):
    """In the place of a linear, with its attributes.

    Args:
        base: any module that is called like `nn.Linear` and has its attributes.
        changes: at least one.
    """

    def __init__(self, base: nn.Module, changes: Sequence[BoundDelta]) -> None:
        super().__init__()
        self.base = base
        self.changes = nn.ModuleList(changes)
        self._keeps_plain = any(change.gain is not None for change in changes)

    @property
    def in_features(self) -> int:
        return cast("int", self.base.in_features)

    @property
    def out_features(self) -> int:
        return cast("int", self.base.out_features)

    @property
    def weight(self) -> Any:
        """The base's own, which says dtype and device to those who ask."""
        return self.base.weight

    @property
    def bias(self) -> Any:
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        plain = cast("Tensor", self.base(x))
        y = plain.clone() if self._keeps_plain else plain
        for change in cast("list[BoundDelta]", self.changes):
            change.add_output(y, x, plain, self.base)
        return y


def merged(base: nn.Module, changes: Sequence[BoundDelta]) -> nn.Module:
    """A linear of its own with changes in its weight and bias, added up in float32. The base stays as it is.

    Args:
        base: whatever does not change is shared with it; it must have a plain weight where that is to change.
        changes: at least one.
    """
    width, out = cast("int", base.in_features), cast("int", base.out_features)
    like = next(buffer for change in changes for buffer in change.buffers())
    bias = cast("nn.Parameter | None", base.bias)
    if any(change.delta is not None for change in changes):
        linear: Any = nn.Linear(width, out, bias=False, device="meta")
        weight = dense_weight(base).to(like.device)
        total = weight.clone()
        for change in changes:
            change.add_weight(total, weight)
        linear.weight = nn.Parameter(total.to(cast("Tensor", base.weight).dtype), requires_grad=False)
        linear.bias = bias
    else:
        linear = own_parameters(base)
    if any(change.bias is not None for change in changes):
        total = torch.zeros(out) if bias is None else bias.detach().float()
        total = total.to(like.device, copy=True)
        for change in changes:
            change.add_bias(total)
        linear.bias = nn.Parameter(total.to(like.dtype if bias is None else bias.dtype), requires_grad=False)
    return linear.eval()


def own_parameters(module: nn.Module) -> nn.Module:
    """The same module with a place of its own for each parameter, in which others can be put."""
    view = copy.copy(module)
    view._parameters = dict(module._parameters)  # pyright: ignore[reportPrivateUsage]
    return view


def dense_weight(layer: nn.Module) -> Tensor:
    """(out, in) in float32, of a plain layer or of one that packs its weights."""
    if hasattr(layer, "dequantise"):
        return cast("Any", layer).dequantise(torch.float32)
    return cast("Tensor", layer.weight).detach().float()


def is_linear(module: nn.Module) -> bool:
    """Whether a LoRA can be put on it."""
    return hasattr(module, "in_features") and hasattr(module, "out_features")
