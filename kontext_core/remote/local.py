"""A ComfyUI on this machine, started for one run and ended with it."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .client import Client, RemoteError

_HOST = "127.0.0.1"
_PYTHONS = (
    ".venv/bin/python",
    "venv/bin/python",
    ".venv/Scripts/python.exe",
    "venv/Scripts/python.exe",
    "../python_embeded/python.exe",  # spelt so by the portable build for Windows
)
_LOG_LINES = 12


@contextmanager
def started(folder: Path, python: Path | None = None, timeout: float = 300) -> Generator[str]:
    """Start the ComfyUI in a folder, with all that is installed there, and end it afterwards.

    Args:
        python: the interpreter to start it with; None is the one of its own environment, else this one.
    Yields: its address.
    Raises: RemoteError if the folder holds none, or it does not come up, with the end of its log.
    """
    if not (folder / "main.py").is_file() or not (folder / "nodes.py").is_file():
        raise RemoteError(f"There is no ComfyUI in {folder}: give the folder that holds its main.py.")
    interpreter = python or own_python(folder)
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
    command = [str(interpreter), "main.py", "--listen", _HOST, "--port", str(port), "--disable-auto-launch"]
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(
                [*command, "--cpu"] if _needs_cpu_flag(interpreter) else command,
                cwd=folder,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl+C is ours to pass on
            )
        except OSError as error:
            raise RemoteError(
                f"{interpreter} cannot start the ComfyUI in {folder}: {error.strerror or error}."
            ) from error
        try:
            url = f"http://{_HOST}:{port}"
            _wait(process, url, log, folder, timeout)
            yield url
        finally:
            _end(process)


def own_python(folder: Path) -> Path:
    """The interpreter of a ComfyUI's own environment, else the one that runs this."""
    for name in _PYTHONS:
        if (folder / name).is_file():
            return (folder / name).absolute()
    return Path(sys.executable)


def _needs_cpu_flag(python: Path) -> bool:
    """Whether ComfyUI must be told that there is no GPU: it looks for one of NVIDIA's and fails."""
    if sys.platform == "darwin":
        return False
    code = "from importlib.metadata import version; print(version('torch'))"
    result = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    build = result.stdout.strip().partition("+")[2]
    return build == "cpu" or (not build.startswith(("rocm", "xpu")) and shutil.which("nvidia-smi") is None)


def _wait(process: subprocess.Popen[bytes], url: str, log: IO[bytes], folder: Path, timeout: float) -> None:
    end = time.monotonic() + timeout
    with Client(url) as client:
        while True:
            code = process.poll()
            if code is not None:
                raise RemoteError(
                    f"The ComfyUI in {folder} ended with code {code} before it answered.{_tail(log)}"
                )
            if client.answers():
                return
            if time.monotonic() > end:
                raise RemoteError(
                    f"The ComfyUI in {folder} did not answer within {timeout:.0f} seconds.{_tail(log)}"
                )
            time.sleep(0.2)


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").splitlines()[-_LOG_LINES:]
    return "\n".join([" The end of its log:", *lines]) if lines else " It printed nothing."


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()
