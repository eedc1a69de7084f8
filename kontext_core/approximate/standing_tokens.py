"""Some tokens stand still for a few steps: the others see only the keys and values that they had at an earlier one."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..attention import KeyWeights, exchanging
from ..transformer import Transformer
from .question import Question, Sequence, Shortcut

FIRST = 0.25  # share of the steps that `region` computes whole before it looks for what changes
REFRESH = 5  # steps of `region` from one whole one to the next

Kept = list[tuple[Tensor, Tensor]]  # keys and values (B, n, H, D) of some tokens, for each block in order


@dataclass(frozen=True, eq=False)
class Standing:
    """Tokens that stand still, among all of the sequence.

    Args: network: whose keys and values were kept. moving, standing: places in the sequence, (n,) each; text comes first
        among the moving ones, and no reference does.
    """

    network: Transformer
    moving: Tensor
    standing: Tensor
    kept: Kept

    def velocity(self, question: Question, target: Tensor) -> Tensor:
        """Of the moving target tokens (B, n, 64), which see the standing ones as they were."""
        prepared, weights = question.prepared, question.prepared.weights
        if weights is not None:
            order = torch.cat([self.moving, self.standing])
            weights = KeyWeights(weights.query[:, self.moving], weights.key[:, order])
        narrowed = replace(
            prepared,
            pe=prepared.pe[:, self.moving],
            references=prepared.references[:, :0],
            weights=weights,
        )
        kept = iter(self.kept)

        def beside(k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            old_k, old_v = next(kept)
            return torch.cat([k, old_k], dim=1), torch.cat([v, old_v], dim=1)

        with exchanging(beside):
            return self.network.velocity(target, narrowed, question.modulation, question.row)


def keeping(question: Question, start: int) -> tuple[Tensor, Kept]:
    """The whole network's answer, and keys and values of all tokens from that place on.

    At the published sizes these are 2.7 GiB for 4096 tokens in bfloat16, see `plan.kept_bytes`.

    Raises: ValueError if they are not to be had, in compiled blocks or on several devices.
    """
    kept: Kept = []

    def keep(k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        kept.append((k[:, start:].clone(), v[:, start:].clone()))
        return k, v

    with exchanging(keep):
        velocity = question.exact()
    if not kept:
        raise ValueError(
            "keys and values of this network cannot be kept, since it is compiled or spread over several devices: choose "
            "another approximation, or none"
        )
    return velocity, kept


def references(every: float, sequence: Sequence) -> Shortcut:
    """References are computed every so many times that the network is asked; between, they show what they did then.

    Not exact for Kontext, whose references are modulated by the noise level and look at the target. Where they do neither
    (arXiv:2411.15098) it is.
    """
    free = sequence.n_txt + sequence.n_target
    last: Standing | None = None
    since = 0

    def ask(question: Question) -> Tensor:
        nonlocal last, since
        since += 1
        if last is not None and last.network is question.network and since < every:
            return last.velocity(question, question.tokens)
        last = None  # or two of them would be held at once
        velocity, kept = keeping(question, free)
        places = torch.arange(free + sequence.n_references, device=question.tokens.device)
        last, since = Standing(question.network, places[:free], places[free:], kept), 0
        return velocity

    return ask


def region(tolerance: float, sequence: Sequence) -> Shortcut:
    """Where the result comes to look as the first reference does, tokens stand still and keep their velocity.

    The first quarter of the steps is whole, then every fifth step and the last one, and each looks anew. A token changes
    where the clean picture that such a step aims at is further than the tolerance from the reference (root mean square
    over 64 numbers, whose deviation is about 1), and so do its neighbours; in a batch, where it does in any picture.

    Source: arXiv:2510.25590, which compares directions.
    """
    last: tuple[Standing, Tensor, Tensor] | None = None  # with all velocities, and which target tokens change
    since = 0

    def ask(question: Question) -> Tensor:
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
            return question.exact()
        last = None  # or two of them would be held at once
        velocity, kept = keeping(question, sequence.n_txt)
        clean = question.tokens - question.sigma * velocity.float()
        changes = changed(clean, sequence, tolerance)
        last, since = (
            (_standing(question.network, sequence, changes, kept), velocity, changes.nonzero()[:, 0]),
            0,
        )
        return velocity

    return ask


def changed(clean: Tensor, sequence: Sequence, tolerance: float) -> Tensor:
    """(n_target,) of bool. Args: clean: (B, n_target, 64)."""
    assert sequence.before is not None, "a region is looked for in a reference"
    far = (clean - sequence.before).square().mean(-1).sqrt().amax(0) > tolerance
    return F.max_pool2d(far.float().view(1, 1, *sequence.size), 3, 1, 1).flatten() > 0


def _standing(network: Transformer, sequence: Sequence, changes: Tensor, kept: Kept) -> Standing:
    """Args: kept: of the target and the references; what moves is taken out of it, block by block."""
    ones = torch.ones(sequence.n_txt, dtype=torch.bool, device=changes.device)
    moves = torch.cat([ones, changes, ones.new_zeros(sequence.n_references)])
    standing = (~moves).nonzero()[:, 0]
    own = standing - sequence.n_txt
    for number, (k, v) in enumerate(kept):
        kept[number] = k[:, own], v[:, own]
    return Standing(network, moves.nonzero()[:, 0], standing, kept)
