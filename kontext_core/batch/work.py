"""What a worker of a batch does, wherever it runs: load the model once, then turn bytes into bytes."""

import gc
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor

from ..checks.sentences import EXPECTED, one_line, sentence
from ..edit_settings import EditSettings
from ..errors import TooLittleMemoryError, explain_oom
from ..images.masks import picture_mask
from ..images.original import Original, write_edit
from ..images.picture_files import from_bytes
from ..memory.offload_plan import GIB
from ..model_spec import AUTO, ModelSpec
from ..pipeline import Edit, Pipeline

log = logging.getLogger(__name__)


class WorkerDiedError(RuntimeError):
    """The end of a process that made an edit, which another may make; why, as far as that is known."""


class BrokenDeviceError(RuntimeError):
    """A device that computes nothing more for this process, which is to end."""


@dataclass(frozen=True)
class WorkerModel:
    """What a worker loads, and what it may take of its machine.

    Args:
        spec: of the model.
        threads: of the CPU; 0 as PyTorch likes.
        sharers: processes that share the device, each of which may take its part.
    """

    spec: ModelSpec
    threads: int = 0
    sharers: int = 1

    def to_json(self) -> dict[str, Any]:
        return {"spec": self.spec.to_json(), "threads": self.threads, "sharers": self.sharers}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        return cls(ModelSpec.from_json(values["spec"]), values["threads"], values["sharers"])

    def load(self) -> Pipeline:
        """Load the model, with its LoRAs. Raises: as `Pipeline.from_spec`."""
        if self.threads:
            torch.set_num_threads(self.threads)
        return Pipeline.from_spec(replace(self.spec, memory_gib=self._memory_gib()))

    def _memory_gib(self) -> float | Literal["least", "auto"] | None:
        device = torch.device(self.spec.device or "cpu")
        if self.sharers == 1 or self.spec.memory_gib != AUTO or device.type != "cuda":
            return self.spec.memory_gib  # the device may be none, which loading says
        free, total = torch.cuda.mem_get_info(device)
        return min(free, total // self.sharers) / GIB


class Worker(Protocol):
    """One device at work. Raises: WorkerDiedError from any of its methods but `close`."""

    def load(self) -> None:
        """Load the model. Raises: ValueError in one sentence if it cannot be loaded."""
        ...

    def edit(self, job: dict[str, Any], pictures: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        """See `make`."""
        ...

    def close(self) -> None:
        """End it, also while it loads and in the middle of an edit."""
        ...


def make(
    pipeline: Pipeline, job: dict[str, Any], pictures: Sequence[bytes]
) -> tuple[dict[str, Any], list[bytes]]:
    """Make all turns of an edit.

    Args:
        job: instructions, settings by the names of `EditSettings`, names of the pictures, and whether the
            last of them is a mask.
        pictures: the bytes of their files.
    Returns: {"sizes": [[width, height], ...]} and a PNG of each turn; {"error":
    sentence} of whatever went wrong.
    Raises: BrokenDeviceError if no other edit can be made here either.
    """
    try:
        with explain_oom("this edit", "make a smaller picture, or use fewer references or workers"):
            return _turns(pipeline, job, pictures)
    except Exception as error:
        fault, was_memory = failure(error), isinstance(error, TooLittleMemoryError)
    if was_memory:  # now that the error, and what it held, is gone
        gc.collect()
        if pipeline.home.type == "cuda":
            torch.cuda.empty_cache()
    _check_device(pipeline.home, fault)
    return {"error": fault}, []


def failure(error: Exception) -> str:
    """Say what is wrong in one line; where it is no fault of the input's, the log has the whole."""
    if not isinstance(error, EXPECTED):
        log.error("%s", sentence(error), exc_info=error)
    return one_line(sentence(error))


def _turns(
    pipeline: Pipeline, job: dict[str, Any], pictures: Sequence[bytes]
) -> tuple[dict[str, Any], list[bytes]]:
    settings = EditSettings.from_json(job["settings"])
    named = list(zip(pictures, job["names"], strict=True))
    original = Original.from_bytes(*named[0]) if settings.size == "original" else None
    shown = [] if original is None else [original.shown]
    shown += [from_bytes(data, name) for data, name in named[len(shown) :]]
    mask = picture_mask(shown.pop()) if job.get("masked") else None
    current: list[Tensor | Edit] = [*shown[:1]]
    files: list[bytes] = []
    sizes: list[list[int]] = []
    for instruction in job["instructions"]:
        edit = pipeline.edit(instruction, [*current, *shown[1:]], settings=settings, mask=mask)
        current = [edit]
        file = BytesIO()
        write_edit(edit.image, file, original)
        files.append(file.getvalue())
        sizes.append([edit.image.shape[2], edit.image.shape[1]])
    return {"sizes": sizes}, files


def _check_device(device: torch.device, fault: str) -> None:
    """Try the device: an error of a card is met again by all that comes after it in the process.

    Raises: BrokenDeviceError.
    """
    try:
        torch.ones(1, device=device).sum().item()
    except RuntimeError as error:
        raise BrokenDeviceError(f"{device} cannot compute any more after this: {fault}") from error
