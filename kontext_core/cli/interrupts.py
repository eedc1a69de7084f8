"""Ctrl+C during a command, which ends it with 130 whatever a library makes of the interrupt."""

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, Self

EXIT = 128 + signal.SIGINT


class Interrupts:
    """A context that notes whether Ctrl+C came, of which code that is half imported makes other errors.

    Args:
        alone: whether the process is here for this command only, and may end while it still imports.
    """

    def __init__(self, *, alone: bool) -> None:
        self.alone, self.came = alone, False
        self._usual = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )

    def __enter__(self) -> Self:
        if self._usual:
            signal.signal(signal.SIGINT, self.handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def handle(self, number: int, frame: FrameType | None) -> NoReturn:
        self.came = True
        raise KeyboardInterrupt


@contextmanager
def importing() -> Generator[None]:
    """Let Ctrl+C end the process at once while a command imports: there is nothing to leave in order."""
    handler = signal.getsignal(signal.SIGINT)
    interrupts = getattr(handler, "__self__", None)
    if not isinstance(interrupts, Interrupts) or not interrupts.alone:
        yield
        return
    signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    os.write(2, b"stopped\n")
    os._exit(EXIT)
