"""`kontext edit --gpus N`: a process for each device; when one fails, all end with one sentence.

They meet through a file in a folder of this user's, and talk over the loopback interface alone.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .ranks import LOST

_GRACE_S = (
    5.0  # for those that still run to end by themselves, and for one that saw another go to be overtaken
)


@dataclass(frozen=True)
class RankAddress:
    """Where a process stands among those of an edit.

    Args:
        folder: where they meet, and where it says why it fails.
    """

    rank: int
    count: int
    folder: Path

    @classmethod
    def parse(cls, text: str) -> "RankAddress":
        """The inverse of `str`."""
        rank, count, folder = text.split(":", 2)
        return cls(int(rank), int(count), Path(folder))

    def __str__(self) -> str:
        return f"{self.rank}:{self.count}:{self.folder}"

    @property
    def init_method(self) -> str:
        return (self.folder / "meet").as_uri()

    @property
    def fault(self) -> Path:
        return self.folder / f"fault{self.rank}.txt"

    def fail(self, sentence: str) -> None:
        """Leave a reason for the process that started this one, unless the disk has no room for it."""
        with suppress(OSError):
            self.fault.write_bytes(sentence.encode("utf-8", "replace"))


def run_ranks(arguments: Sequence[str], count: int, *, verbose: bool = False) -> None:
    """Run `kontext` with these arguments in `count` processes, each told its place by the option `--joined`.

    Args:
        verbose: whether ranks other than 0 are heard too.
    Raises: RuntimeError with the reason of the first that failed, when all have ended.
    """
    with tempfile.TemporaryDirectory(prefix="kontext-") as name:
        places = [RankAddress(rank, count, Path(name)) for rank in range(count)]
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for place in places:
                processes.append(_start(place, arguments, heard=verbose or place.rank == 0))  # noqa: PERF401
            while _any_runs(processes) and not _any_failed(processes):
                time.sleep(0.05)
            codes = [process.poll() for process in processes]  # before the others are ended
        finally:
            _end(processes)
        faults = [place.fault.read_text(encoding="utf-8") if place.fault.exists() else "" for place in places]
    if any(process.returncode for process in processes):
        raise RuntimeError(_reason(faults, codes))


def _start(place: RankAddress, arguments: Sequence[str], heard: bool) -> subprocess.Popen[bytes]:
    package = str(__package__).partition(".")[0]
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
    }
    return subprocess.Popen(
        [sys.executable, "-m", f"{package}.cli", *arguments, "--joined", str(place)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=None if heard else subprocess.DEVNULL,
        stderr=None if heard else subprocess.DEVNULL,
        start_new_session=True,  # an interrupt is for the process that started them, which then ends them
    )


def _any_runs(processes: Sequence[subprocess.Popen[bytes]]) -> bool:
    return any(process.poll() is None for process in processes)


def _any_failed(processes: Sequence[subprocess.Popen[bytes]]) -> bool:
    return any(process.poll() for process in processes)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End what still runs: those that see another go may end by themselves, and say so."""
    deadline = time.monotonic() + _GRACE_S
    if _any_failed(processes):
        while time.monotonic() < deadline - _GRACE_S / 2 and _any_runs(processes):
            time.sleep(0.05)
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _reason(faults: Sequence[str], codes: Sequence[int | None]) -> str:
    """The sentence that names the cause, which is not that of one who only saw another go."""
    for fault in faults:
        if fault and fault != LOST:
            return fault
    for number, (fault, code) in enumerate(zip(faults, codes, strict=True), start=1):
        if code and not fault:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            return (
                f"process {number} of the {len(codes)} of this edit {how}, so all of them were stopped; "
                "start the edit again"
            )
    return LOST
