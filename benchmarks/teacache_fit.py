"""TeaCache's polynomial, fitted to a model.

    python -m benchmarks.teacache_fit [--count 24] [--steps 28] [--model tiny]

Prints the coefficients, highest power first, that say how much the target's tokens behind all blocks change
from one step to the next, given how much the first block's modulated input does (relative mean absolute
changes, over whole edits of scenes that the scores do not use), and how well they do. For
`kontext_core/sampling/step_cache.py`.
"""

import argparse
import random
from itertools import pairwise

import numpy as np
import torch

from kontext_core.pipeline import Pipeline
from kontext_core.sampling.step_cache import StepInputs, distance, modulated_input
from kontext_core.world import draw, sample

KINDS = ("recolour", "remove", "add", "background", "move", "palette")
DEGREE = 4


@torch.no_grad()
def changes(pipeline: Pipeline, kind: str, number: int, steps: int) -> list[tuple[float, float]]:
    """(of the input, of what the blocks add) at each step but the first of one edit."""
    one = sample(kind, random.Random(f"teacache/{kind}/{number}"))
    network = pipeline.transformer
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    whole = type(network).velocity

    def watched(tokens: torch.Tensor, prepared, modulation, row: int) -> torch.Tensor:
        target = network.img_in(tokens.to(network.dtype))
        question = StepInputs(network, tokens, prepared, modulation, row, row, steps)
        x = network.through_blocks(tokens, prepared, modulation, row)
        seen.append((modulated_input(question, target), x - target))
        return whole(network, tokens, prepared, modulation, row)

    network.velocity = watched
    try:
        references = [pipeline.encode(draw([scene]).permute(0, 2, 3, 1)) for scene in one.references]
        pipeline.sample(pipeline.encode_prompt(one.instruction), references, steps=steps, seed=number)
    finally:
        del network.velocity
    return [(distance(a[0], b[0]), distance(a[1], b[1])) for b, a in pairwise(seen)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=24, help="edits in all (24)")
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--model", default="tiny")
    arguments = parser.parse_args()
    pipeline = Pipeline.load(arguments.model)
    pairs = [
        pair
        for number in range(arguments.count)
        for pair in changes(pipeline, KINDS[number % len(KINDS)], number, arguments.steps)
    ]
    entered, left = np.array(pairs).T
    coefficients = np.polyfit(entered, left, DEGREE)
    explained = 1 - np.var(left - np.polyval(coefficients, entered)) / np.var(left)
    print(f"changes of the input {entered.min():.3f} to {entered.max():.3f}, {len(pairs)} pairs")
    print(f"explained of the variance of the output's: {explained:.0%}")
    print(", ".join(f"{one:.5e}" for one in coefficients))


if __name__ == "__main__":
    main()
