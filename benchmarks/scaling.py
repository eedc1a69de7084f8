"""How does the time of a step grow with pictures and pixels, beside the formula?

    python -m benchmarks.scaling [--configuration middle] [--sides 256 384 512] [--rounds 5] [--cuda]

One step with no, one, two and four references, at each side in pixels, random weights, in turns. Times and
work are relative to the least of them; the work is blocks (4 (2 + r) D^2 N + 4 N^2 D), see
`speed.cases.step_flop`. Printed, and written to benchmarks/results/scaling.json and scaling.png.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from .speed.cases import CONFIGURATIONS, REFERENCE_COUNTS, Case, step_flop
from .speed.clock import Clock, machine, written
from .speed.contestants import MODES, step_of
from .speed.models import question, random_transformer

RESULTS = Path(__file__).parent / "results"
OURS = "ours, plain"


def measure(
    configuration: str, sides: Sequence[int], rounds: int, device: torch.device
) -> list[dict[str, Any]]:
    """Each case with its tokens, and its time and work relative to the first."""
    config = CONFIGURATIONS[configuration].transformer
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    mode = MODES[OURS]
    model = mode.make(random_transformer(config, device, dtype))
    cases = {(one := Case(side, count)).name: one for side in sides for count in REFERENCE_COUNTS}
    steps = {
        name: step_of(mode, model, question(config, case, device, dtype)) for name, case in cases.items()
    }
    times = Clock(device).race(steps, rounds, warm_up=1)
    least = next(iter(cases))
    work = {
        name: sum(step_flop(config, case.image_tokens + config.text_length)) for name, case in cases.items()
    }
    return [
        {
            "case": name,
            "side_px": case.side_px,
            "references": case.references,
            "tokens": case.image_tokens + config.text_length,
            "time": times[name].typical / times[least].typical,
            "formula": work[name] / work[least],
        }
        for name, case in cases.items()
    ]


def plot(steps: Sequence[dict[str, Any]], path: Path) -> None:
    """Time against tokens, a colour for each side; the formula as a line."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    by_tokens = sorted(steps, key=lambda one: one["tokens"])
    axes.plot(
        [one["tokens"] for one in by_tokens],
        [one["formula"] for one in by_tokens],
        color="grey",
        label="by the formula",
    )
    for side in dict.fromkeys(one["side_px"] for one in steps):
        mine = [one for one in steps if one["side_px"] == side]
        axes.plot(
            [one["tokens"] for one in mine],
            [one["time"] for one in mine],
            marker="o",
            ls="",
            label=f"{side} px, no, 1, 2, 4 references",
        )
    axes.set(xlabel="tokens", ylabel="time of a step, relative to the least", xscale="log", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=110)


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configuration", choices=CONFIGURATIONS, default="middle")
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 384, 512])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cuda", action="store_true", help="on the card, in bfloat16")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    device = torch.device("cuda" if options.cuda else "cpu")
    if not options.cuda:
        torch.set_num_threads(1)
    steps = measure(options.configuration, options.sides, options.rounds, device)
    for one in steps:
        print(
            f"{one['case']:<28}{one['tokens']:>6} tokens   time {one['time']:7.2f}   formula {one['formula']:7.2f}"
        )
    options.output.mkdir(parents=True, exist_ok=True)
    told = {"configuration": options.configuration, "machine": machine(device), "steps": steps}
    (options.output / "scaling.json").write_text(written(told), encoding="utf-8")
    plot(steps, options.output / "scaling.png")


if __name__ == "__main__":
    main()
