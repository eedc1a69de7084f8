"""What the command line prints: to a terminal, a log, or a pipe whose reader may be gone."""

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_READER_GONE = (errno.EPIPE, errno.EINVAL)  # the second is how Windows says it


class ClosedOutputError(Exception):
    """An output that nobody reads any more."""


class Output:
    """One of the standard streams: the one that `sys` has at the time, or nothing where it has none.

    What the stream cannot encode is escaped.

    Args:
        name: "stdout" or "stderr".
    Raises: ClosedOutputError if its reader is gone; OSError in one sentence.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def _stream(self) -> Any:
        return getattr(sys, self._name)

    def write(self, text: str) -> None:
        if self._stream is not None:
            encoding = getattr(self._stream, "encoding", None) or "utf-8"
            printable = text.encode(encoding, "backslashreplace").decode(encoding)
            self._attempt(lambda: self._stream.write(printable))

    def flush(self) -> None:
        if self._stream is not None:
            self._attempt(self._stream.flush)

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            self.let_go()
            if error.errno in _READER_GONE:
                raise ClosedOutputError from error
            raise OSError(f"the output could not be printed: {error.strerror}") from error

    def let_go(self) -> None:
        """Have Python write the rest to nowhere when it ends."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


OUT, ERR = Output("stdout"), Output("stderr")


def put(text: str) -> None:
    """Print one line of what was asked for."""
    OUT.write(text + "\n")
    OUT.flush()


def say(text: str) -> None:
    """Print one line about it."""
    ERR.write(text + "\n")
    ERR.flush()
