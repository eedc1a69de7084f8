"""How a step is to be computed, and what of it is in force."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

FORMS = ("auto", "plain", "fused")


@dataclass(frozen=True)
class Wishes:
    """How a step is to be computed. None of it changes what is computed but attention "sage".

    Args:
        kernels: one of `FORMS`; "auto" is fused where Triton runs, "fused" insists on it.
        attention: one of `attention_backends.BACKENDS`, or "auto" for the card's best exact one.
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
