"""Writing that leaves a file whole or as it was: on a full or read-only disk, and after a kill."""

import hashlib
import os
import shutil
import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from safetensors import SafetensorError

_LONGEST_NAME = 255  # bytes, where the system does not say


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where it is not there yet.

    Raises: OSError in one sentence if that cannot be, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"the folder {folder} could not be created: {_reason(error)}") from error
    _check_writable(folder)


def check_folder(folder: Path) -> None:
    """Look whether `make_folder` could make it, and make nothing yet.

    Raises: OSError in one sentence if not.
    """
    place = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), None)
    if place is None:
        return  # a drive that is not there, which only an attempt tells
    if not place.is_dir():
        raise OSError(f"the folder {folder} could not be created: {place} is not a folder")
    _check_writable(place)


@contextmanager
def whole(*paths: Path) -> Generator[tuple[Path, ...]]:
    """Where to write files instead, or folders that are new; at the end of the block they take their places.

    Raises: OSError in one sentence if they cannot be written; each is then what it was before.
    """
    partials = tuple(partial_path(path) for path in paths)
    try:
        yield partials
        _replace(partials, paths)
    except (OSError, SafetensorError) as error:
        raise _unwritten(paths[0], error) from error
    finally:
        for partial in partials:
            _remove(partial)


def partial_path(path: Path) -> Path:
    """Name where a file is written until it is whole: beside it, short, and nobody else's."""
    writer = f"{path.name}\0{os.getpid()}\0{threading.get_ident()}"
    digest = hashlib.sha256(writer.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return path.parent / f".{path.name[:24]}.{digest}.part"


def append(path: Path, data: bytes) -> None:
    """Write at the end of a file, all of it or nothing, and wait until it is on the disk. Raises: OSError."""
    new = not os.path.lexists(path)
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
    """Write a new file, which appears when it is whole.

    Raises: FileExistsError if there is one, or a link; OSError if it cannot be written.
    """
    if os.path.lexists(path):
        raise FileExistsError(f"{path} already exists")
    partial = partial_path(path)
    try:
        with partial.open("wb", buffering=0) as file:
            _write(file, data)
        _put(partial, path)
    except FileExistsError:
        raise
    except OSError as error:
        raise _unwritten(path, error) from error
    finally:
        _remove(partial)


def numbered(folder: Path, stem: str, ending: str, number: int) -> Path:
    """Name a file by `stem` and `ending`, from the second on with a number: a.png, a-2.png, a-3.png.

    Args:
        folder: where it is to be.
        stem: is cut where the disk takes no name as long as that.
        ending: stays whole.
        number: 1 for the first.
    """
    tail, dot, suffix = ending.rpartition(".")
    ending = f"{tail}{'' if number == 1 else f'-{number}'}{dot}{suffix}"
    room = _longest_name(folder) - len(os.fsencode(ending))
    while len(os.fsencode(stem)) > max(room, 1):
        stem = stem[:-1]
    return folder / f"{stem}{ending}"


def free_number(folder: Path, stem: str, endings: Iterable[str]) -> int:
    """Find the first number under which none of these files is there yet, see `numbered`."""
    number, endings = 1, tuple(endings)
    while any(os.path.lexists(numbered(folder, stem, ending, number)) for ending in endings):
        number += 1
    return number


def write_new(folder: Path, stem: str, ending: str, data: bytes, number: int = 1) -> Path:
    """Write a new file under the first number from `number` on that is free, see `numbered`.

    Nothing is overwritten.

    Raises: OSError in one sentence if it cannot be written.
    """
    while True:
        path = numbered(folder, stem, ending, number)
        try:
            create(path, data)  # never through a link that lies there
        except FileExistsError:
            number += 1
        else:
            return path


def _check_writable(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(
            f"the folder {folder} cannot be written to: it, or its disk, is read-only or belongs to another "
            "user"
        )


def _replace(partials: Sequence[Path], paths: Sequence[Path]) -> None:
    """Let all take their places, or none of them (where the disk has hard links)."""
    olds = [partial.with_suffix(".old.part") for partial in partials[:-1]]  # nothing can fail behind the last
    new = [not os.path.lexists(path) for path in paths]
    placed = 0
    try:
        for old, path in zip(olds, paths, strict=False):
            with suppress(OSError):
                os.link(path, old)
        for partial, path in zip(partials, paths, strict=True):
            os.replace(partial, path)
            placed += 1
    except OSError:
        for old, path, is_new in list(zip(olds, paths, new, strict=False))[:placed]:
            if os.path.lexists(old):
                os.replace(old, path)
            elif is_new:
                path.unlink()
        raise
    finally:
        for old in olds:
            _remove(old)


def _put(partial: Path, path: Path) -> None:
    """Let a whole file take a free place. Raises: FileExistsError if something is there after all."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:  # a disk without hard links: the place is taken first, and filled then
        path.open("xb").close()
        try:
            os.replace(partial, path)
        except OSError:
            path.unlink()
            raise


def _remove(partial: Path) -> None:
    with suppress(OSError):  # a read-only disk refuses that even where there is nothing
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink()


def _longest_name(folder: Path) -> int:
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        return _LONGEST_NAME


def _write(file: FileIO, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[
            file.write(left) :
        ]  # on a disk that fills up, the last write before the error is a short one


def _unwritten(path: Path, error: Exception) -> OSError:
    return OSError(f"{path} could not be written and is unchanged: {_reason(error)}")


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
