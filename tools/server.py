"""A ComfyUI process with this pack in it: started, waited for, and ended with whoever started it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Self

from . import comfyui, frontend, host_packages
from .console import ToolError
from .paths import ROOT
from .place import PACK, link_or_copy
from .torch_build import nvidia_gpu

HOST = "127.0.0.1"
BOOT = Path(__file__).parent / "boot"
logger = logging.getLogger(__name__)
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Server:
    """A running ComfyUI, as a context manager.

    Args:
        base: the folder for its models, input, output and user files; None: a temporary one, removed after.
        packs: the custom nodes to load, by folder name.
        port: None: a free one.
        front_end: static folder of another front end than the one that this ComfyUI was released with.
        options: further words of its command line.
        timeout: seconds until it must answer.
    Raises: ToolError if the port is taken, or ComfyUI does not come up (with the end of its log).
    """

    def __init__(
        self,
        *,
        base: Path | None = None,
        packs: Mapping[str, Path] | None = None,
        port: int | None = None,
        front_end: Path | None = None,
        options: Sequence[str] = (),
        timeout: float = 600,
    ) -> None:
        self.port = port
        self.source = ""
        self._packs = {PACK: ROOT} if packs is None else dict(packs)
        self._front_end = front_end
        self._options = tuple(options)
        self._folder: Path | None = None
        self._timeout = timeout
        self._temporary = base is None
        temporary = Path(tempfile.gettempdir()) / f"kontext-comfyui-{uuid.uuid4().hex[:12]}"
        self.base = temporary if base is None else base.resolve()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    @property
    def log(self) -> str:
        """All that it has said so far."""
        path = self.base / "server.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The number of the process; None where it does not live."""
        return self._process.pid if self._process is not None and self.running else None

    def start(self) -> Self:
        """Start it and return once it answers."""
        try:
            self.port = free_port() if self.port is None else check_port(self.port)
            self._place_packs()
            self._folder, self.source = comfyui.get()
            self._spawn(self._folder)
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End it, by force if it takes more than ten seconds, and remove the temporary base folder."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
        if self._temporary:
            shutil.rmtree(self.base, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _place_packs(self) -> None:
        for folder in ("custom_nodes", "input"):
            (self.base / folder).mkdir(parents=True, exist_ok=True)
        for name, source in self._packs.items():
            place = self.base / "custom_nodes" / name
            if place.is_symlink():
                place.unlink()
            elif place.exists():
                shutil.rmtree(place)
            link_or_copy(place, source)

    def _spawn(self, folder: Path) -> None:
        command = [
            sys.executable,
            "main.py",
            "--listen",
            HOST,
            "--port",
            str(self.port),
            "--disable-api-nodes",
            "--cache-classic",  # ComfyUI's of August 2026 drops finished turns as memory runs short
        ]
        command += ["--base-directory", str(self.base), "--database-url", "sqlite:///:memory:"]
        command += ["--disable-all-custom-nodes", "--whitelist-custom-nodes", *self._packs]
        if not _has_cuda():
            command.append("--cpu")
        front_end = self._front_end or released_front_end(folder)
        if front_end is not None:
            command += ["--front-end-root", str(front_end)]
        command += self._options
        environment = {
            **os.environ,
            "PYTHONPATH": str(BOOT),
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8",
            "HF_HUB_OFFLINE": "1",
            "KONTEXT_END_WITH_STDIN": "1",
        }
        with (self.base / "server.log").open("wb") as log:
            log.write(f"ComfyUI: {self.source}\n".encode())
            log.flush()
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait(self) -> None:
        end = time.monotonic() + self._timeout
        while time.monotonic() < end:
            if self._process is None or self._process.poll() is not None:
                code = self._process.returncode if self._process else None
                advice = "" if self._folder is None else host_packages.advice(self._folder)
                message = " ".join(
                    filter(None, (f"ComfyUI ended with code {code} before it answered.", advice))
                )
                raise ToolError(f"{message}\n{self._tail()}")
            if answers(self.url):
                return
            time.sleep(0.2)
        raise ToolError(f"ComfyUI did not answer within {self._timeout:.0f} seconds.\n{self._tail()}")

    def _tail(self, lines: int = 30) -> str:
        return "The end of its log:\n" + "\n".join(self.log.splitlines()[-lines:])


def released_front_end(folder: Path) -> Path | None:
    """The static folder of the front end that a ComfyUI was released with; None for the installed one."""
    version = host_packages.front_end_version(folder)
    if version is None or version == frontend.installed_version():
        return None
    try:
        return frontend.get(version)
    except ToolError as reason:
        logger.warning("Front end %s is not used, but the installed one: %s", version, reason)
        return None


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def check_port(port: int) -> int:
    """Raises: ToolError if the port cannot be had."""
    if not 0 < port < 65536:
        raise ToolError(f"Port {port} does not exist: choose one from 1024 to 65535.")
    with socket.socket() as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError as error:
            raise ToolError(f"Port {port} is reserved: choose one from 1024 to 65535.") from error
        except OSError as error:
            raise ToolError(
                f"Port {port} is taken: stop what listens there, or choose another, as in 'make ui PORT={port + 1}'."
            ) from error
    return port


def answers(url: str) -> bool:
    """Whether a ComfyUI is ready at this address."""
    try:
        with _DIRECT.open(f"{url}/system_stats", timeout=5) as response:
            return "system" in json.load(response)
    except (OSError, urllib.error.URLError, ValueError):
        return False


def _has_cuda() -> bool:
    return not version("torch").endswith("+cpu") and nvidia_gpu()
