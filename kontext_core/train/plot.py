"""Loss and success rates of a run, drawn from its CSV files."""

import csv
import importlib.util
import logging
from pathlib import Path

from ..disk import whole

log = logging.getLogger(__name__)


def plot(folder: Path) -> Path | None:
    """Write plot.png beside log.csv and scores.csv.

    Returns None, and says so, where matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        log.warning("no plot was drawn: matplotlib is not installed (pip install matplotlib)")
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    losses = _columns(folder / "log.csv")
    left.plot(losses["samples"], losses["loss"], alpha=0.3)
    left.plot(losses["samples"], _smooth([min(loss, 1.0) for loss in losses["loss"]]))
    usual = sorted(losses["loss"])[len(losses["loss"]) // 2]
    left.set(xlabel="samples", ylabel="loss", yscale="log", ylim=(usual / 4, usual * 6))
    scores = _columns(folder / "scores.csv")
    for kind in scores:
        if kind not in ("step", "samples"):
            right.plot(scores["samples"], scores[kind], label=kind)
    right.set(xlabel="samples", ylabel="right", ylim=(0, 1))
    if scores:
        right.legend()
    path = folder / "plot.png"
    with whole(path) as (partial,):
        figure.savefig(partial, dpi=110, format="png")
    return path


def _columns(path: Path) -> dict[str, list[float]]:
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]} if rows else {}


def _smooth(values: list[float], weight: float = 0.8) -> list[float]:
    smoothed: list[float] = []
    for value in values:
        smoothed.append(value if not smoothed else weight * smoothed[-1] + (1 - weight) * value)
    return smoothed
