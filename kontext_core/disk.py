"""Writing so that a file is whole or what it was before, also where the disk is full, read-only, or a kill comes between."""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from safetensors import SafetensorError


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where it is not there yet.

    Raises: OSError in one sentence if that cannot be, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"the folder {folder} could not be made: {_reason(error)}") from error
    if not os.access(folder, os.W_OK):
        raise OSError(f"the folder {folder} cannot be written to: it, or its disk, is read-only here")


@contextmanager
def whole(*paths: Path) -> Generator[tuple[Path, ...]]:
    """Where to write files instead, or folders that are new; at the end of the block they take their places.

    Raises: OSError in one sentence if they cannot be written; each is then what it was before.
    """
    partials = tuple(path.with_name(f".{path.name}.part") for path in paths)
    try:
        yield partials
        for partial, path in zip(partials, paths, strict=True):
            os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        raise _unwritten(paths[0], error) from error
    finally:
        for partial in partials:
            if partial.is_dir():
                shutil.rmtree(partial, ignore_errors=True)
            else:
                with suppress(OSError):  # a read-only disk refuses that even where there is nothing
                    partial.unlink()


def append(path: Path, data: bytes) -> None:
    """Write at the end of a file, all of it or nothing, and wait until it is on the disk. Raises: OSError."""
    new = not path.exists()
    try:
        with path.open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                _write(file, data)
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise
    except OSError as error:
        if new:
            with suppress(OSError):
                path.unlink()
        raise _unwritten(path, error) from error


def create(path: Path, data: bytes) -> None:
    """Write a new file. Raises: FileExistsError if there is one, or a link; OSError if it cannot be written."""
    try:
        with path.open("xb", buffering=0) as file:
            try:
                _write(file, data)
            except OSError:
                path.unlink()
                raise
    except FileExistsError:
        raise
    except OSError as error:
        raise _unwritten(path, error) from error


def _write(file: FileIO, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[
            file.write(left) :
        ]  # on a disk that fills up, the last write before the error is a short one


def _unwritten(path: Path, error: Exception) -> OSError:
    return OSError(f"{path} could not be written, and is what it was before: {_reason(error)}")


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
