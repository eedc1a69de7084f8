"""Batches of a few lines, and simulated workers."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from kontext_core.batch.work import WorkerDiedError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the pictures a.png and b.png."""
    for name, colour in (("a.png", "red"), ("b.png", "green")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / name)
    return tmp_path


@pytest.fixture
def lines(folder: Path) -> Callable[..., Path]:
    """`lines(*lines)`: a batch file of them; dictionaries are written as JSON."""

    def write(*lines: dict[str, Any] | str | bytes) -> Path:
        path = folder / "edits.jsonl"
        texts = [json.dumps(line) if isinstance(line, dict) else line for line in lines]
        path.write_bytes(
            b"\n".join(text.encode() if isinstance(text, str) else text for text in texts) + b"\n"
        )
        return path

    return write


class Pretended:
    """A worker that says at once what it was asked, as a PNG that is none, and dies when it is told to.

    Args:
        log: what it made.
        dies: asked before each edit, with the first instruction.
    """

    def __init__(self, log: list[str], dies: Callable[[str], bool] = lambda _: False) -> None:
        self.log, self.dies, self.closed = log, dies, False

    def load(self) -> None:
        if self.closed:
            raise WorkerDiedError

    def edit(self, job: dict[str, Any], pictures: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        first = job["instructions"][0]
        if self.closed or self.dies(first):
            raise WorkerDiedError
        if first == "refuse":
            return {"error": "this cannot be done"}, []
        self.log.append(first)
        return {"sizes": [[1, 1]] * len(job["instructions"])}, [text.encode() for text in job["instructions"]]

    def close(self) -> None:
        self.closed = True
