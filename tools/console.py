"""What the tools say, and how they end."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

_FULL = (errno.ENOSPC, errno.EDQUOT)
DISK_FULL = "The disk is full{where}: free some space and run the same command again, it continues."


class ToolError(Exception):
    """What went wrong and what to do about it, in a sentence for the user."""


class DiskFull(ToolError):
    """No other source or second attempt helps against this one."""

    def __init__(self, where: str = "") -> None:
        super().__init__(DISK_FULL.format(where=f" ({where})" if where else ""))


def say(text: str) -> None:
    """One line for the user, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(main: Callable[[], None], *sentences: type[Exception]) -> None:
    """Run a command line's `main` and exit: 0, 1 after one clear sentence, or 130 after Ctrl+C.

    Args: sentences, other errors than ToolError that are made for the user.
    """
    try:
        main()
    except (ToolError, *sentences) as error:
        _end(str(error), 1)
    except KeyboardInterrupt:
        _end("Stopped. The same command continues.", 130)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _end(str(DiskFull(str(error.filename or ""))), 1)


def _end(text: str, code: int) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"{text}\n")
    sys.exit(code)
