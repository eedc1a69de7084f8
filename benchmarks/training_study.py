"""What each run of the flow changed, and what it gave: success against samples over all
runs of the tiny model.

    python -m benchmarks.training_study                                   draws what is on record
    python -m benchmarks.training_study runs/mine --changed "a lower rate" --scores benchmarks/results/tiny

The second form adds a run of `kontext train` first: its scores.csv, the samples in its weights, and the
scores.json that `kontext score` wrote of them. On record: benchmarks/results/training/runs.json; plot:
training_study.png beside it.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kontext_core.train.tiny import recorded_training

FOLDER = Path(__file__).parent / "results" / "training"
KINDS_SHOWN = (
    "recolour", "remove", "add", "background", "move", "reshape", "pointed", "character", "three", "palette", "style",
    "text", "text_to_image",
)  # fmt: skip

Record = dict[str, Any]


def added(run: Path, changed: str, scores: Path, before: int) -> Record:
    """The record of one finished run. before: samples of the weights that it started from."""
    with (run / "flow" / "scores.csv").open(newline="") as file:
        rows = [
            {name: float(value) for name, value in row.items() if name != "step"}
            for row in csv.DictReader(file)
        ]
    known = json.loads((scores / "scores.json").read_text(encoding="utf-8"))
    samples = recorded_training(run / "model")["samples"]
    return {
        "changed": changed,
        "before": before,
        "samples": samples,
        "quick": [{**row, "samples": before + int(row["samples"])} for row in rows],
        "count": known["count"],
        "rates": known["rates"],
    }


def draw(runs: list[Record], path: Path) -> None:
    """Left, while the runs went on: the mean of four kinds. Right: every kind, after each run."""
    figure = Figure(figsize=(13, 7.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, run in enumerate(runs, start=1):
        _while_running(left, number, run)
    left.set(
        xlabel="samples in all, thousands",
        ylabel="right, mean of recolour, remove, add, background (16 scenes, 12 steps)",
        ylim=(0, 1),
    )
    left.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.12))
    for place, kind in enumerate(KINDS_SHOWN):
        reached = [(run["samples"] / 1000, run["rates"][kind]) for run in runs if kind in run["rates"]]
        right.plot(*zip(*reached, strict=True), marker="o", label=kind, ls="-" if place < 10 else "--")
    right.set(xlabel="samples in all, thousands", ylabel="right (kontext score, 20 steps)", ylim=(0, 1))
    right.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def _while_running(axes: Axes, number: int, run: Record) -> None:
    points = [
        (
            row["samples"] / 1000,
            sum(value for name, value in row.items() if name != "samples") / (len(row) - 1),
        )
        for row in run["quick"]
    ]
    end = run["samples"] / 1000
    axes.axvline(end, color="grey", lw=0.5)
    label = f"{number}: {run['changed']}"
    if points:
        axes.plot(*zip(*points, strict=True), marker=".", label=label)
    else:
        four = [run["rates"][kind] for kind in ("recolour", "remove", "add", "background")]
        axes.plot([end], [sum(four) / 4], marker="o", ls="", label=label)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?", type=Path, help="folder of `kontext train` to add")
    parser.add_argument("--changed", help="what was new in it, in a few words")
    parser.add_argument("--scores", type=Path, help="folder with its scores.json")
    arguments = parser.parse_args()
    record = FOLDER / "runs.json"
    runs: list[Record] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else []
    if arguments.run is not None:
        if not arguments.changed or arguments.scores is None:
            parser.error("a run to add needs --changed and --scores")
        before = runs[-1]["samples"] if runs else 0
        runs.append(added(arguments.run, arguments.changed, arguments.scores, before))
        FOLDER.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    draw(runs, FOLDER / "training_study.png")
    print(f"{len(runs)} runs drawn: {FOLDER / 'training_study.png'}")


if __name__ == "__main__":
    main()
