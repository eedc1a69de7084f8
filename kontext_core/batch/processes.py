"""Workers as processes on this machine: JSON and bytes of pictures through pipes, no port and no pickle.

`python -m kontext_core.batch.processes` is the other end.
"""

import faulthandler
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..checks.sentences import one_line
from .work import WorkerDiedError, WorkerModel, failure, make

_KEPT_BYTES = 8192  # of what a worker said last
_SAID_LINES, _SAID_LETTERS = 3, 400
_PATIENCE_S = 5.0  # for the last words of a process that has ended


class ProcessWorker:
    """One process.

    Args:
        model: what it loads.
        heard: whether what it says goes to stderr.
    Raises: WorkerDiedError, with the last that it said.
    """

    def __init__(self, model: WorkerModel, *, heard: bool = False) -> None:
        root = str(Path(__file__).parents[2])
        paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._model = model
        self.process = subprocess.Popen(
            [sys.executable, "-m", str(__spec__.name if __spec__ else __name__)],
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # an interrupt is for the process that started it, which then ends it
        )
        self._words = _Words(cast("BinaryIO", self.process.stderr), heard=heard)
        self._words.start()

    def load(self) -> None:
        answer, _ = self._ask(self._model.to_json(), [])
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
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_PATIENCE_S)
            code = self.process.returncode
            self.close()
            self._words.join(_PATIENCE_S)  # they end with the process
            raise WorkerDiedError(_death(code, self._words.last())) from error


class _Words(threading.Thread):
    """A reader of what a process says, so that it never waits for one; it keeps the last of it."""

    def __init__(self, pipe: BinaryIO, *, heard: bool) -> None:
        super().__init__(daemon=True)
        self._pipe, self._heard, self._kept = pipe, heard, b""

    def run(self) -> None:
        with self._pipe:
            while data := os.read(self._pipe.fileno(), 65536):
                self._kept = (self._kept + data)[-_KEPT_BYTES:]
                if self._heard:
                    with suppress(OSError):  # nobody reads it any more: the process is not to wait for that
                        os.write(2, data)

    def last(self) -> str:
        """Give the last lines, as one."""
        lines = [line for line in self._kept.decode(errors="replace").splitlines() if line.strip()]
        return one_line(" / ".join(lines[-_SAID_LINES:]))[-_SAID_LETTERS:]


def _death(code: int | None, words: str) -> str:
    """Say how a process ended.

    Args:
        code: None if it ended only when it was told to.
    """
    if code is None:
        how = "did not answer as it should and was stopped"
    elif code == -getattr(signal, "SIGKILL", 9):
        how = "was killed, as the system does when memory runs out"
    elif code < 0:
        how = f"was ended by signal {-code}"
    else:
        how = f"ended with exit code {code}"
    return f"a worker {how}" + (f"; its last output: {words}" if words else "")


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
    message, _ = receive(source)
    try:
        pipeline = WorkerModel.from_json(message).load()
    except Exception as error:
        send(sink, {"error": failure(error)}, [])
        return
    send(sink, {}, [])
    while True:
        try:
            job, pictures = receive(source)
        except EOFError:
            return
        send(sink, *make(pipeline, job, pictures))


if __name__ == "__main__":
    faulthandler.enable()  # a crash says where
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else writes to stdout
    serve(sys.stdin.buffer, answers)
