"""What a report of a fault needs to know of a machine, and nothing that tells whose machine it is."""

import os
import platform
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DISTRIBUTION = "kontext-nodes"
# Each that is looked for, and whether its absence is worth a line.
PACKAGES = {
    "torch": True,
    "transformers": True,
    "safetensors": True,
    "numpy": True,
    "pillow": True,
    "triton": False,
    "comfyui-frontend-package": False,
}
_GIT_SECONDS = 20
_VERSION = re.compile(r"v?\d[\w.+-]{0,60}", re.ASCII)  # nothing else of a file is passed on


def describe() -> list[str]:
    """A line for each thing: pack, ComfyUI, Python, packages, system, CUDA, cards."""
    return [f"{name}: {value}" for name, value in _facts()]


def _facts() -> Iterator[tuple[str, str]]:
    yield "kontext-nodes", pack_version(ROOT)
    host = comfyui_folder(ROOT)
    yield (
        "ComfyUI",
        (comfyui_version(host) or "version unknown") if host else "not found (COMFYUI_PATH names it)",
    )
    yield "Python", f"{platform.python_version()} ({platform.python_implementation()})"
    for name, expected in PACKAGES.items():
        installed = _installed(name)
        if installed or expected:
            yield name, installed or "not installed"
    yield "system", f"{_system()}, {platform.machine() or 'unknown architecture'}"
    yield from _accelerators()


def pack_version(root: Path) -> str:
    """The version of the pack, and the commit where `root` is a checkout of it."""
    number = _project_version(root / "pyproject.toml", DISTRIBUTION) or _installed(DISTRIBUTION)
    return ", ".join(filter(None, (number or "version unknown", _commit(root))))


def comfyui_folder(root: Path) -> Path | None:
    """The ComfyUI that COMFYUI_PATH names, or whose custom_nodes holds the pack; None if there is neither."""
    chosen = os.environ.get("COMFYUI_PATH")
    folders = [Path(os.path.expanduser(chosen))] if chosen else []
    folders += [root.parent.parent] if root.parent.name == "custom_nodes" else []
    return next((folder for folder in folders if os.path.isfile(folder / "main.py")), None)  # no rights: no


def comfyui_version(folder: Path) -> str | None:
    """The version that a ComfyUI's own files give; nothing of it is run."""
    with suppress(OSError, UnicodeDecodeError):
        text = (folder / "comfyui_version.py").read_text(encoding="utf-8")
        quoted = re.search(r"""^__version__\s*=\s*["']([^"'\n]*)["']""", text, re.MULTILINE)
        if quoted and _VERSION.fullmatch(quoted[1]):
            return quoted[1]
    return _project_version(folder / "pyproject.toml")


def _project_version(file: Path, name: str | None = None) -> str | None:
    """The version in a pyproject.toml.

    Args:
        name: the only project that will do; None for any.
    """
    try:
        project: Any = tomllib.loads(file.read_text(encoding="utf-8")).get("project")
    except (OSError, ValueError):  # the second: no TOML, or no UTF-8
        return None
    if not isinstance(project, dict) or name not in (None, project.get("name")):
        return None
    number = project.get("version")
    return number if isinstance(number, str) and _VERSION.fullmatch(number) else None


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit(root: Path) -> str | None:
    """The commit of a checkout, and whether files differ from it; None without one, or without git.

    What the surroundings tell git, as in a hook of another repository, is left out, and so are folders above.
    """
    git = shutil.which("git")
    if git is None or not os.path.exists(root / ".git"):
        return None
    command = [git, "--no-optional-locks", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    surroundings["GIT_CEILING_DIRECTORIES"] = str(root.parent)
    try:
        result = subprocess.run(
            command,
            cwd=root,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    commit = re.fullmatch(r"([0-9a-f]{7,64})(-dirty)?", result.stdout.strip())
    return f"commit {commit[1]}{', changed since' if commit[2] else ''}" if commit else None


def _system() -> str:
    """The operating system and its version, without what somebody may have added to a kernel's name."""
    name = platform.system() or "unknown system"
    if name == "Darwin":
        return f"macOS {platform.mac_ver()[0]}"
    if name == "Windows":
        return f"Windows {platform.release()} ({platform.version()})"
    release = platform.release()
    number = re.match(r"[\d.]*\d", release)
    kernel = " ".join(
        filter(None, (name, number and number[0], "WSL" if "microsoft" in release.lower() else ""))
    )
    distribution: dict[str, str] = {}
    with suppress(OSError):
        distribution = platform.freedesktop_os_release()
    title = " ".join(filter(None, (distribution.get("NAME"), distribution.get("VERSION_ID"))))
    return f"{kernel}, {title}" if title else kernel


def _accelerators() -> Iterator[tuple[str, str]]:
    """What torch was built for, and each card that it sees; or that it does not import."""
    try:
        torch: Any = import_module("torch")
    except (ImportError, OSError, AttributeError, RuntimeError) as error:  # its words may name paths
        if _installed("torch"):
            yield "torch", f"does not import ({type(error).__name__})"
        yield "GPU", "unknown"
        return
    yield from _built_for(torch)
    try:
        cards = list(_cards(torch))
    except (RuntimeError, AssertionError) as error:  # the second: a torch without the module of its card
        yield "GPU", f"torch cannot use it ({type(error).__name__})"
        return
    yield from (("GPU", card) for card in cards or ["no GPU"])


def _built_for(torch: Any) -> Iterator[tuple[str, str]]:
    if torch.version.cuda:
        yield "CUDA", f"{torch.version.cuda}{_driver(torch)}"
    elif torch.version.hip:
        yield "ROCm", str(torch.version.hip)


def _driver(torch: Any) -> str:
    """The newest CUDA that the driver takes, which torch asks the driver itself for."""
    asked = getattr(torch._C, "_cuda_getDriverVersion", None)
    with suppress(RuntimeError):
        number = int(asked()) if asked else 0
        if number:
            return f", driver up to {number // 1000}.{number % 1000 // 10}"
    return ", no driver"


def _cards(torch: Any) -> Iterator[str]:
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            size = f"{card.total_memory / 2**30:.1f} GiB"
            yield f"{card.name}, {size}, compute capability {card.major}.{card.minor}"
    elif hasattr(torch, "xpu") and torch.xpu.is_available():
        for index in range(torch.xpu.device_count()):
            card = torch.xpu.get_device_properties(index)
            yield f"{card.name}, {card.total_memory / 2**30:.1f} GiB (XPU)"
    elif torch.backends.mps.is_available():
        yield "Apple's, memory shared with the computer (MPS)"
