"""Batches for the flow: scenes are drawn, encoded once, and noised several times."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.text import TextEncoders
from ..model.vae import VAE
from ..world.draw import draw
from ..world.edits import KINDS, sample
from ..world.labels import cell_labels


@dataclass(frozen=True)
class Batch:
    """Latents (B, 1 + n_references, 16, h, w), the target first, their cells' labels, and encoded words.

    Labels are (B, 1 + n_references, 16, fields); `txt` (B, L, T5 width) and `pooled` (B, CLIP width) are of
    the instructions.
    """

    latents: Tensor
    labels: Tensor
    txt: Tensor
    pooled: Tensor

    def __len__(self) -> int:
        return self.latents.shape[0]


def groups(mix: Mapping[str, float]) -> dict[int, list[str]]:
    """Kinds of the mix by their number of references, since a batch holds one number only.

    Raises: ValueError if the mix names an unknown kind.
    """
    unknown = [kind for kind in mix if kind not in KINDS]
    if unknown:
        raise ValueError(f"unknown kinds in the mix: {', '.join(unknown)}; known are {', '.join(KINDS)}")
    by_count: dict[int, list[str]] = {}
    for kind in mix:
        if mix[kind] > 0:
            by_count.setdefault(len(sample(kind, random.Random(0)).references), []).append(kind)
    return by_count


class Pool:
    """Encoded samples by number of references. Each is used about `reuse` times, every time with other noise.

    Drawing and encoding cost a tenth of a training step; with reuse 1 nothing is kept.
    """

    def __init__(
        self, vae: VAE, text: TextEncoders, mix: Mapping[str, float], *, size: int, reuse: int, device: str
    ) -> None:
        self.vae, self.text, self.mix, self.size, self.reuse, self.device = (
            vae,
            text,
            mix,
            size,
            reuse,
            device,
        )
        self.groups = groups(mix)
        self.kept: dict[int, list[Batch]] = {n: [] for n in self.groups}

    def batch(self, rng: random.Random, tokens: int, tokens_per_picture: int) -> Batch:
        """A batch of one number of references, as many samples as fit into `tokens`."""
        counts = list(self.groups)
        n = rng.choices(counts, [sum(self.mix[kind] for kind in self.groups[c]) for c in counts])[0]
        n_samples = max(tokens // (self.text.text_length + (1 + n) * tokens_per_picture), self.reuse)
        fresh = self._draw(rng, self.groups[n], -(-n_samples // self.reuse))
        if self.reuse == 1:
            return fresh
        kept = self.kept[n]
        kept.append(fresh)
        if len(kept) * len(fresh) > self.size:
            kept.pop(rng.randrange(len(kept) // 2))
        return _join([fresh, *(rng.choice(kept) for _ in range(self.reuse - 1))])

    @torch.no_grad()
    def _draw(self, rng: random.Random, kinds: list[str], count: int) -> Batch:
        drawn = [
            sample(kind, rng) for kind in rng.choices(kinds, [self.mix[kind] for kind in kinds], k=count)
        ]
        scenes = [scene for example in drawn for scene in (example.target, *example.references)]
        latents = self.vae.encode(draw(scenes, self.device) * 2 - 1)
        ids = self.text.tokenize([example.instruction for example in drawn])
        txt, pooled = self.text.embed(*(part.to(self.device) for part in ids))
        labels = cell_labels(scenes).to(self.device)
        return Batch(latents.unflatten(0, (count, -1)), labels.unflatten(0, (count, -1)), txt, pooled)


def _join(parts: list[Batch]) -> Batch:
    return Batch(
        torch.cat([part.latents for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat([part.txt for part in parts]),
        torch.cat([part.pooled for part in parts]),
    )
