"""What a worker of a batch does, wherever it runs: load the model once, then from bytes to bytes for each edit."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Protocol

import torch
from torch import Tensor

from ..images import from_bytes, to_pil
from ..lora import Lora
from ..picture_files import write_png
from ..pipeline import Edit, Pipeline

FAULTS = OSError, ValueError, RuntimeError  # what is said in one sentence; anything else is a mistake of ours


class WorkerDiedError(RuntimeError):
    """The process that made an edit is gone. Another may make it."""


class Worker(Protocol):
    """One device at work. Raises: WorkerDiedError from any of its methods but `close`."""

    def edit(self, job: dict[str, Any], pictures: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        """See `make`."""
        ...

    def close(self) -> None:
        """End it, also in the middle of an edit."""
        ...


@dataclass(frozen=True)
class Model:
    """What a worker loads. Args: loras: (file, strength) of each. threads: of the CPU; 0: as PyTorch likes."""

    model: str
    device: str | None
    loras: Sequence[tuple[str, float]] = ()
    threads: int = 0

    def load(self) -> Pipeline:
        if self.threads:
            torch.set_num_threads(self.threads)
        pipeline = Pipeline.load(self.model, device=self.device)
        loras = [Lora(path, strength) for path, strength in self.loras]
        return pipeline.with_loras(loras) if loras else pipeline


def make(
    pipeline: Pipeline, job: dict[str, Any], pictures: Sequence[bytes]
) -> tuple[dict[str, Any], list[bytes]]:
    """All turns of an edit.

    Args: job: instructions, settings for `Pipeline.edit`, and names of the pictures. pictures: the bytes of their files.
    Returns: {"sizes": [[width, height], ...]} and a PNG of each turn; or {"error": sentence} and none.
    """
    try:
        shown = [from_bytes(data, name) for data, name in zip(pictures, job["names"], strict=True)]
        current: list[Tensor | Edit] = [*shown[:1]]
        made: list[bytes] = []
        sizes: list[list[int]] = []
        for instruction in job["instructions"]:
            edit = pipeline.edit(instruction, [*current, *shown[1:]], **job["settings"])
            current = [edit]
            picture, file = to_pil(edit.image), BytesIO()
            write_png(picture, file)
            made.append(file.getvalue())
            sizes.append([picture.width, picture.height])
        return {"sizes": sizes}, made
    except FAULTS as error:
        return {"error": " ".join(str(error).split())}, []
