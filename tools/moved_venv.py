"""A virtual environment that was moved with its checkout: its scripts still name the old interpreter."""

from __future__ import annotations

import re
from pathlib import Path

from .paths import venv_python

# How a script begins: as pip writes it, and as it does where the path is long or has spaces.
_HEAD = re.compile(
    rb"\A#!(?P<short>[^\n]+)/(?P<python>python[\d.]*)\n"
    rb"|\A#!/bin/sh\n'''exec' \"?(?P<long>[^\"\n]+)/(?P<long_python>python[\d.]*)\"? \"\$0\" \"\$@\"\n' '''\n"
)
_SYSTEM = (Path("/usr/bin"), Path("/usr/local/bin"), Path("/bin"))
_ACTIVATE = ("activate", "activate.csh", "activate.fish")
_LONGEST = 127  # bytes of a first line that every system reads


def mend(venv: Path) -> bool:
    """Let every script name the interpreter beside it; says whether one did not. Raises: OSError."""
    folder = venv_python(venv.resolve()).parent
    olds: set[Path] = set()
    for script in sorted(folder.iterdir()):
        data = _beginning(script)
        head, old = _HEAD.match(data), _elsewhere(script, data)
        if head is not None and old is not None:
            olds.add(old.parent)
            program = head["python"] or head["long_python"]
            _rewrite(script, _head(folder, program) + script.read_bytes()[head.end() :])
    for activate in (folder / name for name in _ACTIVATE):
        for old in olds:
            if activate.is_file():
                _rewrite(activate, activate.read_bytes().replace(bytes(old), bytes(folder.parent)))
    return bool(olds)


def _beginning(script: Path) -> bytes:
    if script.is_symlink() or not script.is_file():
        return b""
    with script.open("rb") as file:
        return file.read(4096)


def _elsewhere(script: Path, data: bytes) -> Path | None:
    """Find the folder of the interpreter that a script names, if it is of another environment."""
    head = _HEAD.match(data)
    if head is None:
        return None
    named = Path((head["short"] or head["long"]).decode("utf-8", "surrogateescape"))
    return None if named in _SYSTEM or named.resolve() == script.parent else named


def _rewrite(script: Path, data: bytes) -> None:
    partial = script.with_name(f"{script.name}.part")
    partial.write_bytes(data)
    partial.chmod(script.stat().st_mode)
    partial.replace(script)


def _head(folder: Path, program: bytes) -> bytes:
    path = bytes(folder) + b"/" + program
    if b" " in path or len(path) + 3 > _LONGEST:
        return b"#!/bin/sh\n'''exec' \"" + path + b'" "$0" "$@"\n\' \'\'\'\n'
    return b"#!" + path + b"\n"
