"""How much does a reference's strength change an edit of the tiny model?

    python -m benchmarks.strength [--count 24] [--model tiny]

Whole edits with two references, of which the second is given at strengths from 0 to 2: how far the result is
from that without it (root mean square over R, G, B and pixels, in steps of an 8-bit picture, mean over the
scenes), and how many are right. Printed, and written to benchmarks/results/tiny/strength.json and
strength.png.
"""

import argparse
import json
import random
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from kontext_core.eval.score import SEED, run
from kontext_core.pipeline import Pipeline
from kontext_core.sampling.references import ReferenceLatents
from kontext_core.world import draw, right, sample

RESULTS = Path(__file__).parent / "results" / "tiny"
STRENGTHS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0)
KINDS = ("style", "character")
STEPS = 20


def effects(pipeline: Pipeline, kind: str, count: int) -> dict[str, list[float]]:
    """For each of `STRENGTHS`: the mean distance to the results at the first, and the share that is right."""
    samples = [sample(kind, random.Random(f"score/{SEED}/{kind}/{i}")) for i in range(count)]
    first, second = (
        pipeline.encode(draw([one.references[i] for one in samples]).permute(0, 2, 3, 1)) for i in (0, 1)
    )
    truths = draw([one.target for one in samples])

    def pictures(strength: float) -> Tensor:
        references = [first, ReferenceLatents(second, strength)]
        prompts = [one.instruction for one in samples]
        return run(pipeline, prompts, references, seed=SEED, steps=STEPS)[1]  # pyright: ignore[reportArgumentType]

    made = [pictures(strength) for strength in STRENGTHS]
    return {
        "effect": [(255 * (one - made[0]).square().flatten(1).mean(1).sqrt()).mean().item() for one in made],
        "right": [right(one, truths).float().mean().item() for one in made],
    }


def plot(found: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Effect and success against strength."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, name, label in zip(
        figure.subplots(1, 2),
        ("effect", "right"),
        ("RMS distance to the result without it, of 255", "right"),
        strict=True,
    ):
        for kind, values in found.items():
            axes.plot(STRENGTHS, values[name], marker="o", label=kind)
        axes.set(xlabel="strength of the second reference", ylabel=label)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=24, help="scenes of each kind (24)")
    parser.add_argument("--model", default="tiny")
    arguments = parser.parse_args()
    pipeline = Pipeline.load(arguments.model)
    found = {kind: effects(pipeline, kind, arguments.count) for kind in KINDS}
    for kind, values in found.items():
        for strength, effect, rate in zip(STRENGTHS, values["effect"], values["right"], strict=True):
            print(f"{kind:10} strength {strength:4.2f}  effect {effect:5.1f}  right {rate:4.0%}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    result = {"steps": STEPS, "count": arguments.count, "seed": SEED, "strengths": STRENGTHS, "kinds": found}
    (RESULTS / "strength.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    plot(found, RESULTS / "strength.png")


if __name__ == "__main__":
    main()
