"""`make install COMFYUI=/path`: puts this pack into an existing ComfyUI. Standard library only."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from .comfyui import is_comfyui
from .console import ToolError, run, say
from .paths import ROOT
from .place import COPY_MARK, PACK, link_or_copy


def install(comfyui: Path, source: Path = ROOT) -> str:
    """Link or copy the pack into `custom_nodes`; says what became of it.

    Raises: ToolError if `comfyui` is none, or something else stands at the pack's place.
    """
    if not is_comfyui(comfyui):
        inner = comfyui / "ComfyUI"
        hint = f"did you mean {inner}?" if is_comfyui(inner) else "give the folder that holds main.py."
        raise ToolError(f"There is no ComfyUI in {comfyui}: {hint}")
    place = comfyui / "custom_nodes" / PACK
    if place.resolve() == source.resolve():
        return f"{place} is this pack already."
    if (place / COPY_MARK).is_file() and not place.is_symlink():
        shutil.rmtree(place)
        return f"{place} was {link_or_copy(place, source)} anew."
    if place.exists() or place.is_symlink():
        raise ToolError(
            f"{place} is there already and is not this checkout: move it away and run this again."
        )
    return f"{place} was {link_or_copy(place, source)}."


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make install COMFYUI=/path/to/ComfyUI", description=__doc__)
    parser.add_argument("comfyui", nargs="?", default="", help="the folder of ComfyUI, with main.py in it")
    chosen = parser.parse_args().comfyui
    if not chosen:
        raise ToolError("Which ComfyUI? Say it as in: make install COMFYUI=/path/to/ComfyUI")
    say(install(Path(chosen).expanduser().absolute()))
    say(
        f"With ComfyUI's own Python: python -m pip install -r {ROOT / 'requirements.txt'}; then restart ComfyUI."
    )


if __name__ == "__main__":
    run(main)
