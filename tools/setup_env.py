"""`python3 -m tools.setup_env`: the virtual environment, ComfyUI and, for tests, Chromium, biome and tsc.

Standard library only. Every step looks first at what is there, so a second run takes no time and an
interrupted one continues.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from . import (
    chromium,
    comfyui,
    host_packages,
    moved_venv,
    torch_build,
    transformers5,
    triton_interpreter,
    web_checks,
)
from .console import DiskFull, ToolError, run, say
from .packages import explain, pip
from .paths import ROOT, VENV, alone_in, venv_python

OLDEST, NEWEST = (3, 11), (3, 13)
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt", "tools/requirements-comfyui.txt")
CONSTRAINTS = "constraints.txt"
_PIP_BYTES = 2**26  # of a virtual environment with nothing but pip, and as much again


def check_version(version: tuple[int, int], what: str) -> None:
    """Refuse a Python that the pack is not tested on."""
    if OLDEST <= version <= NEWEST:
        return
    raise ToolError(
        f"Python 3.11, 3.12 or 3.13 is needed, and {what} is {version[0]}.{version[1]}: name another, "
        f"as in 'make test PYTHON=python3.12'{'' if what == 'this one' else ', after deleting that folder'}."
    )


def ensure_venv(venv: Path) -> str:
    """Make the virtual environment, or mend a half-made one or one that was moved; says which.

    Raises: ToolError if this user may not, or another's Python is in it.
    """
    python = venv_python(venv)
    version = _venv_version(python)
    if version is not None:
        check_version(version, f"the one in {venv}")
        moved = moved_venv.mend(venv)
        if _has_pip(python):
            return "repaired: it was moved here" if moved else "there already"
        _call(
            [str(python), "-m", "ensurepip", "--upgrade"], f"pip in {venv} (delete that folder if this stays)"
        )
        if _has_pip(python):  # where only half of it is there, ensurepip takes it for whole
            return "repaired: it lacked pip"
    return _make_venv(venv)


def fingerprint(root: Path = ROOT) -> str:
    """Changes when what is to be installed changes."""
    digest = hashlib.sha256(f"torch {torch_build.TESTED}\n".encode())
    for name in (*REQUIREMENTS, CONSTRAINTS):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def stamp_text(venv: Path, root: Path = ROOT) -> str:
    """Say for the stamp what was installed, and where, for scripts know their place."""
    return f"{fingerprint(root)}\n{venv.resolve()}\n"


def is_current(venv: Path, root: Path = ROOT) -> bool:
    """Whether everything was installed here, to the end, from the present requirements."""
    stamp = _stamp(venv)
    return (
        stamp.is_file() and venv_python(venv).exists() and stamp.read_text("utf-8") == stamp_text(venv, root)
    )


def install_torch(venv: Path) -> str:
    """Install a fitting torch where there is none; a present one stays as it is."""
    python = venv_python(venv)
    present = _torch_version(python)
    if present is not None and not any(spec.startswith("torch==") for spec in _damaged(python)):
        return f"{present}, there already"
    build = torch_build.choose(python)
    mend = ["--ignore-installed", "--no-deps"] if present is not None else []
    pip(python, ["install", *build.arguments, *mend], what="PyTorch", log=_log(venv))
    return f"{_torch_version(python)} ({build.reason})"


def install_packages(venv: Path) -> str:
    """Install everything else under the constraints, mend what an interrupted run left, set the stamp."""
    python, log = venv_python(venv), _log(venv)
    options = [option for name in REQUIREMENTS for option in ("-r", str(ROOT / name))]
    pip(python, ["install", *options, *_limits(venv)], what="the packages", log=log)
    damaged = _damaged(python)
    if damaged:
        say(f"      installing again what lacks files: {', '.join(damaged)}")
        pip(python, ["install", "--ignore-installed", "--no-deps", *damaged], what="the packages", log=log)
        damaged = _damaged(python)
    if damaged:
        raise ToolError(f"{', '.join(damaged)} in {venv} lack files: delete that folder and run this again.")
    here = [
        "install",
        "--no-deps",
        "--no-build-isolation",
        "--editable",
        str(ROOT),
    ]  # so that it needs no network
    pip(python, here, what="the kontext command", log=log)
    _stamp(venv).write_text(stamp_text(venv), encoding="utf-8")
    return "installed"


def install_host_packages(venv: Path) -> str:
    """Install what the ComfyUI that COMFYUI_PATH names asks for; says what that was."""
    python = venv_python(venv)
    return host_packages.install(python, comfyui.get(python).folder, _limits(venv), _log(venv))


def set_up(venv: Path = VENV, *, with_chromium: bool) -> None:
    """All steps, each with one line to say what became of it."""
    ready = is_current(venv)
    steps: list[tuple[str, Callable[[], str]]] = [
        ("Python environment", lambda: "there already" if ready else ensure_venv(venv)),
        ("PyTorch", lambda: "there already" if ready else install_torch(venv)),
        ("Packages", lambda: "there already" if ready else install_packages(venv)),
        ("ComfyUI", lambda: comfyui.get(venv_python(venv)).source),
    ]
    if comfyui.named():
        steps.append(("Packages of that ComfyUI", lambda: install_host_packages(venv)))
    if with_chromium:
        steps.append(("Chromium", lambda: str(chromium.ensure())))
        steps.append(("Checks of web/js", lambda: web_checks.install(venv)))
        steps.append(("transformers 5", lambda: transformers5.install(venv)))
        steps.append(("Triton", lambda: triton_interpreter.install(venv)))
    for number, (name, step) in enumerate(steps, 1):
        if not ready:
            say(f"[{number}/{len(steps)}] {name} ...")
        say(f"[{number}/{len(steps)}] {name}: {step()}")


def main() -> None:
    """The command line."""
    check_version((sys.version_info[0], sys.version_info[1]), "this one")
    parser = argparse.ArgumentParser(prog="python3 -m tools.setup_env", description=__doc__)
    parser.add_argument(
        "--chromium",
        action="store_true",
        help="for tests: a Chromium too, what checks web/js, transformers 5 and Triton",
    )
    options = parser.parse_args()
    with alone_in(ROOT):
        set_up(with_chromium=options.chromium)


def _limits(venv: Path) -> list[str]:
    """pip's options that keep torch as it is, and other packages at the versions that were tested."""
    torch_stays = venv / "torch-constraint.txt"
    torch_stays.write_text(f"torch=={_torch_version(venv_python(venv))}\n")
    return ["-c", str(ROOT / CONSTRAINTS), "-c", str(torch_stays)]


