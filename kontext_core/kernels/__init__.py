"""The work between matrix products, in plain torch or in fused Triton kernels: the one place that chooses.

Fused kernels are for CUDA alone and know no gradients, so training and compiled blocks keep the plain form.
"""

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from . import cpu, plain
from .float8 import Rows
from .plain import Stream

log = logging.getLogger(__name__)

FORMS = ("auto", "plain", "fused")


class Kernels(Protocol):
    """What both forms have. See `plain`; a result that goes to a `Float8Linear` alone may be `float8.Rows`."""

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


@dataclass(frozen=True)
class Wishes:
    """How a step is to be computed. None of it changes what is computed but attention "sage".

    Args:
        kernels: one of `FORMS`; "auto" is fused where Triton runs, "fused" insists on it.
        attention: one of `attention.BACKENDS`, or "auto" for the card's best exact one.
        side_stream: whether text runs beside the image on a CUDA stream of its own.
        graph: whether a step is recorded as a CUDA graph and replayed, where no weights visit the device.
    Raises: ValueError if there is no such form.
    """

    kernels: str = "auto"
    attention: str = "auto"
    side_stream: bool = False
    graph: bool = False

    def __post_init__(self) -> None:
        if self.kernels not in FORMS:
            raise ValueError(f"kernels {self.kernels!r} are not known; choose one of {', '.join(FORMS)}")


_wishes: ContextVar[Wishes] = ContextVar("wishes", default=Wishes())  # noqa: B039 (it is frozen)


def wishes() -> Wishes:
    """Those that hold now."""
    return _wishes.get()


@contextmanager
def wishing(wanted: Wishes) -> Generator[None]:
    """Within it, steps are computed so."""
    token = _wishes.set(wanted)
    try:
        yield
    finally:
        _wishes.reset(token)


def chosen(x: Tensor) -> Kernels:
    """The form for a step's tensors, by those of one of them."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return plain
    form = _wishes.get().kernels
    if form == "fused" or (form == "auto" and x.is_cuda and runs_fused(x.device, x.dtype)):
        return _fused()
    if form == "auto" and x.device.type == "cpu" and x.dtype == torch.float32:
        return cpu
    return plain


@cache
def runs_fused(device: torch.device, dtype: torch.dtype = torch.bfloat16) -> bool:
    """Tell whether Triton is there, compiles for this device, and gives what plain torch gives in these numbers.

    Looked at once for each.
    """
    try:
        from .check import difference

        error = difference(_fused(), device, dtype)
    except Exception as reason:  # a compiler can fail in its own ways, and the plain form needs none
        log.info("no fused kernels on %s in %s, plain torch in their place: %s", device, dtype, reason)
        return False
    if not error < 0.01:
        log.warning(
            "fused kernels on %s in %s are off by %.1e, plain torch in their place", device, dtype, error
        )
        return False
    return True


def _fused() -> Kernels:
    return cast("Any", import_module(".fused", __name__))
