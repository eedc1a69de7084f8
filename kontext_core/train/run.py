"""What every run has: a clock that survives restarts, a rate by progress, a log, regular checkpoints."""

import contextlib
import csv
import ctypes
import io
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..disk import append, make_folder
from .state import EMA, STATE_FILE, load_state, save_state

CHECKPOINT_SECONDS = 45.0
LOG_EVERY = 20  # steps
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h

log = logging.getLogger(__name__)


def keep_freed_memory() -> None:
    """Tell glibc to keep what is freed: page faults otherwise take up to half of a training step."""
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library: no harm, only slower
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 2**28)


class TrainingRun:
    """One training run in one folder.

    Args:
        folder: holds state.safetensors and log.csv; a run found there is resumed.
        minutes: training time in all, over every restart.
        cooldown: last part of it, in which the rate falls to 0.
    """

    def __init__(
        self,
        folder: Path,
        module: nn.Module,
        optimizers: list[torch.optim.Optimizer],
        *,
        minutes: float,
        warmup_steps: int,
        cooldown: float,
        average_decay: float,
    ) -> None:
        self.folder, self.module, self.optimizers = folder, module, optimizers
        self.minutes, self.warmup_steps, self.cooldown = minutes, warmup_steps, cooldown
        self.average = EMA(module, average_decay)
        self.step = self.samples = 0
        self.elapsed = 0.0  # seconds of training, over every restart
        self._probed = 0.0
        self.base_rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
        make_folder(folder)
        if self.state_path.exists():
            progress = load_state(self.state_path, module, self.average, optimizers)
            self.step, self.samples, self.elapsed = progress["step"], progress["samples"], progress["elapsed"]
            self._probed = self.elapsed
            log.info("resumed at step %d, %d samples", self.step, self.samples)

    @property
    def state_path(self) -> Path:
        return self.folder / STATE_FILE

    @property
    def progress(self) -> float:
        return min(self.elapsed / (self.minutes * 60), 1.0)

    @property
    def lr_scale(self) -> float:
        """Factor of the learning rates: linear warm-up, constant, linear cool-down to 0."""
        warm = min((self.step + 1) / self.warmup_steps, 1.0)
        return warm * min((1.0 - self.progress) / self.cooldown, 1.0) if self.cooldown else warm

    def steps(self) -> Iterator[int]:
        """Yield the number of each step until the time is up; saves as it goes and at the end."""
        saved = time.monotonic()
        while self.progress < 1.0:
            started = time.monotonic()
            for optimizer, rates in zip(self.optimizers, self.base_rates, strict=True):
                for group, base in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = base * self.lr_scale
            yield self.step
            self.step += 1
            now = time.monotonic()
            self.elapsed += now - started
            if now - saved > CHECKPOINT_SECONDS:
                self.save()
                saved = now
        self.save()

    def update(self, loss: torch.Tensor, samples: int, clip: float = 1.0) -> float:
        """Backward, clip, step, average. Returns the gradient's norm."""
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(self.module.parameters(), clip))
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.average.update(self.module)
        self.samples += samples
        return norm

    def record(self, **values: Any) -> None:
        """One line of log.csv every few steps, and a progress line, which stays one on a terminal."""
        if self.step % LOG_EVERY:
            return
        row = {"step": self.step, "samples": self.samples, "seconds": round(self.elapsed, 1), **values}
        self._append("log.csv", row)
        text = "  ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in row.items()
        )
        if sys.stderr is not None:
            start, end = ("\r", "   ") if sys.stderr.isatty() else ("", "\n")
            sys.stderr.write(f"{start}{self.progress:6.1%}  {text}{end}")
            sys.stderr.flush()

    def probe(self, measure: Callable[[], Mapping[str, float]], every_seconds: float) -> None:
        """A line of scores.csv, measured with the averaged weights in place, when it is time for one."""
        if self.elapsed - self._probed < every_seconds:
            return
        self._probed = self.elapsed
        current = {name: tensor.clone() for name, tensor in self.module.state_dict().items()}
        self.module.load_state_dict(self.average.tensors)
        self.module.eval()
        scores = measure()
        self.module.load_state_dict(current)
        self.module.train()
        self._append("scores.csv", {"step": self.step, "samples": self.samples, **scores})

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        path = self.folder / name
        lines = io.StringIO(newline="")
        writer = csv.writer(lines)
        if not path.exists():
            writer.writerow(row)
        writer.writerow(f"{value:.5g}" if isinstance(value, float) else value for value in row.values())
        append(path, lines.getvalue().encode())

    def save(self) -> None:
        progress = {"step": self.step, "samples": self.samples, "elapsed": self.elapsed}
        save_state(self.state_path, self.module, self.average, self.optimizers, progress)
