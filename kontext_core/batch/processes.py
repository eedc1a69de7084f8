"""Workers as plain processes on this machine: JSON and the bytes of pictures through their pipes, no port and no pickle.

`python -m kontext_core.batch.processes` is the other end.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, cast

from .work import FAULTS, Model, WorkerDiedError, make


class ProcessWorker:
    """Args: heard: whether what it says goes to stderr.

    Raises: ValueError in one sentence if the model cannot be loaded; WorkerDiedError.
    """

    def __init__(self, model: Model, *, heard: bool = False) -> None:
        root = str(Path(__file__).parents[2])
        paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", str(__spec__.name if __spec__ else __name__)],
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if heard else subprocess.DEVNULL,
            start_new_session=True,  # an interrupt is for the process that started it, which then ends it
        )
        answer, _ = self._ask(asdict(model), [])
        if "error" in answer:
            self.close()
            raise ValueError(answer["error"])

    def edit(self, job: dict[str, Any], pictures: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        return self._ask(job, pictures)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def _ask(self, message: dict[str, Any], blobs: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        try:
            send(cast("BinaryIO", self.process.stdin), message, blobs)
            return receive(cast("BinaryIO", self.process.stdout))
        except (OSError, EOFError, ValueError) as error:
            self.close()
            raise WorkerDiedError(f"a worker was ended (exit code {self.process.returncode})") from error


def send(pipe: BinaryIO, message: dict[str, Any], blobs: Sequence[bytes]) -> None:
    """A length of 8 bytes, JSON of that length, then the blobs whose lengths it tells."""
    text = json.dumps({"message": message, "blobs": [len(blob) for blob in blobs]}).encode()
    for part in (len(text).to_bytes(8, "big"), text, *blobs):
        pipe.write(part)
    pipe.flush()


def receive(pipe: BinaryIO) -> tuple[dict[str, Any], list[bytes]]:
    """Raises: EOFError if the other end is gone."""
    text = json.loads(_exactly(pipe, int.from_bytes(_exactly(pipe, 8), "big")))
    return text["message"], [_exactly(pipe, length) for length in text["blobs"]]


def _exactly(pipe: BinaryIO, length: int) -> bytes:
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError
    return data


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Load the model of the first message, then make edits until nobody asks any more."""
    given, _ = receive(source)
    try:
        pipeline = Model(**given).load()
    except FAULTS as error:
        send(sink, {"error": " ".join(str(error).split())}, [])
        return
    send(sink, {}, [])
    while True:
        try:
            job, pictures = receive(source)
        except EOFError:
            return
        send(sink, *make(pipeline, job, pictures))


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else writes to stdout
    serve(sys.stdin.buffer, answers)
