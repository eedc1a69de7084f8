"""Norms with changes in their scale, and in their bias where they have one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from .layer import own_parameters

_SCALES = (
    "weight",
    "scale",
)  # what the parameter is called, of T5's and CLIP's norms and of the transformer's


@dataclass(frozen=True, eq=False)
class NormChange:
    """What is added to a norm's parameters, in float32.

    Args:
        scale: (D,), or None.
        bias: (D,), or None.
        strength: factor of both.
    """

    scale: Tensor | None
    bias: Tensor | None
    strength: float


def scale_of(norm: nn.Module) -> Tensor | None:
    """A norm's scale (D,); None for a module that is no norm, or has none."""
    for name in _SCALES:
        parameter = getattr(norm, name, None)
        if isinstance(parameter, nn.Parameter) and parameter.ndim == 1:
            return parameter
    return None


def is_norm(module: nn.Module) -> bool:
    """Whether it is a norm with a scale."""
    return scale_of(module) is not None


def changed_norm(norm: nn.Module, changes: Sequence[NormChange]) -> nn.Module:
    """The same norm with changes; the given one stays as it is."""
    changed = own_parameters(norm)
    for name in (*_SCALES, "bias"):
        parameter = cast("nn.Parameter | None", getattr(norm, name, None))
        parts = [(change.bias if name == "bias" else change.scale, change.strength) for change in changes]
        if parameter is None or all(part is None for part, _ in parts):
            continue
        total = parameter.detach().float()
        for part, strength in parts:
            if part is not None:
                total = total + strength * part.to(total.device)
        setattr(changed, name, nn.Parameter(total.to(parameter.dtype), requires_grad=False))
    return changed
