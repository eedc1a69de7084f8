"""The other major version of transformers that the pack supports, beside the virtual environment's own, for tests."""

from __future__ import annotations

import shutil
from pathlib import Path

from .packages import pip
from .paths import ROOT, VENV, venv_python

REQUIREMENTS = ROOT / "tools" / "requirements-transformers5.txt"


def folder(venv: Path = VENV) -> Path:
    """What goes on PYTHONPATH."""
    return venv / "transformers-5"


def install(venv: Path = VENV) -> str:
    """Install it where it is not there yet to the end; says which."""
    target, wanted = folder(venv), REQUIREMENTS.read_text(encoding="utf-8")
    stamp = target / "installed.txt"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return "there already"
    shutil.rmtree(target, ignore_errors=True)
    arguments = ["install", "--no-deps", "--target", str(target), "-r", str(REQUIREMENTS)]
    pip(venv_python(venv), arguments, what="transformers 5", log=venv / "kontext-setup.log")
    stamp.write_text(wanted, encoding="utf-8")
    return "installed"
