"""What a few minutes with an NVIDIA card can tell, in the order of its value; each
section within its own time.

    python -m benchmarks.card               within eight minutes on an H200; goes on with an earlier run
    python -m benchmarks.card --anew        from the beginning
    python -m benchmarks.card --rehearse    the same on a CPU, small: only the numbers are a surprise

Sections: tests (those with the marker gpu, a verdict each), exactness (fused kernels beside plain torch,
against float32), step (no, one and two references: ours exact, compiled, as a graph and with fp8, diffusers,
ComfyUI, and this card's floor), memory (peaks of bf16, fp8, int4, and within 24, 16, 12 and 8 GiB), edit
(text, autoencoder, whole edits). Random weights of the published sizes are made on the card. Each section
runs in a process of its own, which is killed at its limit; each row is written at once to
benchmarks/results/card.json. ComfyUI's module is taken from COMFYUI_PATH, from .cache/comfyui in this
checkout (which git ignores; its folder comfy is enough), or from the cache of tools.comfyui; a peer that is
missing is a row that says so. It ends with a table beside what is aimed at.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tools.paths import ROOT

from ..speed.clock import machine
from .store import Context, Row, Store
from .targets import TARGETS, lines

RESULTS = Path(__file__).parents[1] / "results"
GRACE = 3.0  # seconds that a section has to end by itself before it is killed


@dataclass(frozen=True)
class Section:
    """Part of the measuring.

    Args:
        seconds: until it is killed.
        work: imports what it needs and measures.
    """

    seconds: float
    work: Callable[[Context], None]


def _tests(context: Context) -> None:
    from .checks import run_tests

    run_tests(context)


def _exactness(context: Context) -> None:
    from .checks import compare_with_float32

    compare_with_float32(context)


def _step(context: Context) -> None:
    from .steps import measure_steps

    measure_steps(context)


def _memory(context: Context) -> None:
    from .memory import measure_memory

    measure_memory(context)


def _edit(context: Context) -> None:
    from .edits import measure_edits

    measure_edits(context)


SECTIONS: dict[str, Section] = {
    "tests": Section(90, _tests),
    "exactness": Section(40, _exactness),
    "step": Section(180, _step),
    "memory": Section(90, _memory),
    "edit": Section(70, _edit),
}


def run_section(name: str, store: Store, options: argparse.Namespace) -> None:
    """Measure in this process; each row is written when it is there."""
    begun, section = time.monotonic(), store.section(name)
    limit = options.seconds or SECTIONS[name].seconds

    def keep(key: str, row: Row) -> None:
        section["rows"][key] = dict(row)
        store.write()
        _say(f"  {key}: {_short(row)}")

    device = torch.device("cpu" if options.rehearse else "cuda")
    left = lambda: limit - GRACE - (time.monotonic() - begun)  # noqa: E731
    SECTIONS[name].work(Context(device, options.rehearse, dict(section["rows"]), keep, left))


def run_all(options: argparse.Namespace, path: Path) -> dict[str, Any]:
    """Run each section in a process of its own, and end it at its limit."""
    begun, mode = time.monotonic(), "rehearsal" if options.rehearse else "card"
    store = Store(path)
    if options.anew or store.result.get("mode") != mode:
        store.result = {"sections": {}}
    device = torch.device("cpu" if options.rehearse else "cuda")
    store.put(
        mode=mode, machine=machine(device), limits={name: one.seconds for name, one in SECTIONS.items()}
    )
    for name in options.section or SECTIONS:
        if Store(path).section(name).get("state") == "done":
            _say(f"{name}: done already")
            continue
        _say(f"{name}:")
        started = time.monotonic()
        state = _in_a_process(name, options)
        store = Store(path)  # with what the process has written
        store.section(name).update(state=state, seconds=time.monotonic() - started)
        store.write()
        _say(f"{name}: {state}, {time.monotonic() - started:.0f} s")
    rows = {name: store.rows(name) for name in SECTIONS}
    store.put(targets=[target.row(rows) for target in TARGETS], seconds=time.monotonic() - begun)
    return store.result


def _in_a_process(name: str, options: argparse.Namespace) -> str:
    """Return how it ended: "done", or why not."""
    limit = options.seconds or SECTIONS[name].seconds
    command = [sys.executable, "-m", "benchmarks.card", "--inside", name, "--output", str(options.output)]
    command += ["--seconds", str(limit)] + (["--rehearse"] if options.rehearse else [])
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        return f"killed after {limit:g} s"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # with all that it has started
            process.wait()
    return "done" if code == 0 else f"ended with code {code}"


def _short(row: Mapping[str, Any]) -> str:
    if "contestants" in row:
        parts = (
            f"{name} {one['seconds'] * 1000:.1f} ms" if "seconds" in one else f"{name}: {one['unavailable']}"
            for name, one in row["contestants"].items()
        )
        return "; ".join(parts)
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
    )


def _say(line: str) -> None:
    print(line, flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.card",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__,
    )
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, at small sizes")
    parser.add_argument("--anew", action="store_true", help="forget what an earlier run has measured")
    parser.add_argument("--section", action="append", choices=SECTIONS, help="only this one; may be repeated")
    parser.add_argument("--seconds", type=float, help="that each section may take, in place of its own")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER", help="benchmarks/results")
    parser.add_argument("--inside", choices=SECTIONS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.seconds is not None and not options.seconds > 0:
        parser.error(f"--seconds {options.seconds:g} is not an amount of time; give a number above 0")
    if not options.rehearse and not torch.cuda.is_available():
        parser.error("there is no CUDA card here; --rehearse goes through all of it on a CPU")
    if options.output.is_file():
        parser.error(f"--output {options.output} is a file; name a folder")
    options.output = options.output.resolve()
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    path = options.output / ("card_rehearsal.json" if options.rehearse else "card.json")
    if options.inside:
        if options.rehearse:
            torch.set_num_threads(1)
        run_section(options.inside, Store(path), options)
        return
    result = run_all(options, path)
    _say("\n".join(lines(result["targets"])))
    if options.rehearse:
        _say("a rehearsal: its figures are a CPU's, of the least model, and say nothing of a card")
    _say(f"{result['seconds']:.0f} s; written to {path}")


if __name__ == "__main__":
    main()
