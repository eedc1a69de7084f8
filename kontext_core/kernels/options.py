"""How a step is to be computed, and what of it is in force."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from ..model_spec import ComputeOptions

_compute_options: ContextVar[ComputeOptions] = ContextVar("compute_options", default=ComputeOptions())  # noqa: B039 (it is frozen)


def compute_options() -> ComputeOptions:
    """Those that hold now."""
    return _compute_options.get()


@contextmanager
def use_compute_options(options: ComputeOptions) -> Generator[None]:
    """Within it, steps are computed so."""
    token = _compute_options.set(options)
    try:
        yield
    finally:
        _compute_options.reset(token)
