"""pip, run in another interpreter: its progress passed on, its failures said in one sentence."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from .console import DiskFull, ToolError, say

_NO_SPACE = re.compile(r"No space left on device|Errno 28\b|Errno 122\b|not enough space on the disk", re.I)
_NO_NETWORK = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|Max retries exceeded|ProxyError|"
    r"Name or service not known|Could not resolve host|Failed to connect to|Temporary failure in name resolution|Network is unreachable|Connection refused",
    re.I,
)
_MISSING = re.compile(r"No matching distribution found for (\S+)")
_BIG = re.compile(r"^\s*(?:Downloading|Using cached) (?:\S*/)?([^-\s]+-[^-\s]+)\S* \(([\d.]+ [MG]B)\)")


def pip(python: Path | str, arguments: Iterable[str], *, what: str, log: Path | None = None) -> None:
    """Run pip and pass on its larger downloads; everything it said goes to `log`.

    Raises: ToolError (DiskFull) with what hindered it.
    """
    arguments = list(arguments)
    options = ["--progress-bar", "off", "--no-input"]
    if arguments[0] == "install":
        # Compiling all of torch at once takes longer than the rest of the set-up.
        options.append("--no-compile")
    command = [str(python), "-m", "pip", *arguments, *options]
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONIOENCODING": "utf-8"}
    lines: list[str] = []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=environment,
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            big = _BIG.match(line)
            if big:
                say(f"      {big[1].replace('-', ' ')} ({big[2]})")
            elif line.startswith("Installing collected packages"):
                count = line.count(",") + 1
                say(f"      installing {count} package{'s' if count > 1 else ''}")
    text = "".join(lines)
    if log is not None:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"$ {' '.join(command)}\n{text}\n")
    if process.returncode != 0:
        raise explain(text, what, log)


def explain(output: str, what: str, log: Path | None = None, by: str = "pip") -> ToolError:
    """What hindered pip, or another program that fetches things, from what it printed."""
    more = f" All that pip said is in {log}." if log is not None else ""
    if _NO_SPACE.search(output):
        return DiskFull(f"while getting {what}")
    if _NO_NETWORK.search(output):
        return ToolError(
            f"No network: {what} could not be downloaded. Check the connection (or pip's proxy and index "
            f"settings) and run the same command again; it continues where it stopped.{more}"
        )
    missing = _MISSING.search(output)
    if missing:
        return ToolError(
            f"No package index known to pip offers {missing[1]} for this Python and system.{more}"
        )
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    reason = (errors or lines or ["it gave no reason"])[-1]
    return ToolError(f"{by} could not get {what}: {reason}.{more}")


def offered_versions(python: Path | str, name: str, *options: str) -> list[str]:
    """All versions of a package that pip would take here, newest first, local ones (`2.13.0+cpu`) too."""
    command = [str(python), "-m", "pip", "index", "versions", name, *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    match = re.search(r"^Available versions: (.+)$", result.stdout, re.M)
    return match[1].split(", ") if match else []


def install_into(target: Path, requirements: Path, *, python: Path | str, what: str, log: Path) -> str:
    """Install packages into a folder of their own where they are not there yet to the end; says which.

    Args:
        requirements: every package that is wanted, with its version; what they need is not looked for.
    """
    stamp, listing = target / "installed.txt", requirements.read_text(encoding="utf-8")
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == listing:
        return "there already"
    shutil.rmtree(target, ignore_errors=True)
    arguments = ["install", "--no-deps", "--target", str(target), "-r", str(requirements)]
    pip(python, arguments, what=what, log=log)
    stamp.write_text(listing, encoding="utf-8")
    return "installed"
