"""What helps a chain of edits against drift?

    python -m benchmarks.drift [--count 24] [--turns 5] [--model tiny]

Chains on scenes never trained on, once for each way to make their turns: plain, the first picture riding
along (`anchor`), slow changes of colour taken back (`align`), one noise for all turns in place of fresh
noise, and pictures carried in place of latents. For each: the share of chains right up to each turn, with its
interval, and the PSNR of the cells that no turn was to change, after the last one. Printed, and written to
benchmarks/results/tiny/drift.json and drift.png.
"""

import argparse
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from kontext_core.chain import Chain
from kontext_core.eval.intervals import rate_text, rounded
from kontext_core.pipeline import Pipeline
from kontext_core.world import draw, psnr, right, sample_chain, untouched_cells

RESULTS = Path(__file__).parent / "results" / "tiny"
SEED, STEPS = 3_000_000, 20
WAYS: Mapping[str, Mapping[str, bool]] = {
    "plain": {},
    "anchor": {"anchor": True},
    "align": {"align": True},
    "one noise": {"one_noise": True},
    "pictures carried": {"pictures": True},
    "pictures carried, align": {"pictures": True, "align": True},
}


def follow(
    pipeline: Pipeline, number: int, turns: int, way: Mapping[str, bool]
) -> tuple[list[bool], float | None]:
    """One chain: whether each turn's picture is right, and the PSNR of what no turn was to change."""
    world = sample_chain(random.Random(f"drift/{SEED}/{number}"), turns)
    chain = Chain.start(pipeline, _pictures(draw([world.start])))
    verdicts: list[bool] = []
    for turn, wanted in enumerate(world.turns):
        if way.get("pictures"):
            chain = Chain((*chain.turns[:-1], *_through_picture(pipeline, chain).turns))
        chain = chain.edit(
            pipeline,
            wanted.instruction,
            seed=SEED + number * 100 + (0 if way.get("one_noise") else turn),
            steps=STEPS,
            anchor=way.get("anchor", False),
            align=way.get("align", False),
        )
        shown = chain.last.image.permute(0, 3, 1, 2)
        verdicts.append(bool(right(shown, draw([wanted.truth]))))
    cells = untouched_cells(world)
    if not bool(cells.any()):
        return verdicts, None
    return verdicts, psnr(chain.last.image.permute(0, 3, 1, 2), draw([world.start]), cells[None]).item()


def _pictures(drawn: Tensor) -> Tensor:
    return (drawn * 255).round().permute(0, 2, 3, 1).contiguous() / 255


def _through_picture(pipeline: Pipeline, chain: Chain) -> Chain:
    """The last picture, saved with 8 bits and encoded anew."""
    return Chain.start(pipeline, (chain.last.image * 255).round() / 255)


def measure(pipeline: Pipeline, count: int, turns: int) -> dict[str, dict[str, Any]]:
    """All ways, each on the same chains."""
    found: dict[str, dict[str, Any]] = {}
    for name, way in WAYS.items():
        made = [follow(pipeline, number, turns, way) for number in range(count)]
        still = torch.tensor([verdicts for verdicts, _ in made]).cumprod(dim=1).sum(dim=0).tolist()
        kept = [value for _, value in made if value is not None]
        found[name] = {
            "right_up_to_turn": [round(right / count, 4) for right in still],
            "intervals": rounded(still, count),
            "untouched_psnr": round(sum(kept) / len(kept), 2),
        }
        rates = ", ".join(rate_text(right, count) for right in still)
        print(f"{name:24} right up to each turn {rates}; untouched {found[name]['untouched_psnr']:.1f} dB")
    return found


def plot(found: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Share right up to each turn, a line for each way."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, one in found.items():
        rates = one["right_up_to_turn"]
        axes.plot(
            range(1, len(rates) + 1), rates, marker="o", label=f"{name} ({one['untouched_psnr']:.1f} dB)"
        )
    axes.set(xlabel="turn", ylabel="right up to this turn", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=24, help="chains (24)")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--model", default="tiny")
    arguments = parser.parse_args()
    found = measure(Pipeline.load(arguments.model), arguments.count, arguments.turns)
    RESULTS.mkdir(parents=True, exist_ok=True)
    result = {"count": arguments.count, "turns": arguments.turns, "steps": STEPS, "seed": SEED, "ways": found}
    (RESULTS / "drift.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    plot(found, RESULTS / "drift.png")


if __name__ == "__main__":
    main()
