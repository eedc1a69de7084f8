"""What the tools say, and how they end."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Callable

FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
CLOSED = 128 + 13  # what a shell shows of a program that a closed pipe ended (SIGPIPE)
DISKFULL = "The disk is full{where}: free some space and run the same command again, it continues."


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
    try:
        main()
    except (ToolError, *sentences) as error:
        _end(str(error), 1)
    except KeyboardInterrupt:
        _end("Stopped. The same command continues.", 130)
    except BrokenPipeError:
        _write_to_nowhere()
        sys.exit(CLOSED)
    except OSError as error:
        sentence = explain_oserror(error)
        if sentence is None:
            raise
        _end(str(sentence), 1)


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
    if error.errno in _FORBIDDEN:
        return ToolError(
            f"{error.filename} is not for this user ({error.strerror}): run the same command as its owner, "
            "or choose another place."
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
