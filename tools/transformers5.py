"""The other major version of transformers that the pack supports, beside the environment's, for tests."""

from __future__ import annotations

from pathlib import Path

from .packages import install_into
from .paths import ROOT, VENV, venv_python

REQUIREMENTS = ROOT / "tools" / "requirements-transformers5.txt"


def folder(venv: Path = VENV) -> Path:
    """What goes on PYTHONPATH."""
    return venv / "transformers-5"


def install(venv: Path = VENV) -> str:
    """Install it where it is not there yet to the end; says which."""
    log = venv / "kontext-setup.log"
    return install_into(folder(venv), REQUIREMENTS, python=venv_python(venv), what="transformers 5", log=log)
