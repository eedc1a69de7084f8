"""Success rates by kind of edit, and over chains of turns, on scenes never trained on."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from ..model.latents import noise
from ..pipeline import Pipeline
from ..sampling.denoise import denoise
from ..sampling.schedule import sigmas
from ..world import Chain, Sample, Scene, draw, psnr, right, sample, sample_chain, untouched_cells

BATCH = 25
SEED = 1_000_000  # far from the trainer's
QUICK_KINDS = ("recolour", "remove", "add", "background")

Report = Callable[[str], None]
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Outcome:
    """Outputs and truths of one kind, (N, 3, H, W) in [0, 1], and which outputs are right (N,).

    Args:
        kept: which truths are still right when they have been through the autoencoder (N,): what no edit can
            beat.
    """

    samples: list[Sample]
    outputs: Tensor
    truths: Tensor
    right: Tensor
    kept: Tensor

    @property
    def rate(self) -> float:
        return self.right.float().mean().item()

    @property
    def count_right(self) -> int:
        return int(self.right.sum())

    @property
    def ceiling(self) -> float:
        return self.kept.float().mean().item()

    @property
    def flags(self) -> str:
        """Each sample's verdict in order, 1 for right: "0110"."""
        return "".join(str(int(verdict)) for verdict in self.right)


@dataclass(frozen=True)
class ChainOutcome:
    """Chains of edits.

    Args:
        count: how many there were.
        right: how many of them are right in every turn up to each.
        psnr: of cells no turn touched, in dB.
    """

    count: int
    right: list[int]
    psnr: float

    @property
    def rates(self) -> list[float]:
        """The shares that are right up to each turn."""
        return [right / self.count for right in self.right]


def score_kind(
    pipeline: Pipeline, kind: str, count: int, *, steps: int = 20, layout: str | None = None
) -> Outcome:
    """Run `count` fresh samples of one kind of edit."""
    samples = [sample(kind, random.Random(f"score/{SEED}/{kind}/{i}")) for i in range(count)]
    outputs = torch.cat(
        [
            run(
                pipeline,
                [example.instruction for example in part],
                [
                    _encoded(pipeline, [example.references[i] for example in part])
                    for i in range(len(part[0].references))
                ],
                seed=SEED + start,
                steps=steps,
                layout=layout,
            )[1]
            for start, part in _parts(samples)
        ]
    )
    truths = draw([example.target for example in samples])
    return Outcome(
        samples, outputs, truths, right(outputs, truths), right(_through(pipeline, truths), truths)
    )


def score_chains(
    pipeline: Pipeline, count: int, turns: int = 5, *, steps: int = 20, carry_latents: bool = True
) -> ChainOutcome:
    """Chains of edits, each turn on the last one's result.

    Args:
        carry_latents: hand latents from turn to turn; else cross the autoencoder between turns.
    """
    chains = [sample_chain(random.Random(f"chain/{SEED}/{i}"), turns) for i in range(count)]
    still_right = torch.ones(count, dtype=torch.bool)
    counts: list[int] = []
    starts = [chain.start for chain in chains]
    current = _encoded(pipeline, starts)
    images = draw(starts)
    for turn in range(turns):
        latents: list[Tensor] = []
        pictures: list[Tensor] = []
        for start, part in _parts(chains):
            prompts = [chain.turns[turn].instruction for chain in part]
            out, image = run(
                pipeline,
                prompts,
                [current[start : start + len(part)]],
                seed=SEED + 1000 * turn + start,
                steps=steps,
            )
            latents.append(out)
            pictures.append(image)
        images = torch.cat(pictures)
        current = torch.cat(latents) if carry_latents else _encode(pipeline, (images * 255).round() / 255)
        still_right &= right(images, draw([chain.turns[turn].truth for chain in chains]))
        counts.append(int(still_right.sum()))
    return ChainOutcome(count, counts, _untouched_psnr(chains, images))


def quick_rates(pipeline: Pipeline, count: int = 16, steps: int = 12) -> dict[str, float]:
    """Success rates of the four simplest kinds on a few scenes, cheap enough to take during training."""
    return {kind: score_kind(pipeline, kind, count, steps=steps).rate for kind in QUICK_KINDS}


@torch.no_grad()
def run(
    pipeline: Pipeline,
    prompts: Sequence[str],
    references: Sequence[Tensor],
    *,
    seed: int,
    steps: int,
    layout: str | None = None,
) -> tuple[Tensor, Tensor]:
    """One batch, one prompt each. Returns latents and pictures (B, 3, H, W) in [0, 1]."""
    config = pipeline.transformer.config
    height, width = config.preferred_sizes[0]
    encoded = [pipeline.text.encode(prompt) for prompt in prompts]
    latents = denoise(
        pipeline.transformer,
        noise(len(prompts), height // 8, width // 8, seed),
        torch.cat([txt for txt, _ in encoded]),
        torch.cat([pooled for _, pooled in encoded]),
        sigmas(steps, height * width // 256),
        references=references,
        layout=layout or config.layout,
    )
    return latents, pipeline.decode(latents).permute(0, 3, 1, 2)


def _parts(items: Sequence[_Item]) -> list[tuple[int, Sequence[_Item]]]:
    return [(start, items[start : start + BATCH]) for start in range(0, len(items), BATCH)]


def _encoded(pipeline: Pipeline, scenes: Sequence[Scene]) -> Tensor:
    return _encode(pipeline, draw(scenes))


def _encode(pipeline: Pipeline, images: Tensor) -> Tensor:
    return torch.cat([pipeline.encode(part.permute(0, 2, 3, 1)) for part in images.split(BATCH)])


def _through(pipeline: Pipeline, images: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1] through the autoencoder and back."""
    parts = _encode(pipeline, images).split(BATCH)
    return torch.cat([pipeline.decode(part).permute(0, 3, 1, 2) for part in parts])


def _untouched_psnr(chains: list[Chain], images: Tensor) -> float:
    starts = draw([chain.start for chain in chains])
    masks = torch.stack([untouched_cells(chain) for chain in chains])
    kept = masks.flatten(1).any(1)
    return psnr(images[kept], starts[kept], masks[kept]).mean().item()
