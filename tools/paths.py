"""Where things lie: the checkout, its virtual environment, the cache outside of it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from .console import FULL, DiskFull, ToolError, say

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
TRANSLATIONS = ROOT / "tools" / "locales"


def venv_python(venv: Path = VENV) -> Path:
    """The interpreter of a virtual environment, on this system."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def expand(text: str) -> Path:
    """Read a path as a user writes it. Raises: ToolError if there is no such home folder."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ToolError(f"{text} cannot be found: there is no such home folder.") from error


def cache_folder() -> Path:
    """Where ComfyUI and front ends are kept: KONTEXT_CACHE, or the user's cache folder."""
    chosen = os.environ.get("KONTEXT_CACHE")
    if chosen:
        return expand(chosen).resolve()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or expand("~/AppData/Local")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or expand("~/.cache")
    return Path(base) / "kontext-nodes"


def unusable(cache: Path, error: OSError) -> ToolError:
    """Say what to do about a cache that this user may not use, that is no folder, or cannot be written to."""
    if error.errno in FULL:
        return DiskFull(str(cache))
    what = "cannot be accessed by this user" if isinstance(error, PermissionError) else "cannot be used"
    return ToolError(
        f"The cache folder {cache} {what} ({error.strerror}): set KONTEXT_CACHE to a folder that you own, as "
        "in 'KONTEXT_CACHE=/tmp/cache make demo'."
    )


@contextmanager
def cache_workshop(cache: Path) -> Generator[Path]:
    """Make a folder in the cache, gone at the end; those that a kill left there go too.

    Raises: ToolError if nothing can be written there.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for left in cache.glob(".making-*"):
            if not _runs(left.name.split("-")[1]):
                shutil.rmtree(left, ignore_errors=True)
        workshop = TemporaryDirectory(prefix=f".making-{os.getpid()}-", dir=cache)
    except OSError as error:
        raise unusable(cache, error) from error
    with workshop as folder:
        yield Path(folder)


@contextmanager
def alone_in(folder: Path) -> Generator[None]:
    """Wait until no other set-up is at work in a folder, and let others wait until this one has ended.

    Windows has no such lock, and no make either.
    """
    if os.name == "nt":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)  # closed by the system too, however this process ends
    try:
        if not _locked(handle, wait=False):
            say(f"Another set-up is running in {folder}: this one continues when that has finished ...")
            _locked(handle, wait=True)
        yield
    finally:
        os.close(handle)


def _locked(handle: int, *, wait: bool) -> bool:
    """Lock a folder, or say that somebody else has. A disk without locks counts as nobody's."""
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _runs(process: str) -> bool:
    """Say whether the process of this number is there, as far as that can be asked without harm."""
    if os.name == "nt" or not process.isdecimal():
        return True
    with suppress(PermissionError):
        try:
            os.kill(int(process), 0)
        except (ProcessLookupError, OverflowError):
            return False
    return True
