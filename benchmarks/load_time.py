"""How long does a large file take to load, and how much of the host's memory?

    python -m benchmarks.load_time [--rounds 3] [--singles 8] [--no-packed] [--output load_time.json]

A file of random bfloat16 weights (one double block of the published width and some single ones, 3.1 GB with
8) is loaded in turn by `load_transformer` and by `safetensors.torch.load_file`, each in a process of its own,
which then copies every number once, so that what is only mapped is paid for; and once by `load_transformer`
with weights packed, unless told not to. Ratios of CPU times and of times by the clock to load_file's in the
same round, and peaks of memory over the file's size, mapped pages of the file with them. Printed, and written
to benchmarks/results/.
"""

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from benchmarks.large import write_random
from kontext_core.config import KONTEXT_DEV
from kontext_core.loading import load_transformer

RESULTS = Path(__file__).parent / "results"


def by_load_file(path: Path) -> Iterable[Tensor]:
    return load_file(path).values()


def by_us(path: Path, **options: str) -> Iterable[Tensor]:
    return load_transformer(path, **options).state_dict().values()


WAYS: dict[str, Callable[[Path], Iterable[Tensor]]] = {
    "safetensors.torch.load_file": by_load_file,
    "load_transformer": by_us,
    "load_transformer, fp8": lambda path: by_us(path, quantise="fp8"),
}


ONCE = ("load_transformer, fp8",)  # in the last round alone


def ratio(times: dict[str, list[float]], way: str) -> float:
    """The median over the rounds.

    Args:
        times: by way, those of `ONCE` from the last round alone.
    """
    others = times[next(iter(WAYS))][-len(times[way]) :]
    return statistics.median(mine / other for mine, other in zip(times[way], others, strict=True))


def memory(name: str) -> int:
    """Bytes of VmRSS or VmHWM."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def run(way: str, path: Path, said: Connection) -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins here
    before, start, clock = memory("VmRSS"), time.process_time(), time.perf_counter()
    for tensor in WAYS[way](path):
        for piece in tensor.flatten().split(1 << 18):
            piece.clone()
    said.send((time.process_time() - start, time.perf_counter() - clock, memory("VmHWM") - before))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--singles", type=int, default=8, help="single blocks in the file")
    parser.add_argument("--no-packed", action="store_true", help="leave out what takes thirty times as long")
    parser.add_argument("--output", default="load_time.json", help="file in benchmarks/results")
    options = parser.parse_args()
    rounds: int = options.rounds
    ways = [way for way in WAYS if not (options.no_packed and way in ONCE)]
    forking = multiprocessing.get_context("fork")
    times: dict[str, list[float]] = {way: [] for way in ways}
    clocks: dict[str, list[float]] = {way: [] for way in ways}
    peaks: dict[str, list[int]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "large.safetensors")
        size = write_random(path, replace(KONTEXT_DEV, depth=1, depth_single_blocks=options.singles))
        for number in range(rounds + 1):  # the first brings the file into the system's cache
            for way in ways:
                if way in ONCE and number != rounds:
                    continue
                hears, says = forking.Pipe(duplex=False)
                process = forking.Process(target=run, args=(way, path, says))
                process.start()
                seconds, clock, peak = hears.recv()
                process.join()
                if number:
                    times[way].append(seconds)
                    clocks[way].append(clock)
                    peaks[way].append(peak)
    result = {
        way: {
            "CPU time over load_file's": ratio(times, way),
            "time over load_file's": ratio(clocks, way),
            "peak over the file": max(peaks[way]) / size,
        }
        for way in ways
    }
    print(json.dumps(result, indent=2))
    command = f"python -m benchmarks.load_time --rounds {rounds} --singles {options.singles}"
    command += " --no-packed" if options.no_packed else ""
    command += "" if options.output == parser.get_default("output") else f" --output {options.output}"
    made = {"command": command, "file bytes": size, "rounds": rounds, "ways": result}
    (RESULTS / options.output).write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
