"""What a ComfyUI asks for in its requirements.txt, and what of it is missing here.

`python -m tools.host_packages FOLDER`.

The list of `requirements-comfyui.txt` is that of one version; one that COMFYUI_PATH names may ask for more.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .console import DiskFull, ToolError, say
from .packages import pip
from .paths import ROOT

# Never installed: torch and what has to fit its build (spandrel asks for torchvision); the page, which
# `frontend` gets; and templates and help pages of some hundred MB, which nothing here needs.
LEFT_OUT = (
    "torch",
    "torchvision",
    "torchaudio",
    "spandrel",
    "comfyui-frontend-package",
    "comfyui-workflow-templates",
    "comfyui-embedded-docs",
)
_FRONT_END = re.compile(r"^comfyui-frontend-package==(\S+)", re.MULTILINE)


def front_end_version(folder: Path) -> str | None:
    """The front end that a ComfyUI was released with; None where it does not say."""
    match = _FRONT_END.search(_requirements(folder))
    return match[1] if match else None


def missing(folder: Path) -> list[str]:
    """Which requirements of a ComfyUI this interpreter's packages do not meet, but for `LEFT_OUT`."""
    return [line for line in _lines(_requirements(folder)) if not _is_met(line)]


def missing_in(python: Path, folder: Path) -> list[str]:
    """`missing` of another interpreter."""
    command = [str(python), "-m", "tools.host_packages", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return result.stdout.splitlines()


def install(python: Path, folder: Path, limits: list[str], log: Path) -> str:
    """Install what a ComfyUI asks for; says what that was.

    Args:
        python: whose packages.
        folder: the ComfyUI's.
        limits: options of pip that keep other packages, torch among them, as they are.
        log: the file for all that pip says.
    Raises: DiskFull. What cannot be had is only said: ComfyUI may do without it.
    """
    requirements = missing_in(python, folder)
    if not requirements:
        return "there already"
    names = ", ".join(requirements)
    try:
        pip(python, ["install", *requirements, *limits], what=names, log=log)
    except DiskFull:
        raise
    except ToolError as error:
        return f"it asks for {names}, and that is not installed. {error}"
    return f"installed {names}"


def advice(folder: Path) -> str:
    """What may help a ComfyUI that did not start, in a sentence; "" where nothing is missing."""
    requirements = missing(folder)
    if not requirements:
        return ""
    return (
        f"It asks for {', '.join(requirements)}, and that is not installed here: 'COMFYUI_PATH={folder} python3 -m "
        "tools.setup_env' does that."
    )


def _requirements(folder: Path) -> str:
    file = folder / "requirements.txt"
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _lines(text: str) -> Iterator[str]:
    """Requirements by themselves, without comments and pip's options."""
    for line in text.splitlines():
        plain = re.sub(r"(^|\s)#.*", "", line).strip()
        if plain and not plain.startswith("-"):
            yield plain


def _is_met(line: str) -> bool:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    try:
        requirement = Requirement(line)
    except InvalidRequirement:  # an address or a file, whose version is not known
        return True
    elsewhere = requirement.marker is not None and not requirement.marker.evaluate()
    if elsewhere or canonicalize_name(requirement.name) in LEFT_OUT:
        return True
    try:
        return requirement.specifier.contains(version(requirement.name), prereleases=True)
    except PackageNotFoundError:
        return False


if __name__ == "__main__":
    for requirement in missing(Path(sys.argv[1])):
        say(requirement)
