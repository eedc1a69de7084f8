"""How much of the host's own memory do weights take that wait in it, and those that wait in their file?

    python -m benchmarks.small_host [--blocks 20] [--width 1536]

Single blocks of random bfloat16 weights in one file visit the device, which here is the CPU, at each step.
For each way, in a process of its own: the largest amount of memory that belongs to the process alone
(RssAnon; pages of the mapped file are the system's, which may drop them), over what it was before the model
was loaded, less the two blocks' places that would be on the device. As bytes, and over the bytes that visit.
Also the time of a step, over that of weights in memory. Printed, and written to
benchmarks/results/small_host.json.
"""

import argparse
import json
import multiprocessing
import statistics
import tempfile
import threading
import time
from dataclasses import replace
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from benchmarks.large import write_random
from kontext_core.config import KONTEXT_DEV
from kontext_core.loading import load_transformer
from kontext_core.memory.block_streaming import StreamedTransformer
from kontext_core.memory.staging import PIECE, Staging
from kontext_core.model.latents import noise
from kontext_core.sampling.denoise import denoise
from kontext_core.sampling.schedule import sigmas

RESULTS = Path(__file__).parent / "results"
WAYS = ("memory", "file")
STEPS = 4


def anonymous() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def run(way: str, path: Path, said: Connection) -> None:
    torch.set_num_threads(1)
    before, most, done = anonymous(), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.005):
            most = max(most, anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    model, device = load_transformer(path), torch.device("cpu")
    blocks = len(model.single_blocks)
    streaming = StreamedTransformer(
        model, device, blocks=blocks, staging=Staging(device) if way == "file" else None
    )
    config = model.config
    words = torch.zeros(1, 4, config.context_in_dim), torch.zeros(1, config.vec_in_dim)
    ends: list[float] = []
    denoise(
        model, noise(1, 4, 4, 0), *words, sigmas(STEPS, 4), callback=lambda *_: ends.append(time.monotonic())
    )
    done.set()
    watcher.join()
    assert streaming.streamer is not None
    places = sum(slot.memory.nbytes for slot in streaming.streamer.slots)
    step = statistics.median(after - start for start, after in pairwise(ends))
    said.send((most - before - places, streaming.streamed_bytes, step))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--width", type=int, default=1536)
    options = parser.parse_args()
    forking = multiprocessing.get_context("fork")
    found: dict[str, tuple[int, int, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "large.safetensors")
        config = replace(
            KONTEXT_DEV,
            hidden_size=options.width,
            num_heads=options.width // 128,
            depth=1,
            depth_single_blocks=options.blocks,
        )
        write_random(path, config)
        size = path.stat().st_size
        for way in WAYS:
            hears, says = forking.Pipe(duplex=False)
            process = forking.Process(target=run, args=(way, path, says))
            process.start()
            found[way] = hears.recv()
            process.join()
    result = {
        way: {
            "host bytes": taken,
            "host bytes over visiting": taken / visiting,
            "step over memory's": step / found["memory"][2],
        }
        for way, (taken, visiting, step) in found.items()
    }
    made = {
        "command": f"python -m benchmarks.small_host --blocks {options.blocks} --width {options.width}",
        "file bytes": size,
        "visiting bytes": found["memory"][1],
        "staging bytes": 2 * PIECE,
        "ways": result,
    }
    print(json.dumps(made, indent=2))
    (RESULTS / "small_host.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
