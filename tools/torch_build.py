"""Which PyTorch the set-up installs: without an NVIDIA GPU, never gigabytes of CUDA for nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from .packages import offered_versions

TESTED = "2.13.0"
OLDEST = (2, 6)
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


class TorchBuild(NamedTuple):
    """What to hand to pip, and why, for the user."""

    arguments: tuple[str, ...]
    reason: str


def nvidia_gpu() -> bool:
    """Whether the driver lists a GPU of NVIDIA's."""
    if shutil.which("nvidia-smi") is None:
        return False
    result = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return result.returncode == 0 and "GPU 0" in result.stdout


def cpu_version(versions: list[str]) -> str | None:
    """The tested CPU build if it is offered, else the newest one that is new enough."""
    if f"{TESTED}+cpu" in versions:
        return f"{TESTED}+cpu"
    builds = [version for version in versions if re.fullmatch(r"\d+\.\d+(\.\d+)*\+cpu", version)]
    return max((build for build in builds if _release(build) >= OLDEST), key=_release, default=None)


def choose(python: Path | str) -> TorchBuild:
    """The torch to install, by what this machine has and what pip's configuration offers."""
    if sys.platform != "linux":
        return TorchBuild(("torch",), "the build for this system")
    if nvidia_gpu():
        return TorchBuild(("torch",), "an NVIDIA GPU is here")
    version = cpu_version(offered_versions(python, "torch"))
    if version is not None:
        return TorchBuild((f"torch=={version}",), "a CPU build that pip's configuration offers")
    version = cpu_version(
        offered_versions(python, "torch", "--index-url", CPU_INDEX, "--retries", "1", "--timeout", "15")
    )
    if version is not None:
        return TorchBuild(
            (f"torch=={version}", "--extra-index-url", CPU_INDEX), "a CPU build from PyTorch's index"
        )
    return TorchBuild(("torch",), "whatever pip gives: no CPU build was found")


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("+")[0].split("."))
