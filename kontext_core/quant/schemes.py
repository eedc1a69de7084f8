"""The ways in which weights can be packed when they are loaded, by name."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from ..model_spec import FULL
from . import float8, four_bits, integers
from .layer import PackedWeight

_QUANTISE: dict[str, Callable[[Tensor], PackedWeight]] = {
    "fp8": partial(float8.quantise, by_row=True),
    "fp8_tensor": partial(float8.quantise, by_row=False),
    "int8": partial(integers.quantise, bits=8),
    "int8_zero": partial(integers.quantise, bits=8, symmetric=False),
    "int4": partial(integers.quantise, bits=4),
    "int4_zero": partial(integers.quantise, bits=4, symmetric=False),
    "nf4": four_bits.quantise,
}
SCHEMES = tuple(_QUANTISE)  # the names of `model_spec.PACKED_FORMS`

# Bytes of a number, with its share of the factors.
BYTES = {
    "fp8": 1.0, "fp8_tensor": 1.0, "int8": 1.03125, "int8_zero": 1.0625, "int4": 0.53125, "int4_zero": 0.5625,
    "nf4": 0.53125,
}  # fmt: skip


def checked(quantise: str | None) -> str | None:
    """Raises: ValueError if it is neither None, "full", nor one of `SCHEMES`."""
    if quantise is not None and quantise != FULL and quantise not in SCHEMES:
        raise ValueError(
            f"quantise is {quantise!r}; it must be one of {', '.join(SCHEMES)}, {FULL} for none at all, or None for "
            "the weights as they are stored"
        )
    return quantise


def fits(shape: tuple[int, ...]) -> bool:
    """Whether a matrix can be packed: its rows are whole groups."""
    return len(shape) == 2 and shape[1] % integers.GROUP == 0


def pack(weight: Tensor, scheme: str) -> PackedWeight:
    """Pack a weight.

    Args:
        weight: (rows, columns) that `fits`.
        scheme: one of `SCHEMES`.
    """
    return _QUANTISE[scheme](weight)
