"""Some tokens stand still for a few steps: the others see only the keys and values that
they had at an earlier one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kontext_core.model.attention import exchanging
from kontext_core.model.latents import pack
from kontext_core.model.transformer import Transformer
from kontext_core.sampling.step_cache import CachedStep, StepInputs

FIRST = 0.25  # share of the steps that `Region` computes whole before it looks for what changes
REFRESH = 5  # steps of `Region` from one whole one to the next

Kept = list[tuple[Tensor, Tensor]]  # keys and values (B, n, H, D) of some tokens, for each block in order


@dataclass(frozen=True, eq=False)
class Standing:
    """Tokens that stand still, among all of the sequence.

    Args:
        network: whose keys and values were kept.
        moving: places in the sequence, (n,) each; text comes first among the moving ones, and no reference
            does.
        standing: likewise.
    """

    network: Transformer
    moving: Tensor
    standing: Tensor
    kept: Kept

    def velocity(self, question: StepInputs, target: Tensor) -> Tensor:
        """Of the moving target tokens (B, n, 64), which see the standing ones as they were."""
        prepared = question.prepared
        narrowed = replace(prepared, pe=prepared.pe[:, self.moving], references=prepared.references[:, :0])
        kept = iter(self.kept)

        def beside(k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            old_k, old_v = next(kept)
            return torch.cat([k, old_k], dim=1), torch.cat([v, old_v], dim=1)

        with exchanging(beside):
            return self.network.velocity(target, narrowed, question.modulation, question.row)


def keeping(question: StepInputs, start: int) -> tuple[Tensor, Kept]:
    """The whole network's answer, and keys and values of all tokens from that place on."""
    kept: Kept = []

    def keep(k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        kept.append((k[:, start:].clone(), v[:, start:].clone()))
        return k, v

    with exchanging(keep):
        return _whole(question), kept


def references(every: float) -> CachedStep:
    """References are computed every so many times that the network is asked; between,
    they show what they did then.

    Not exact for Kontext, whose references are modulated by the noise level and look at the target. Where
    they do neither (arXiv:2411.15098) it is.
    """
    last: Standing | None = None
    since = 0

    def ask(question: StepInputs) -> Tensor:
        nonlocal last, since
        since += 1
        if last is not None and last.network is question.network and since < every:
            return last.velocity(question, question.tokens)
        free = question.prepared.txt.shape[1] + question.tokens.shape[1]
        velocity, kept = keeping(question, free)
        places = torch.arange(free + question.prepared.references.shape[1])
        last, since = Standing(question.network, places[:free], places[free:], kept), 0
        return velocity

    return ask


@dataclass(frozen=True, eq=False)
class Region:
    """Where the result comes to look as the picture before does, tokens stand still and keep their velocity.

    The first quarter of the steps is whole, then every fifth step and the last one, and each looks anew. A
    token changes where the clean picture that such a step aims at is further than the tolerance from the one
    before (root mean square over 64 numbers, whose deviation is about 1), and so do its neighbours; in a
    batch, where it does in any picture.

    Args:
        before: latents (1, 16, h, w), of the target's size.
        levels: noise levels of the edit.
    Source: arXiv:2510.25590, which compares directions.
    """

    before: Tensor
    levels: Sequence[float]

    def begin(self, tolerance: float) -> CachedStep:
        last: tuple[Standing, Tensor, Tensor] | None = (
            None  # with all velocities, and which target tokens change
        )
        since = 0

        def ask(question: StepInputs) -> Tensor:
            nonlocal last, since
            since += 1
            stands = since < REFRESH and question.step < question.steps - 1
            if last is not None and last[0].network is question.network and stands:
                standing, velocity, changing = last
                if len(changing):
                    moved = standing.velocity(question, question.tokens[:, changing])
                    velocity = velocity.index_copy(1, changing, moved)
                return velocity
            if question.step + 1 < math.ceil(FIRST * question.steps):
                return _whole(question)
            velocity, kept = keeping(question, question.prepared.txt.shape[1])
            clean = question.tokens - self.levels[question.step] * velocity.float()
            changes = self.changed(clean, tolerance)
            last, since = (_standing(question, changes, kept), velocity, changes.nonzero()[:, 0]), 0
            return velocity

        return ask

    def changed(self, clean: Tensor, tolerance: float) -> Tensor:
        """(n_target,) of bool.

        Args:
            clean: (B, n_target, 64).
        """
        height, width = (side // 2 for side in self.before.shape[-2:])
        far = (clean - pack(self.before)).square().mean(-1).sqrt().amax(0) > tolerance
        return F.max_pool2d(far.float().view(1, 1, height, width), 3, 1, 1).flatten() > 0


def _whole(question: StepInputs) -> Tensor:
    return question.network.velocity(question.tokens, question.prepared, question.modulation, question.row)


def _standing(question: StepInputs, changes: Tensor, kept: Kept) -> Standing:
    """Args: kept: of the target and the references; what moves is taken out of it, block by block."""
    n_txt, n_references = question.prepared.txt.shape[1], question.prepared.references.shape[1]
    ones = torch.ones(n_txt, dtype=torch.bool)
    moves = torch.cat([ones, changes, ones.new_zeros(n_references)])
    standing = (~moves).nonzero()[:, 0]
    own = standing - n_txt
    return Standing(
        question.network, moves.nonzero()[:, 0], standing, [(k[:, own], v[:, own]) for k, v in kept]
    )
