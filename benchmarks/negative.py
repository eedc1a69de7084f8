"""Does a negative prompt keep away what it names, and what does it cost?

    python -m benchmarks.negative [--count 200] [--closed 96] [--model tiny]

The tiny model's English leaves little open, so the first tasks leave out what the picture stands on: things
at their places, and as a negative one of the grounds that then come most often. Counted are the pictures
whose ground is the one that is named (within a tolerance), and those that show one even ground at all. The
closed kinds have nothing left to steer: edits and pictures from words, with a ground as a negative that
neither the instruction nor the picture has; counted are the right ones. Each with none, with NAG at several
scales in the steps it acts on and in all of them, and with classifier-free guidance in all steps and in the
first ones. Printed with intervals and with what each costs, and written to
benchmarks/results/tiny/negative.json.
"""

import argparse
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kontext_core.eval.intervals import rate_text, wilson
from kontext_core.model.latents import noise
from kontext_core.pipeline import Pipeline
from kontext_core.sampling import nag
from kontext_core.sampling.denoise import denoise
from kontext_core.sampling.schedule import sigmas
from kontext_core.world import Sample, Scene, draw, right, sample
from kontext_core.world.language import listing
from kontext_core.world.scenes import BACKGROUNDS
from kontext_core.world.single import random_scene

RESULTS = Path(__file__).parent / "results" / "tiny"
SEED, STEPS, BATCH = 12_000_000, 8, 25
NEGATIVES = ("snow", "sand")  # what comes most often where no ground is named
CLOSED = ("remove", "recolour", "background", "text_to_image")
GROUNDS = tuple(BACKGROUNDS)
SAME = 0.1  # root mean square, as the median over the pixels: two grounds lie 0.23 apart or more


@dataclass(frozen=True)
class Way:
    """How a negative prompt acts.

    Args:
        name: as printed.
        options: of `denoise`.
        share: of the steps that NAG acts on.
    """

    name: str
    options: dict[str, float]
    share: float = nag.SHARE


WAYS = (
    Way("none", {}),
    *(Way(f"nag {scale}", {"nag_scale": scale}) for scale in (3, 4, 5, 9)),
    Way("nag 5, all steps", {"nag_scale": 5}, 1.0),
    Way("cfg 2", {"cfg_scale": 2}),
    *(Way(f"cfg 2, to {share}", {"cfg_scale": 2, "cfg_to": share}) for share in (0.5, 0.25)),
)


@torch.no_grad()
def pictures(
    pipeline: Pipeline,
    prompts: Sequence[str],
    negatives: Sequence[str],
    way: Way,
    scenes: Sequence[Sample] = (),
) -> Tensor:
    """Pictures (N, 3, H, W) in [0, 1], in batches.

    Args:
        scenes: whose references are shown; none: from words.
    """
    config = pipeline.transformer.config
    height, width = config.preferred_sizes[0]
    parts: list[Tensor] = []
    nag.SHARE = way.share
    for start in range(0, len(prompts), BATCH):
        part = slice(start, start + BATCH)
        texts, others = (
            [torch.cat(both) for both in zip(*map(pipeline.text.encode, words[part]), strict=True)]
            for words in (prompts, negatives)
        )
        shown = zip(*(task.references for task in scenes[part]), strict=True)
        latents = denoise(
            pipeline.transformer,
            noise(len(prompts[part]), height // 8, width // 8, SEED + start),
            *texts,
            sigmas(STEPS, height * width // 256),
            references=[pipeline.encode(draw(column).permute(0, 2, 3, 1)) for column in shown],
            layout=config.layout,
            negative=(others[0], others[1]),
            **way.options,
        )
        parts.append(pipeline.decode(latents).permute(0, 3, 1, 2))
    return torch.cat(parts)


def grounds(images: Tensor) -> list[str | None]:
    """The ground of each picture; None where it is none of the world's, or a mixture."""
    known = draw([Scene(name) for name in GROUNDS])
    distances = (images[:, None] - known).square().mean(2).flatten(2).median(-1).values.sqrt()
    least, index = distances.min(1)
    return [GROUNDS[i] if near < SAME else None for i, near in zip(index, least.tolist(), strict=True)]


def unrelated(task: Sample, number: int) -> str:
    """A ground that neither the references nor the result have."""
    seen = {scene.background for scene in (*task.references, task.target)}
    others = [name for name in GROUNDS if name not in seen]
    return others[number % len(others)]


def tell(what: str, way: Way, hits: int, count: int) -> dict[str, Any]:
    """Print one rate; return it as the file of results holds it."""
    print(f"{what:28} {way.name:18} {rate_text(hits, count)}", flush=True)
    return {"count": hits, "of": count, "interval": [round(end, 4) for end in wilson(hits, count)]}


def measure_open(pipeline: Pipeline, count: int) -> dict[str, Any]:
    """How often what the negative names appears, by negative and way."""
    rng = random.Random(f"negative/{SEED}")
    scenes = [replace(random_scene(rng, most=2, word=False, plain=True), style="solid") for _ in range(count)]
    prompts = [listing(rng, scene.things) for scene in scenes]
    results: dict[str, Any] = {}
    for negative in NEGATIVES:
        rows = results[negative] = {}
        for way in WAYS:
            seen = grounds(pictures(pipeline, prompts, [negative] * count, way))
            rows[way.name] = {
                "appears": tell(f"{negative} appears", way, seen.count(negative), count),
                "even": tell(f"{negative}: one even ground", way, count - seen.count(None), count),
            }
    return results


def measure_closed(pipeline: Pipeline, count: int) -> dict[str, Any]:
    """How many are right, by kind and way."""
    results: dict[str, Any] = {kind: {} for kind in (*CLOSED, "all")}
    for way in WAYS:
        total = 0
        for kind in CLOSED:
            tasks = [sample(kind, random.Random(f"negative/{SEED}/{kind}/{i}")) for i in range(count)]
            negatives = [unrelated(task, number) for number, task in enumerate(tasks)]
            images = pictures(pipeline, [task.instruction for task in tasks], negatives, way, tasks)
            hits = int(right(images, draw([task.target for task in tasks])).sum())
            results[kind][way.name] = tell(kind, way, hits, count)
            total += hits
        results["all"][way.name] = tell("closed kinds", way, total, count * len(CLOSED))
    return results


def measure_price(pipeline: Pipeline) -> dict[str, float]:
    """The time of each way as a multiple of that without; the quickest of three of each, in turn."""
    seconds: dict[str, list[float]] = {way.name: [] for way in WAYS}
    for _ in range(3):
        for way in WAYS:
            begin = time.perf_counter()
            pictures(pipeline, ["a red circle at row 2 column 3"] * BATCH, ["snow"] * BATCH, way)
            seconds[way.name].append(time.perf_counter() - begin)
    return {name: round(min(times) / min(seconds["none"]), 2) for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200, help="pictures of each open task (200)")
    parser.add_argument("--closed", type=int, default=96, help="edits of each closed kind (96)")
    parser.add_argument("--model", default="tiny")
    arguments = parser.parse_args()
    pipeline = Pipeline.load(arguments.model)
    setup = {"count": arguments.count, "closed": arguments.closed, "steps": STEPS, "seed": SEED}
    results = {
        "setup": setup,
        "open": measure_open(pipeline, arguments.count),
        "closed": measure_closed(pipeline, arguments.closed),
        "price": measure_price(pipeline),
    }
    print("times the cost:", results["price"])
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "negative.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
