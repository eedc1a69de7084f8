"""Triton beside the environment, for tests: its interpreter runs on a CPU, its compiler needs no card.

Not in the environment itself, where torch for CUDA brings the one version that it works with.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from .packages import install_into
from .paths import ROOT, VENV, venv_python

REQUIREMENTS = ROOT / "tools" / "requirements-triton.txt"


def has_builds() -> bool:
    """Whether there are builds for this machine."""
    return sys.platform == "linux" and platform.machine() == "x86_64"


def folder(venv: Path = VENV) -> Path:
    """What goes on PYTHONPATH."""
    return venv / "triton"


def install(venv: Path = VENV) -> str:
    """Install it where it is not there yet to the end; says which."""
    if not has_builds():
        return "left out, there is none for this machine"
    log = venv / "kontext-setup.log"
    return install_into(folder(venv), REQUIREMENTS, python=venv_python(venv), what="Triton", log=log)
