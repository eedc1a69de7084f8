"""What a model and its LoRAs hold, as a digest that changes when their pictures would.

The files are read whole: sizes and times alone tell nothing of a LoRA that is replaced by another of its
rank, and would call a model that was copied, touched or moved another one. What was read is remembered beside
the results, so that a batch that is taken up again reads only what has changed since.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ..checks.sentences import sentence
from ..config import TINY
from ..disk import whole
from ..loading.checkpoint import files_of_weights
from ..loading.locate import TINY_FOLDER, locate_part

MEMORY = ".kontext-batch.weights.json"
_PARTS = ("transformer", "vae", "clip", "t5")
_SMALL = (".json", ".txt", ".model")  # tokenizers and configurations
_SETTLED_NS = 2 * 10**9  # a file that is younger may change again without another time
_LONG = 2**30  # bytes whose reading is announced


class Digests:
    """Digests of files.

    Args:
        memory: a file that remembers them.
        report: takes a sentence before a long reading.
    """

    def __init__(self, memory: Path, report: Callable[[str], None]) -> None:
        self._memory, self._report = memory, report
        self._known = _read(memory)

    def of(self, files: Iterable[Path]) -> str:
        """Digest the content of files, wherever they lie.

        Raises: ValueError in one sentence if one cannot be read.
        """
        digest = hashlib.sha256()
        for file in files:
            digest.update(self._of_file(file.resolve()).encode())
        return digest.hexdigest()

    def keep(self) -> None:
        """Remember what was read. Raises: OSError."""
        with whole(self._memory) as (partial,):
            partial.write_text(json.dumps(self._known, indent=1) + "\n", encoding="utf-8")

    def _of_file(self, file: Path) -> str:
        try:
            looks = _looks(file)
            known = self._known.get(str(file), {})
            if known.get("looks") == looks:
                return known["sha256"]
            if looks[0] > _LONG:
                self._report(f"reading {file} once, to notice when it changes ({looks[0] / 2**30:.0f} GiB)")
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            settled = time.time_ns() - max(looks[1:3]) > _SETTLED_NS
            if settled and _looks(file) == looks:
                self._known[str(file)] = {"looks": looks, "sha256": digest}
        except OSError as error:
            raise ValueError(f"a file of the model or a LoRA cannot be read ({sentence(error)})") from error
        return digest


def files_of_model(model: str) -> list[Path]:
    """List all files that pictures depend on, in a fixed order.

    Args:
        model: "tiny", or a path.
    Raises: CheckpointError if a part is missing.
    """
    root = TINY_FOLDER if model == TINY else Path(model)
    parts = [locate_part(root, part)[0].path for part in _PARTS]
    files = [file for part in parts for file in (sorted(files_of_weights(part)) if part.is_dir() else [part])]
    if root.is_dir():
        files += sorted(file for file in root.rglob("*") if file.suffix in _SMALL and file.is_file())
    return files


def files_of_lora(path: Path) -> list[Path]:
    """List what a LoRA is made of. Raises: ValueError if there is none."""
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix in (".safetensors", ".json"))
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    beside = path.parent / "adapter_config.json"  # PEFT's
    return [path, beside] if path.name == "adapter_model.safetensors" and beside.is_file() else [path]


def last_change_ns(files: Sequence[Path]) -> int:
    """Tell when one of the files last changed, or came to its place."""
    return max(max(file.stat().st_mtime_ns, file.stat().st_ctime_ns) for file in files)


def _looks(file: Path) -> list[int]:
    status = os.stat(file)
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Read what is remembered; what is no such memory, as after a crash of the system, counts as none."""
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    entries = known.items() if isinstance(known, dict) else ()
    return {
        name: entry
        for name, entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("sha256"), str)
    }