def _stamp(venv: Path) -> Path:
    return venv / "kontext-setup.sha256"


def _log(venv: Path) -> Path:
    return venv / "kontext-setup.log"


def _make_venv(venv: Path) -> str:
    if venv.is_symlink():
        raise ToolError(
            f"{venv} is a link, and what it leads to is not a Python environment: remove it, or repair what "
            "it leads to."
        )
    if venv.parent.exists() and not os.access(venv.parent, os.W_OK | os.X_OK):
        raise ToolError(
            f"Nothing can be written into {venv.parent}: it, or its disk, is read-only or belongs to another "
            "user. Run this in a copy of that folder that is yours."
        )
    half_made = venv.exists()
    if half_made and not venv.is_dir():
        raise ToolError(f"{venv} is not a folder. Move it away: the Python environment is created there.")
    if half_made:
        shutil.rmtree(venv)
    try:
        _call([sys.executable, "-m", "venv", str(venv)], f"a virtual environment in {venv}")
    except ToolError as error:  # Python does not say why pip is not in it
        if shutil.disk_usage(venv.parent).free < _PIP_BYTES:
            raise DiskFull(f"{venv}") from error
        raise
    return "incomplete, so created again" if half_made else "made"


def _has_pip(python: Path) -> bool:
    command = [str(python), "-m", "pip", "--version"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _call(command: list[str], what: str) -> None:
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode == 0:
        return
    if "ensurepip is not" in result.stdout:
        raise ToolError(
            "This Python cannot make virtual environments: on Debian and Ubuntu 'apt-get install python3-venv' "
            "adds what it lacks; then run the same command again."
        )
    last = (result.stdout.strip().splitlines() or ["it gave no reason"])[-1]
    raise explain(f"{result.stdout}\nerror: {last.removeprefix('Error: ').rstrip('.')}", what, by="venv")


def _venv_version(python: Path) -> tuple[int, int] | None:
    """The version of an environment's Python; None where it does not run.

    Raises: ToolError where it may not be run by this user, who may not delete it either.
    """
    try:
        result = subprocess.run(
            [str(python), "-c", "import sys; print(*sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=True,
        )
        major, minor = result.stdout.split()
        return int(major), int(minor)
    except PermissionError as error:
        if os.access(python.parent.parent, os.W_OK | os.X_OK):
            return None  # it is ours, and only half made
        raise ToolError(
            f"{python} cannot be accessed by this user ({error.strerror}): run this as the owner of that "
            "folder, or delete it."
        ) from error
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None


def _torch_version(python: Path) -> str | None:
    code = "from importlib.metadata import version; print(version('torch'))"
    result = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else None


def _damaged(python: Path) -> list[str]:
    command = [str(python), "-m", "tools.damaged"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise ToolError(
            f"What is installed for {python} cannot be looked through ({last}): delete its folder and run "
            "this again."
        )
    return result.stdout.split()


if __name__ == "__main__":
    run(main)
