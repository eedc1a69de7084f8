"""Which installed packages lack files: run with the interpreter in question, prints one `name==version` a line.

An install that was killed half-way leaves packages that pip takes for complete. Every package lists its files
with their sizes, so looking is cheap.
"""

from __future__ import annotations

import os
import sysconfig
from importlib.metadata import Distribution, distributions

from .console import say


def is_damaged(package: Distribution) -> bool:
    """Whether a package has no list of files, or one of them is missing or was cut."""
    if not package.files:
        return True
    for file in package.files:
        if file.suffix == ".pyc":
            continue
        try:
            size = os.stat(file.locate()).st_size
        except FileNotFoundError:
            return True
        if file.size is not None and size != file.size:
            return True
    return False


def main() -> None:
    """Print the damaged packages."""
    installed = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    for package in distributions(path=sorted(installed)):  # not the checkout that this may run in
        if is_damaged(package):
            say(f"{package.metadata['Name']}=={package.version}")


if __name__ == "__main__":
    main()
