"""What the tools say, and how they end."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
CLOSED = 128 + 13  # what a shell shows of a program that a closed pipe ended (SIGPIPE)
DISKFULL = (
    "The disk is full{where}: free some space and run the same command again; it continues where it stopped."
)


STOPPED, STOPPED_TEXT = 130, "Stopped. The same command continues."


class ToolError(Exception):
    """What went wrong and what to do about it, in a sentence for the user."""


class DiskFull(ToolError):
    """No other source or second attempt helps against this one."""

    def __init__(self, where: str = "") -> None:
        super().__init__(DISKFULL.format(where=f" ({where})" if where else ""))


class Output:
    """Standard output, which escapes what its encoding lacks."""

    def write(self, text: str) -> None:
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def flush(self) -> None:
        sys.stdout.flush()

    def isatty(self) -> bool:
        return sys.stdout.isatty()


def say(text: str) -> None:
    """Print one line for the user, at once."""
    output = Output()
    output.write(f"{text}\n")
    output.flush()


def run(main: Callable[[], None], *sentences: type[Exception]) -> None:
    """Run a command line's `main` and exit.

    The code is 0, 1 after one clear sentence, 130 after Ctrl+C, or 141 where nobody reads what it prints.

    Args:
        main: the command.
        sentences: other errors than ToolError that are made for the user.
    """
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
    except (ToolError, *sentences) as error:
        _end(str(error), 1)
    except KeyboardInterrupt:
        _end(STOPPED_TEXT, STOPPED)
    except BrokenPipeError:
        _write_to_nowhere()
        sys.exit(CLOSED)
    except OSError as error:
        sentence = explain_oserror(error)
        if sentence is None:
            raise
        _end(str(sentence), 1)


def leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """End at once: what Ctrl+C does while a tool is imported, when there is nothing to leave in order."""
    os.write(2, f"{STOPPED_TEXT}\n".encode())
    os._exit(STOPPED)


def end_in_order() -> None:
    """Have a closed terminal, or the system, end this as Ctrl+C does, so that nothing is left behind."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has one of them
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores the other
            signal.signal(number, signal.default_int_handler)


def explain_oserror(error: OSError) -> ToolError | None:
    """Say what the system refused, and what to do about it; None where it does not say of which file."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list) and error.args[0]:
        _, file, reason = error.args[0][0]  # the first of those that could not be copied
        return ToolError(f"{file} could not be written: {reason}")
    if error.errno in FULL:
        return DiskFull(str(error.filename or ""))
    if error.errno is None:
        return ToolError(f"{error}.")  # a sentence of ours
    if error.filename is None:
        return None
    if error.errno in FORBIDDEN:
        return ToolError(
            f"{error.filename} cannot be accessed by this user ({error.strerror}): run the same command as "
            "its owner, or choose another place."
        )
    return ToolError(f"{error.filename} cannot be used: {error.strerror}.")


def _write_to_nowhere() -> None:
    """Let go of standard output, so that Python has nothing to say when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _end(text: str, code: int) -> None:
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    sys.stderr.write(f"{text}\n")
    sys.exit(code)
