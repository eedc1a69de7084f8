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

from .edits import read_edits
from .run import Batch, Start
from .store import RESULTS, Store
from .work import Model


def run_batch(options: argparse.Namespace, say: Callable[[str], None]) -> None:
    """Make what is missing of a batch.

    Raises: ValueError in one sentence if a line or an edit failed, after all others have been made, or nothing can be.
    """
    path = options.edits.expanduser()
    pictures = (options.pictures or path.parent).expanduser()
    edits, faults = read_edits(path, pictures, {"steps": options.steps})
    for fault in faults:
        say(fault)
    loras = tuple((str(file.expanduser().absolute()), strength) for file, strength in options.lora)
    name = options.model if options.model == "tiny" else str(Path(options.model).expanduser().absolute())
    with ExitStack() as stack:
        store = stack.enter_context(Store.opened(options.output.expanduser()))
        if edits:
            starts = _starts(options, Model(name, options.device, loras), stack)
            model = hashlib.sha256(json.dumps([name, loras]).encode()).hexdigest()
            batch = Batch(edits, store, starts, model=model, attempts=options.attempts, report=say)
            batch.run()
            say(
                f"{batch.made} made, {batch.kept} there already, {batch.failed} failed: {store.folder / RESULTS}"
            )
            failed = batch.failed
        else:
            failed = 0
    if faults or failed:
        raise ValueError(
            f"{len(edits) - failed} of {len(edits) + len(faults)} edits are done; {failed} failed and "
            f"{len(faults)} lines cannot be used: mend them and run this again, it makes what is missing"
        )


def _starts(options: argparse.Namespace, model: Model, stack: ExitStack) -> list[Start]:
    """What starts each worker, one on each GPU where there are several."""
    import torch

    from .processes import ProcessWorker
    from .ray_workers import RayWorker, started_ray

    kind = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    gpus = torch.cuda.device_count() if kind == "cuda" else 0
    workers = options.workers or max(gpus, 1)
    if not gpus:
        model = replace(model, threads=max((os.cpu_count() or 1) // workers, 1))
    if options.engine == "ray" or options.ray_address is not None:
        module = stack.enter_context(started_ray(workers, gpus, options.ray_address))
        return [partial(RayWorker, module, model, int(kind == "cuda"))] * workers
    devices = [f"cuda:{number % gpus}" if gpus else options.device for number in range(workers)]
    return [partial(ProcessWorker, replace(model, device=one), heard=options.verbose) for one in devices]
