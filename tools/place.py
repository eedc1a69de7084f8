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
    """Make `destination`, which must not exist, show the folder `source`; returns "linked" or "copied"."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        destination.symlink_to(source, target_is_directory=True)
    except (OSError, NotImplementedError):
        shutil.copytree(source, destination, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        (destination / COPY_MARK).write_text(f"{source}\n")
        return "copied"
    return "linked"
