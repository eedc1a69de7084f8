"""`make install COMFYUI=/path`: puts this pack into an existing ComfyUI. Standard library only."""

from __future__ import annotations

import argparse
from pathlib import Path

from .comfyui import is_comfyui
from .console import FORBIDDEN, DiskFull, ToolError, explain_oserror, run, say
from .paths import ROOT, expand
from .place import COPY_MARK, PACK, aside, link_or_copy, remove


def install(comfyui: Path, source: Path = ROOT) -> str:
    """Link or copy the pack into `custom_nodes`; says what became of it.

    Raises: ToolError if `comfyui` is none, is somebody else's, or something else stands at the pack's place.
    """
    try:
        return _install(comfyui, source)
    except OSError as error:
        reason = explain_oserror(error)
        if isinstance(reason, DiskFull):
            raise reason from error
        todo = (
            "run this as the owner of that ComfyUI, or give the folder of one that you own."
            if error.errno is None or error.errno in FORBIDDEN
            else "check that it is a folder, and what is in the way there."
        )
        raise ToolError(
            f"The pack could not be put into {comfyui / 'custom_nodes'} ({error.strerror or reason}): {todo}"
        ) from error


def _install(comfyui: Path, source: Path) -> str:
    if not is_comfyui(comfyui):
        inner = comfyui / "ComfyUI"
        hint = f"did you mean {inner}?" if is_comfyui(inner) else "give the folder that holds main.py."
        raise ToolError(f"There is no ComfyUI in {comfyui}: {hint}")
    place = comfyui / "custom_nodes" / PACK
    replaced = aside(place, "replaced")
    if _leads_to(place, source):
        return f"{place} is already this pack."
    if (replaced / COPY_MARK).is_file() and not place.exists():
        replaced.rename(place)  # a run was killed when it was about to put another there
    if (place / COPY_MARK).is_file() and not place.is_symlink():
        remove(replaced)
        place.rename(replaced)
        try:
            how = link_or_copy(place, source)
        except BaseException:
            replaced.rename(place)
            raise
        remove(replaced)
        return f"{place} was {how} again."
    if place.exists() or place.is_symlink():
        raise ToolError(f"{place} already exists and is not this checkout: move it away and run this again.")
    return f"{place} was {link_or_copy(place, source)}."


def _leads_to(place: Path, source: Path) -> bool:
    try:
        return place.resolve() == source.resolve()
    except RuntimeError:  # a ring of links, to Python before 3.13
        return False


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make install COMFYUI=/path/to/ComfyUI", description=__doc__)
    parser.add_argument("comfyui", nargs="?", default="", help="the folder of ComfyUI, with main.py in it")
    chosen = parser.parse_args().comfyui
    if not chosen:
        raise ToolError("Which ComfyUI? For example: make install COMFYUI=/path/to/ComfyUI")
    say(install(expand(chosen).absolute()))
    say(
        f"With ComfyUI's own Python: python -m pip install -r {ROOT / 'requirements.txt'}; then restart ComfyUI."
    )


if __name__ == "__main__":
    run(main)
