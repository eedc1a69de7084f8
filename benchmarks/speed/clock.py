"""Time and memory on one device.

On CUDA device events, elsewhere the clock of the thread, or of the wall for several threads.
"""

import json
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from statistics import median, quantiles
from typing import Any

import torch

PACKAGES = ("torch", "triton", "diffusers", "torchao", "flash-attn", "flash-attn-3", "transformers")
_QUERY = "name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.draw,power.limit,temperature.gpu"


@dataclass(frozen=True)
class Times:
    """Seconds of several runs. On a shared CPU the fastest says most, on a card of one's own the median."""

    seconds: tuple[float, ...]
    shared: bool

    @property
    def typical(self) -> float:
        return min(self.seconds) if self.shared else median(self.seconds)

    @property
    def spread(self) -> float:
        """Between the first and the third quarter, as a share of the median."""
        low, _, high = quantiles(self.seconds, n=4) if len(self.seconds) > 1 else (0.0, 0.0, 0.0)
        return (high - low) / median(self.seconds)


class Clock:
    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.shared = device.type != "cuda"
        self._now = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter

    def once(self, work: Callable[[], object], times: int = 1) -> float:
        """Seconds of so many runs one after the other, which begin on an idle device."""
        if self.shared:
            start = self._now()
            for _ in range(times):
                work()
            return self._now() - start
        torch.cuda.synchronize(self.device)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(times):
            work()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000

    def wall(self, work: Callable[[], object]) -> float:
        """Seconds by the wall until all of it is done; on one CPU thread the thread's."""
        if self.shared:
            return self.once(work)
        torch.cuda.synchronize(self.device)
        start = time.perf_counter()
        work()
        torch.cuda.synchronize(self.device)
        return time.perf_counter() - start

    def looped(self, work: Callable[[], object], seconds: float) -> float:
        """Seconds of one run among many back to back, for so long; in ten parts, of
        which the typical one counts.
        """
        work()
        times = max(1, int(seconds / 10 / max(self.once(work), 1e-6)))
        return Times(tuple(self.once(work, times) / times for _ in range(10)), self.shared).typical

    def race(
        self, contestants: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 2
    ) -> dict[str, Times]:
        """All of them in turns, so that they meet the same machine."""
        found: dict[str, list[float]] = {name: [] for name in contestants}
        for round_ in range(warm_up + rounds):
            for name, work in contestants.items():
                seconds = self.once(work)
                if round_ >= warm_up:
                    found[name].append(seconds)
        return {name: Times(tuple(seconds), self.shared) for name, seconds in found.items()}

    def peak_gib(self, work: Callable[[], object]) -> float | None:
        """What one run needs beyond what was there before, its result included; None where nobody counts."""
        if self.device.type != "cuda":
            work()
            return None
        torch.cuda.synchronize(self.device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        work()
        torch.cuda.synchronize(self.device)
        return (torch.cuda.max_memory_allocated(self.device) - before) / 2**30


def machine(device: torch.device) -> dict[str, Any]:
    """Versions, and on CUDA the card with its clocks as they are now."""
    versions: dict[str, Any] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    if device.type != "cuda":
        named = f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
        return {"versions": versions, "processor": named, "threads": torch.get_num_threads()}
    versions |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    card = torch.cuda.get_device_properties(device)
    return {
        "versions": versions,
        "card": card.name,
        "capability": f"{card.major}.{card.minor}",
        "memory_gib": round(card.total_memory / 2**30, 1),
        "clocks": _clocks(device),
    }


def _clocks(device: torch.device) -> dict[str, str] | str:
    command = ["nvidia-smi", f"--id={device.index or 0}", f"--query-gpu={_QUERY}", "--format=csv,noheader"]
    try:
        line = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return f"nvidia-smi says nothing: {error}"
    return dict(zip(_QUERY.split(","), (part.strip() for part in line.split(",")), strict=True))


def written(result: Mapping[str, Any]) -> str:
    """As JSON, numbers with four digits."""

    def shorter(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.4g}")
        if isinstance(value, Mapping):
            return {key: shorter(one) for key, one in value.items()}
        return [shorter(one) for one in value] if isinstance(value, list | tuple) else value

    return json.dumps(shorter(result), indent=2) + "\n"
