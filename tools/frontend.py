"""Other versions of ComfyUI's web page than the installed one, unpacked into the cache."""

from __future__ import annotations

import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

from .packages import pip
from .paths import cache_folder, cache_workshop

PACKAGE = "comfyui-frontend-package"
OWN = "1.32.9"
NEWEST = "1.58.1"


def get(version: str) -> Path:
    """The static folder of a front end, fit for `Server(front_end=...)`.

    Raises: ToolError if it is neither installed, nor in the cache, nor to be had from pip.
    """
    installed = distribution(PACKAGE)
    if installed.version == version:
        return Path(str(installed.locate_file("comfyui_frontend_package/static")))
    folder = cache_folder() / f"frontend-{version}"
    if not folder.exists():
        _fetch(version, folder)
    return folder / "comfyui_frontend_package" / "static"


def _fetch(version: str, folder: Path) -> None:
    wanted = f"{PACKAGE}=={version}"
    with cache_workshop(folder.parent) as temporary:
        pip(sys.executable, ["download", "--no-deps", "--dest", str(temporary), wanted], what=wanted)
        made = temporary / "tree"
        with zipfile.ZipFile(next(temporary.glob("*.whl"))) as wheel:
            wheel.extractall(made)
        if not folder.exists():
            made.rename(folder)
