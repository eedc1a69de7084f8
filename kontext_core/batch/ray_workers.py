"""Workers as actors of Ray, one for each GPU: on this machine, or on those of a cluster that is named.

Ray carries bytes and JSON-like values between processes of one user by its own means, pickle among them;
nothing of a file is ever unpickled. Ray listens on all interfaces of the machine, whatever it is told, so it
is never started unless it is asked for; it reports nothing to anybody, and ends with the batch.
Source: Ray's documentation, "Actors" and "Fault tolerance".
"""

import importlib.util
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from ..checks.sentences import one_line
from .work import WorkerDiedError, WorkerModel, failure, make

_SAID_LETTERS = 400
_STORE_BYTES = 256 * 2**20  # what passes between processes is pictures in PNG


class Actor:
    """What runs in Ray's process."""

    def __init__(self, model: dict[str, Any]) -> None:
        self.fault = ""
        try:
            self.pipeline = WorkerModel.from_json(model).load()
        except Exception as error:
            self.fault = failure(error)

    def ready(self) -> str:
        """Why the model could not be loaded; empty where it was."""
        return self.fault

    def process_id(self) -> int:
        return os.getpid()

    def edit(self, job: dict[str, Any], pictures: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        return make(self.pipeline, job, pictures)


class RayWorker:
    """One actor.

    Args:
        ray: the module.
        model: what it loads.
        gpus: how many an actor has for itself, 0 or 1.
    Raises: WorkerDiedError, with what Ray says of it.
    """

    def __init__(self, ray: Any, model: WorkerModel, gpus: int) -> None:
        self._ray = ray
        kind = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0)(Actor)
        self.actor = kind.remote(model.to_json())

    def load(self) -> None:
        fault = self.ask("ready")
        if fault:
            self.close()
            raise ValueError(fault)

    def edit(self, job: dict[str, Any], pictures: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        return self.ask("edit", job, list(pictures))

    def ask(self, method: str, *arguments: Any) -> Any:
        try:
            return self._ray.get(getattr(self.actor, method).remote(*arguments))
        except self._ray.exceptions.RayError as error:
            self.close()
            reason = one_line(str(error))[:_SAID_LETTERS]
            raise WorkerDiedError(f"a Ray worker was stopped ({reason})") from error

    def close(self) -> None:
        self._ray.kill(self.actor)


def has_ray() -> bool:
    """Whether it is installed."""
    return importlib.util.find_spec("ray") is not None


@contextmanager
def started_ray(workers: int, gpus: int, address: str | None = None) -> Generator[Any]:
    """The module, connected.

    Args:
        gpus: of this machine.
        address: of a cluster that runs; None starts one here.

    Raises: ValueError if Ray is not installed or not there.
    """
    if not has_ray():
        raise ValueError("Ray is not installed; install it with 'pip install ray', or use --engine processes")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = import_module("ray")
    here: dict[str, Any] = {
        "address": "local",
        "num_cpus": workers,
        "num_gpus": gpus,
        "include_dashboard": False,
        "object_store_memory": _STORE_BYTES,
    }
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        ray.init(
            **(here if address is None else {"address": address}),
            runtime_env={"env_vars": {"PYTHONPATH": paths}} if address is None else None,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except Exception as error:  # Ray has no narrower one
        raise ValueError(
            f"Ray does not answer at {address or 'this machine'} ({' '.join(str(error).split())}); use "
            "--engine processes"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()
