"""Putting the pack into a ComfyUI: a link where the system allows one, else a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

from .paths import ROOT

PACK = "kontext"
COPY_MARK = ".copied-by-make-install"
_NOT_COPIED = (
    ".git",
    ".venv",
    ".cache",
    "output",
    "runs",
    "node_modules",
    "build",
    "__pycache__",
    "*.egg-info",
    ".*_cache",
)


def link_or_copy(destination: Path, source: Path = ROOT) -> str:
    """Make `destination`, which must not exist, show the folder `source`; returns "linked" or "copied".

    A copy appears when it is whole. Raises: OSError if neither can be.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        destination.symlink_to(source, target_is_directory=True)
    except (OSError, NotImplementedError):
        partial = aside(destination, "copying")
        remove(partial)  # of a run that was killed
        try:
            shutil.copytree(source, partial, ignore=shutil.ignore_patterns(*_NOT_COPIED))
            (partial / COPY_MARK).write_text(f"{source}\n")
            partial.rename(destination)
        finally:
            remove(partial)
        return "copied"
    return "linked"


def aside(destination: Path, what: str) -> Path:
    """Name a place beside it that ComfyUI passes over."""
    return destination.with_name(f"{destination.name}.{what}.disabled")


def remove(folder: Path) -> None:
    """Remove a folder of ours, where it is there."""
    shutil.rmtree(folder, ignore_errors=True)
