"""A Chromium to open ComfyUI's page with: the one that is there, or the distribution's.

Standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .console import ToolError, run, say
from .packages import explain

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
HOW = (
    "Install one ('sudo apt-get install chromium', or Google Chrome from its site) "
    "or set KONTEXT_CHROMIUM to its program, then run the same command again."
)


def find() -> Path | None:
    """The browser of KONTEXT_CHROMIUM, else the first one known by name."""
    chosen = os.environ.get("KONTEXT_CHROMIUM")
    if chosen:
        program = shutil.which(chosen)
        if program is None:
            raise ToolError(f"KONTEXT_CHROMIUM is {chosen}, which is not a program.")
        return Path(program)
    for name in NAMES:
        program = shutil.which(name)
        if program is not None:
            return Path(program)
    return MAC if MAC.is_file() else None


def ensure() -> Path:
    """The browser, installed by apt-get if there is none and that is allowed."""
    browser = find()
    if browser is not None:
        return browser
    prefix = _root_prefix()
    if shutil.which("apt-get") is None or prefix is None:
        raise ToolError(f"No Chromium was found, and this user cannot install one. {HOW}")
    say("      apt-get install chromium")
    _apt([*prefix, "apt-get", "update", "-qq"])
    _apt(
        [
            *prefix,
            "apt-get",
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
            "chromium",
            "fonts-dejavu-core",
        ]
    )
    browser = find()
    if browser is None:
        raise ToolError(f"apt-get installed Chromium, yet none of {', '.join(NAMES)} is on PATH. {HOW}")
    return browser


def _root_prefix() -> list[str] | None:
    """How to call something as root without being asked for a password; None where that is not possible."""
    if not hasattr(os, "geteuid"):
        return None
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0:
        return [sudo, "-n"]
    return None


def _apt(command: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=environment
    )
    if result.returncode != 0:
        last = result.stdout.strip().splitlines()[-1:] or ["it gave no reason"]
        raise ToolError(f"{explain(f'error: {last[0]}', 'Chromium', by='apt-get')} {HOW}")


def main() -> None:
    """The command line: find or install it and say where it is."""
    say(str(ensure()))


if __name__ == "__main__":
    run(main)
