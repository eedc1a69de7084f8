"""Where things lie: the checkout, its virtual environment, the cache outside of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
TRANSLATIONS = ROOT / "tools" / "locales"


def venv_python(venv: Path = VENV) -> Path:
    """The interpreter of a virtual environment, on this system."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def cache_folder() -> Path:
    """Where ComfyUI and front ends are kept: KONTEXT_CACHE, or the user's cache folder."""
    chosen = os.environ.get("KONTEXT_CACHE")
    if chosen:
        return Path(chosen).expanduser().resolve()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "kontext-nodes"
