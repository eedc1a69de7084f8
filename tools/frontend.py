"""Other versions of ComfyUI's web page than the installed one, unpacked into the cache."""

from __future__ import annotations

import os
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from .packages import pip
from .paths import cache_folder, cache_workshop

PACKAGE = "comfyui-frontend-package"
OWN = "1.32.9"
NEWEST = "1.58.1"
# Those that ComfyUI 0.3.64, 0.3.75 and 0.33.0 were released with, and the newest.
MATRIX = ("1.27.10", OWN, "1.49.6", NEWEST)


def chosen() -> tuple[str, ...]:
    """The front ends of 'make test-matrix FRONT_ENDS="1.27.10 1.49.6"'; () where it names none."""
    return tuple(os.environ.get("FRONT_ENDS", "").split())


def installed_version() -> str | None:
    """The version of the installed front end, if there is one."""
    try:
        return distribution(PACKAGE).version
    except PackageNotFoundError:
        return None


def get(version: str) -> Path:
    """The static folder of a front end, fit for `Server(front_end=...)`.

    Raises: ToolError if it is neither installed, nor in the cache, nor to be had from pip.
    """
    if installed_version() == version:
        return Path(str(distribution(PACKAGE).locate_file("comfyui_frontend_package/static")))
    folder = cache_folder() / f"frontend-{version}"
    if not folder.exists():
        _fetch(version, folder)
    return folder / "comfyui_frontend_package" / "static"


def _fetch(version: str, folder: Path) -> None:
    requirement = f"{PACKAGE}=={version}"
    with cache_workshop(folder.parent) as temporary:
        pip(
            sys.executable, ["download", "--no-deps", "--dest", str(temporary), requirement], what=requirement
        )
        tree = temporary / "tree"
        with zipfile.ZipFile(next(temporary.glob("*.whl"))) as wheel:
            wheel.extractall(tree)
        if not folder.exists():
            tree.rename(folder)
