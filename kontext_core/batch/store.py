"""The folder of a batch's results: pictures that are whole or not there, and a line of JSON for each edit."""

import json
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EACCES, EAGAIN, EDEADLK, EWOULDBLOCK
from pathlib import Path
from typing import Any, BinaryIO

from ..disk import append, make_folder, whole

RESULTS = "results.jsonl"
_LOCK = ".kontext-batch.lock"
_HELD = (
    EACCES,
    EAGAIN,
    EDEADLK,
    EWOULDBLOCK,
)  # by another process; other errors are of disks that know no locks


@dataclass(frozen=True)
class EarlierModel:
    """A model as earlier keys know it, by name: they hold for what was made since its files changed.

    Args:
        name: as `BatchEdit.key` takes it.
        changed_ns: when a file of the model or its LoRAs last did.
    """

    name: str
    changed_ns: int


class Store:
    """The folder of a batch's results; one process may have it at a time, see `opened`.

    Args:
        folder: made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / RESULTS
        self._last = _read(self._path)

    @classmethod
    @contextmanager
    def opened(cls, folder: Path) -> Generator["Store"]:
        """Raises: ValueError if another batch is at work in this folder; OSError if it takes no file."""
        make_folder(folder)
        with (folder / _LOCK).open("ab") as lock:
            if not _locked(lock):
                raise ValueError(
                    f"another batch is running in {folder}; wait until it ends, or choose another folder"
                )
            for left in folder.glob(".*.part"):
                left.unlink()
            yield cls(folder)

    def has(self, id: str, key: str) -> bool:
        """Say whether this very edit was made, and its pictures are there."""
        return self._last.get(id, {}).get("key") == key and bool(self._pictures(id))

    def has_since(self, id: str, key: str, changed_ns: int) -> bool:
        """Say the same of pictures that are younger than `changed_ns`."""
        return self.has(id, key) and all(path.stat().st_mtime_ns > changed_ns for path in self._pictures(id))

    def has_other(self, id: str) -> bool:
        """Say whether an edit of this name was made, from whatever line and by whatever model."""
        return bool(self._pictures(id))

    def renew(self, id: str, key: str) -> None:
        """Let what is there count for another key. Raises: OSError."""
        self._write({**self._last[id], "key": key})

    def _pictures(self, id: str) -> list[Path]:
        """List those of an edit that was made; none if one of them is gone."""
        last = self._last.get(id, {})
        paths = [self.folder / name for name in last.get("pictures", ())]
        return paths if last.get("status") == "done" and all(path.is_file() for path in paths) else []

    def done(self, id: str, pictures: Sequence[bytes], record: Mapping[str, Any]) -> list[Path]:
        """Keep the pictures (PNG) of an edit, one for each turn, and then its line.

        Raises: OSError if they cannot be.
        """
        names = [f"{id}_turn{turn}.png" for turn in range(1, len(pictures) + 1)]
        for name, picture in zip(names, pictures, strict=True):
            with whole(self.folder / name) as (partial,), partial.open("wb") as file:
                file.write(picture)
                file.flush()
                os.fsync(file.fileno())
        self._write({"id": id, "status": "done", "pictures": names, **record})
        return [self.folder / name for name in names]

    def failed(self, id: str, error: str, record: Mapping[str, Any]) -> None:
        self._write({"id": id, "status": "failed", "error": error, **record})

    def _write(self, line: dict[str, Any]) -> None:
        after_a_kill = b"" if _ends_whole(self._path) else b"\n"
        append(self._path, after_a_kill + json.dumps(line).encode() + b"\n")
        self._last[line["id"]] = line


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """The last line of each edit. What is no such line, as a kill may leave one, counts as none."""
    lines: dict[str, dict[str, Any]] = {}
    for text in path.read_bytes().splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and isinstance(line.get("id"), str) and _is_list(line.get("pictures", [])):
            lines[line["id"]] = line
    return lines


def _is_list(names: Any) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _ends_whole(path: Path) -> bool:
    """Whether its last line is one; there may be none yet."""
    if not path.exists() or not path.stat().st_size:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _locked(file: BinaryIO) -> bool:
    """Lock a file for as long as it is open in this process."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _HELD
    return True
