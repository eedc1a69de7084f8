"""What does a step spend its time on, kernel by kernel?

    python -m benchmarks.trace --cuda [--contestant ours]  on a CUDA card: the published model, 1024 px
    python -m benchmarks.trace                             on one thread of a CPU: configuration "middle"

One step under PyTorch's profiler, after two that warm up, random weights: each kernel with its share of the
device's time and how often it runs, and the shares of products, attention, fused kernels, copies and the
rest. Printed, and written to benchmarks/results/trace.json, or trace_cuda.json.
"""

import argparse
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from kontext_core.cli.options import positive

from .speed.cases import CONFIGURATIONS, Case
from .speed.clock import machine, written
from .speed.contestants import MODES, PEERS, UnavailableError, step_of
from .speed.models import question, random_transformer

RESULTS = Path(__file__).parent / "results"
# What a kernel is for, by its name; the first that is found counts. On a CPU the names are PyTorch's
# operations.
KINDS = {
    "attention": r"flash|fmha|sdpa|attention|softmax",
    "fused kernels": r"_(row|turn|beside)_kernel|^triton_",
    "products": r"gemm|nvjet|cutlass|cublas|xmma|addmm|::b?mm\b|linear|splitk",
    "copies": r"memcpy|memset|copy|::cat\b|catarray|::contiguous|::clone",
}


def shares(step: Callable[[], object], device: torch.device) -> dict[str, Any]:
    """Of one step: each kernel's and each kind's share of the device's time."""
    for _ in range(2):
        step()
    cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as recorded:
        step()
        if cuda:
            torch.cuda.synchronize(device)
    times: dict[str, tuple[float, int]] = {}
    for event in recorded.key_averages():
        if cuda and event.device_type == DeviceType.CUDA:
            times[event.key] = event.self_device_time_total, event.count
        elif not cuda:
            times[event.key] = event.self_cpu_time_total, event.count
    total = sum(time for time, _ in times.values())
    kinds: Counter[str] = Counter()
    for name, (time, _) in times.items():
        kinds[kind_of(name)] += time / total
    ordered = sorted(times.items(), key=lambda one: -one[1][0])
    return {
        "kinds": dict(kinds.most_common()),
        "kernels": [
            {"name": name, "kind": kind_of(name), "share": time / total, "times": count}
            for name, (time, count) in ordered
            if time >= total / 1000
        ],
    }


def kind_of(name: str) -> str:
    return next((kind for kind, known in KINDS.items() if re.search(known, name.lower())), "the rest")


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.trace",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cuda", action="store_true", help="on the card, in bfloat16")
    parser.add_argument("--configuration", choices=CONFIGURATIONS, help="kontext on a card, middle on a CPU")
    parser.add_argument(
        "--side", type=positive, help="of the pictures in pixels (1024 on a card, 256 on a CPU)"
    )
    parser.add_argument("--references", type=int, default=1, help="(1)")
    parser.add_argument(
        "--contestant",
        choices=[*MODES, *PEERS],
        action="append",
        help="of benchmarks.speed (ours and diffusers)",
    )
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER", help="benchmarks/results")
    options = parser.parse_args(arguments)
    if options.cuda and not torch.cuda.is_available():
        parser.error("there is no CUDA card here; without --cuda it is the CPU")
    device = torch.device("cuda" if options.cuda else "cpu")
    if not options.cuda:
        torch.set_num_threads(1)
    dtype = torch.bfloat16 if options.cuda else torch.float32
    name = options.configuration or ("kontext" if options.cuda else "middle")
    config = CONFIGURATIONS[name].transformer
    case = Case(options.side or (1024 if options.cuda else 256), options.references)
    asked, model = question(config, case, device, dtype), random_transformer(config, device, dtype)
    found: dict[str, Any] = {}
    for contestant in options.contestant or ["ours", "diffusers"]:
        way = (MODES | PEERS)[contestant]
        try:
            found[contestant] = shares(step_of(way, way.make(model), asked), device)
        except UnavailableError as error:
            found[contestant] = {"unavailable": str(error)}
            print(f"{contestant}: {error}")
            continue
        kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in found[contestant]["kinds"].items())
        print(f"{contestant}: {kinds}")
        for one in found[contestant]["kernels"][:25]:
            print(f"  {one['share']:6.1%}  {one['times']:5} x  {one['name'][:110]}")
    options.output.mkdir(parents=True, exist_ok=True)
    told = {"configuration": name, "case": case.name, "machine": machine(device), "contestants": found}
    stem = "trace_cuda" if options.cuda else "trace"
    (options.output / f"{stem}.json").write_text(written(told), encoding="utf-8")


if __name__ == "__main__":
    main()
