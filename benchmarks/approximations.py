"""What does each way to skip work save on the tiny model, and what does it cost?

    python -m benchmarks.approximations [--count 24] [--steps 20] [--model tiny] [--ways first_block,region]

Single edits of scenes that the scores use, each with the exact picture and, in the same run and one after the
other, with TeaCache, which is shipped (`kontext_core.sampling.step_cache`), with the ways of
`benchmarks.approximate`, which are not, each at several numbers, and with fewer steps in place of any of
them. For each: how many edits are right, the PSNR to the exact picture, how many multiplications of the
blocks are left out (counted), and how many times as fast the denoising is (processor time, one thread).
Printed, and written to benchmarks/results/approximations.json and approximations.png.
"""

import argparse
import json
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from kontext_core.eval.score import SEED
from kontext_core.model.transformer import Transformer
from kontext_core.pipeline import Pipeline
from kontext_core.sampling.schedule import sigmas
from kontext_core.world import draw, psnr, right, sample

from .approximate import added

RESULTS = Path(__file__).parent / "results"
KINDS = ("recolour", "remove", "add", "background")
FEWER = "fewer steps"
WAYS: Mapping[str, tuple[float, ...]] = {
    FEWER: (14, 10, 7, 5),
    "first_block": (0.05, 0.1, 0.15, 0.25),
    "teacache": (0.1, 0.2, 0.3, 0.5),
    "region": (0.02, 0.05, 0.1, 0.3),
    "references": (2, 3, 5, 10),
}
BEST_PSNR = 90.0  # dB; equal pictures would have no end


class Multiplications:
    """Counts those of a transformer's blocks as they are called."""

    def __init__(self, network: Transformer) -> None:
        self.count = 0
        self.tokens = 0  # of a whole sequence
        config = network.config
        self._width, self._mlp = config.hidden_size, config.mlp_hidden_dim
        for block in (*network.double_blocks, *network.single_blocks):
            block.register_forward_pre_hook(self._called, with_kwargs=True)

    def _called(self, _: nn.Module, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        n = sum(part.shape[1] for part in given[:2] if part.dtype.is_floating_point)
        wanted = named.get("wanted", slice(None))
        read = len(range(n)[wanted])
        self.tokens = max(self.tokens, n)
        width = self._width
        self.count += (
            3 * width**2 * n + (width**2 + 2 * width * self._mlp) * read + 2 * width * self.tokens * read
        )


def follow(
    pipeline: Pipeline, counted: Multiplications, kind: str, number: int, steps: int, ways: list[str]
) -> Any:
    """One edit in every way.

    Returns: for each, whether it is right, its PSNR, multiplications and seconds.
    """
    one = sample(kind, random.Random(f"score/{SEED}/{kind}/{number}"))
    text = pipeline.encode_prompt(one.instruction)
    references = [pipeline.encode(_pictures([scene])) for scene in one.references]
    truth = draw([one.target])

    def made(steps: int, approximate: str | None) -> tuple[Tensor, int, float]:
        counted.count = 0
        start = time.thread_time()
        latents = pipeline.sample(text, references, steps=steps, seed=SEED + number, approximate=approximate)
        seconds = time.thread_time() - start
        return pipeline.decode(latents).permute(0, 3, 1, 2), counted.count, seconds

    exact, *whole = made(steps, None)
    found: dict[str, tuple[bool, float, int, float]] = {}
    found["exact"] = (bool(right(exact, truth)), BEST_PSNR, whole[0], whole[1])
    levels = sigmas(steps, references[0].shape[-2] * references[0].shape[-1] // 4)
    for way in ways:
        name, _, number_ = way.partition(":")
        with added(references[0], levels):
            picture, count, seconds = made(int(number_), None) if name == FEWER else made(steps, way)
        near = min(psnr(picture, exact).item(), BEST_PSNR)
        found[way] = (bool(right(picture, truth)), near, count, seconds)
    return found


def _pictures(scenes: list[Any]) -> Tensor:
    return draw(scenes).permute(0, 2, 3, 1)


def summary(edits: list[dict[str, tuple[bool, float, int, float]]]) -> dict[str, dict[str, float]]:
    """Means over the edits, of each way."""
    rows: dict[str, dict[str, float]] = {}
    for way in edits[0]:
        verdicts, near, counts, seconds = zip(*(edit[way] for edit in edits), strict=True)
        whole, slow = (sum(edit["exact"][i] for edit in edits) for i in (2, 3))
        rows[way] = {
            "right": round(sum(verdicts) / len(edits), 3),
            "psnr": round(sum(near) / len(edits), 2),
            "multiplications_saved": round(1 - sum(counts) / whole, 3),
            "times_as_fast": round(slow / sum(seconds), 2),
        }
    return rows


def plot(rows: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Right and PSNR against the speed, a line for each way."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    for axes, key, label in zip(
        figure.subplots(1, 2), ("right", "psnr"), ("right", "PSNR to the exact picture, dB"), strict=True
    ):
        for name in dict.fromkeys(way.partition(":")[0] for way in rows if way != "exact"):
            own = [row for way, row in rows.items() if way.partition(":")[0] == name]
            speeds = [row["times_as_fast"] for row in own]
            style = "k--" if name == FEWER else "-"
            axes.plot(speeds, [row[key] for row in own], style, marker="o", label=name)
        axes.set(xlabel="times as fast", ylabel=label)
        axes.grid(alpha=0.3)
        if key == "right":
            axes.axhline(rows["exact"]["right"], color="grey", linestyle=":", label="exact")
            axes.set_ylim(0, 1)
        axes.legend()
    figure.savefig(path, dpi=110)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=24, help="edits in all (24)")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the JSON and the plot")
    arguments = parser.parse_args(given)
    torch.set_num_threads(1)
    ways = [f"{name}:{number:g}" for name in arguments.ways.split(",") for number in WAYS[name]]
    pipeline = Pipeline.load(arguments.model)
    counted = Multiplications(pipeline.transformer)
    edits = [
        follow(pipeline, counted, KINDS[i % len(KINDS)], i // len(KINDS), arguments.steps, ways)
        for i in range(arguments.count)
    ]
    rows = summary(edits)
    for way, row in rows.items():
        print(
            f"{way:18} right {row['right']:4.0%}  {row['psnr']:5.1f} dB  multiplications left out "
            f"{row['multiplications_saved']:4.0%}  {row['times_as_fast']:.2f} times as fast"
        )
    arguments.output.mkdir(parents=True, exist_ok=True)
    result = {"kinds": KINDS, "count": arguments.count, "steps": arguments.steps, "seed": SEED, "ways": rows}
    written = json.dumps(result, indent=2) + "\n"
    (arguments.output / "approximations.json").write_text(written, encoding="utf-8")
    plot(rows, arguments.output / "approximations.png")


if __name__ == "__main__":
    main()
