"""`kontext batch`: from its options to workers and a queue."""

import argparse
import hashlib
import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..model_spec import AUTO, INEXACT_ATTENTION, ModelSpec
from .digest import MEMORY, Digests, files_of_lora, files_of_model, last_change_ns
from .edits import read_edits
from .run import Batch, Start
from .store import RESULTS, EarlierModel, Store


def run_batch(options: argparse.Namespace, model: ModelSpec, say: Callable[[str], None]) -> None:
    """Make what is missing of a batch.

    Args:
        options: of the command.
        model: that makes it.
        say: takes a line for the user.
    Raises: ValueError in one sentence if a line or an edit failed, after all others have
    been made, or nothing can be.
    """
    pictures = options.pictures or options.edits.parent
    edits, faults = read_edits(options.edits, pictures, {"steps": options.steps})
    for fault in faults:
        say(fault)
    with ExitStack() as stack:
        store = stack.enter_context(Store.opened(options.output))
        failed = 0
        if edits:
            digest, earlier = _digest(model, store.folder, say)
            starts = _starts(options, model, stack)
            batch = Batch(
                edits, store, starts, model=digest, earlier=earlier, attempts=options.attempts, report=say
            )
            batch.run()
            say(
                f"{batch.made} made, {batch.kept} already there, {batch.failed} failed: "
                f"{store.folder / RESULTS}"
            )
            failed = batch.failed
    if faults or failed:
        raise ValueError(
            f"{len(edits) - failed} of {len(edits) + len(faults)} edits are done; {failed} failed and "
            f"{len(faults)} lines cannot be used: correct them and run this again to make what is missing"
        )


def _digest(model: ModelSpec, folder: Path, say: Callable[[str], None]) -> tuple[str, EarlierModel | None]:
    """Digest what pictures depend on beside their lines, also as earlier versions would, if they could."""
    files, loras = files_of_model(str(model.model)), [files_of_lora(Path(lora.path)) for lora in model.loras]
    digests = Digests(folder / MEMORY, say)
    parts = [
        digests.of(files),
        [(digests.of(files), lora.strength) for files, lora in zip(loras, model.loras, strict=True)],
        picture_options(model),
    ]
    digests.keep()
    earlier = None
    if not picture_options(model):
        changed_ns = last_change_ns([*files, *(file for files in loras for file in files)])
        earlier = EarlierModel(
            _hashed([model.model, [(str(lora.path), lora.strength) for lora in model.loras]]), changed_ns
        )
    return _hashed(parts), earlier


def picture_options(model: ModelSpec) -> dict[str, Any]:
    """List what changes pictures, but for model and LoRAs; nothing where all is as usual."""
    attention = None if model.compute is None else model.compute.attention
    memory = model.memory_gib if model.quantise == AUTO and model.memory_gib != AUTO else None
    values = {
        "weights": model.quantise,
        "memory": memory,
        "float8": model.float8,
        "attention": attention if attention in INEXACT_ATTENTION else None,
    }
    return {name: value for name, value in values.items() if value}


def _hashed(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _starts(options: argparse.Namespace, model: ModelSpec, stack: ExitStack) -> list[Start]:
    """List what starts each worker, one on each GPU where there are several."""
    import torch

    from .processes import ProcessWorker
    from .ray_workers import RayWorker, started_ray
    from .work import WorkerModel

    kind = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    gpus = torch.cuda.device_count() if kind == "cuda" else 0
    workers = options.workers or max(gpus, 1)
    threads = 0 if gpus else max((os.cpu_count() or 1) // workers, 1)
    if options.engine == "ray" or options.ray_address is not None:
        module = stack.enter_context(started_ray(workers, gpus, options.ray_address))
        return [partial(RayWorker, module, WorkerModel(model, threads), int(kind == "cuda"))] * workers
    sharers = -(-workers // (gpus or 1)) if kind.startswith("cuda") else 1
    devices = [f"cuda:{number % gpus}" if gpus else options.device for number in range(workers)]
    return [
        partial(
            ProcessWorker, WorkerModel(replace(model, device=device), threads, sharers), heard=options.verbose
        )
        for device in devices
    ]
