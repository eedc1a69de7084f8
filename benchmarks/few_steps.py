"""How many steps does an edit of the tiny model need?

    python -m benchmarks.few_steps [--count 50] [--model tiny] [--kinds recolour,remove,add,background]

Success rate of each kind of edit at 4, 8, 12, 20 and 28 steps, with its interval, on scenes never trained on,
printed, and written to benchmarks/results/tiny/few_steps.json and few_steps.png.
"""

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure

from kontext_core.eval.intervals import rate_text, rounded
from kontext_core.eval.score import QUICK_KINDS, SEED, score_kind
from kontext_core.pipeline import Pipeline

RESULTS = Path(__file__).parent / "results" / "tiny"
STEPS = (4, 8, 12, 20, 28)


def plot(rates: dict[str, list[float]], path: Path) -> None:
    """Success against steps, a line for each kind."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for kind, values in rates.items():
        axes.plot(STEPS, values, marker="o", label=kind)
    axes.set(xlabel="steps", ylabel="right", ylim=(0, 1), xticks=STEPS)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=50, help="scenes of each kind (default: 50)")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--kinds", default=",".join(QUICK_KINDS))
    arguments = parser.parse_args()
    pipeline = Pipeline.load(arguments.model)
    count = arguments.count
    rates: dict[str, list[float]] = {}
    intervals: dict[str, list[list[float]]] = {}
    for kind in arguments.kinds.split(","):
        right = [score_kind(pipeline, kind, count, steps=steps).count_right for steps in STEPS]
        rates[kind], intervals[kind] = [one / count for one in right], rounded(right, count)
        print(f"{kind:16}", *(f"{n} steps {rate_text(k, count)};" for n, k in zip(STEPS, right, strict=True)))
    RESULTS.mkdir(parents=True, exist_ok=True)
    result = {"steps": STEPS, "count": count, "seed": SEED, "rates": rates, "intervals": intervals}
    (RESULTS / "few_steps.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    plot(rates, RESULTS / "few_steps.png")


if __name__ == "__main__":
    main()
