"""Which installed packages of the interpreter that runs this lack files: one `name==version` a line.

An install that was killed half-way leaves packages that pip takes for complete. Every package lists its files
with their sizes, so looking is cheap.
"""

from __future__ import annotations

import csv
import sysconfig
from pathlib import Path

from .console import run, say

_OWN = "kontext_nodes"  # installed anew at the end of each set-up, and not to be had from an index


def is_damaged(info: Path) -> bool:
    """Say whether a package has no list of files, or one of them is missing or was cut.

    The list is read here, for from 3.12 on Python leaves out what is missing.

    Args:
        info: its folder `name-version.dist-info`.
    """
    try:
        with (info / "RECORD").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row]
        return not rows or any(_is_cut(info.parent, *row) for row in rows)
    except (OSError, ValueError, TypeError, csv.Error):  # the list was cut itself
        return True


def damaged_in(folder: Path) -> list[str]:
    """List `name==version` of what is damaged in a folder of packages, as their own folders are called."""
    # ~: pip's waste.
    infos = sorted(info for info in folder.glob("*.dist-info") if not info.name.startswith(("~", _OWN)))
    return [info.stem.replace("-", "==", 1) for info in infos if is_damaged(info)]


def _is_cut(packages: Path, name: str, digest: str, size: str) -> bool:
    """Look at one line of such a list. Raises: OSError if the file is missing."""
    if name.endswith(".pyc"):
        return False
    file = packages / name
    if not size or file.stat().st_size == int(size):
        return False
    # scripts name their interpreter, so that they change where an environment is moved
    return file.parent.resolve() != Path(sysconfig.get_path("scripts")).resolve()


def main() -> None:
    """Print the damaged packages."""
    for name in sorted({sysconfig.get_path(name) for name in ("purelib", "platlib")}):
        for package in damaged_in(Path(name)):  # not of the checkout that this may run in
            say(package)


if __name__ == "__main__":
    run(main)
