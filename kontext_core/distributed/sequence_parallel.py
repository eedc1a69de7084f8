"""A transformer whose tokens are shared out over several devices, each of which holds all weights.

Every device runs the model's own code on its share of text, target and references. The one thing that a token
wants of the others is their keys and values: they are gathered once a block, where `attention` asks for them.
So the number of devices need not divide heads or tokens, and what is computed is the same but for the order
of a sum.

Rank 0 runs the edit, with text encoders, autoencoder, noise and loop, and does not see that others help: what
it asks of the network is told to them. They follow, and hold a transformer alone.
Source: arXiv:2105.13120 (sequence parallelism), keys and values gathered in place of sent around.
"""

import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor

from ..model.attention import KeyWeights, exchanging
from ..model.model_lock import share_lock
from ..model.transformer import ModulationTable, PreparedInputs, Transformer
from .ranks import LostRankError, Ranks
from .token_shards import TokenShards

if TYPE_CHECKING:
    from ..pipeline import Pipeline

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, kw_only=True)
class SharedPrepared(PreparedInputs):
    """What stays constant over an edit, for the tokens of this rank."""

    shares: TokenShards


class Leader:
    """Rank 0's side: tells the others what is asked, and what of the past nobody will ask for any more."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self._numbers: dict[int, int] = {}  # of what has been asked for, by identity
        self._next = 0
        self._forget: list[int] = []

    def ask(self, what: str, tensors: Sequence[Tensor | None], **message: Any) -> None:
        forget, self._forget = self._forget[:100], self._forget[100:]
        self.ranks.broadcast({"ask": what, "forget": forget, **message}, tensors)

    def end(self) -> None:
        self.ask("end", [])

    def promise(self) -> int:
        """The number of the next answer that is kept."""
        self._next += 1
        return self._next

    def keep(self, answer: object, number: int) -> None:
        """The others keep theirs for as long as this one lives."""
        identity = id(answer)
        self._numbers[identity] = number

        def gone() -> None:
            self._forget.append(self._numbers.pop(identity))

        weakref.finalize(answer, gone).atexit = False

    def number(self, answer: object) -> int:
        return self._numbers[id(answer)]


class SequenceParallelTransformer(Transformer):
    """A transformer's modules, computing for this rank's tokens with the keys and values of all.

    Args:
        number: of this network among those of the model.
        leader: on rank 0 only.
    """

    def __init__(self, transformer: Transformer, ranks: Ranks, number: int, leader: Leader | None) -> None:
        vars(self).update(vars(transformer))  # all that it has, and nothing of its own
        share_lock(self, transformer)
        self.ranks, self.number, self.leader = ranks, number, leader
        self._asked = False  # by `velocity`

    @torch.no_grad()
    def prepare(
        self,
        txt: Tensor,
        txt_ids: Tensor,
        img_ids: Tensor,
        references: Tensor,
        weights: KeyWeights | None = None,
    ) -> SharedPrepared:
        n_target = img_ids.shape[1] - references.shape[1]
        shares = TokenShards(txt.shape[1], n_target, references.shape[1], self.ranks.count)
        keys = (None, None) if weights is None else (weights.query, weights.key)
        return self._kept(
            "prepare",
            [txt, txt_ids, img_ids, references, *keys],
            lambda: self._share(shares, txt, txt_ids, img_ids, references, weights),
        )

    @torch.no_grad()
    def modulation(
        self, timesteps: Tensor, pooled: Tensor, guidance: Tensor | None = None
    ) -> ModulationTable:
        whole = super().modulation
        return self._kept(
            "modulation", [timesteps, pooled, guidance], lambda: whole(timesteps, pooled, guidance)
        )

    def through_blocks(
        self, tokens: Tensor, prepared: PreparedInputs, modulation: ModulationTable, step: int
    ) -> Tensor:
        if not self._asked:
            raise ValueError(
                "a network that is spread over several devices computes whole steps only: leave "
                "approximations off"
            )
        return super().through_blocks(tokens, prepared, modulation, step)

    @torch.no_grad()
    def velocity(
        self, tokens: Tensor, prepared: PreparedInputs, modulation: ModulationTable, step: int
    ) -> Tensor:
        if not isinstance(prepared, SharedPrepared):
            raise ValueError(
                "this network is spread over several devices and was given what another prepared"
            )
        if self.leader is not None:
            numbers = [self.leader.number(value) for value in (prepared, modulation)]
            self.leader.ask("velocity", [tokens], network=self.number, of=numbers, step=step)
        shares = prepared.shares
        lengths = shares.lengths

        def exchange(k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            k, v = self.ranks.gather([k, v], lengths)
            return k, v

        own = tokens[:, shares.parts(self.ranks.rank)[1]]
        self._asked = True
        try:
            with exchanging(exchange):
                velocity = super().velocity(own, prepared, modulation, step)
        finally:
            self._asked = False
        return self.ranks.gather([velocity], shares.targets)[0]

    def _share(
        self,
        shares: TokenShards,
        txt: Tensor,
        txt_ids: Tensor,
        img_ids: Tensor,
        references: Tensor,
        weights: KeyWeights | None,
    ) -> SharedPrepared:
        own_txt, own_target, own_references = shares.parts(self.ranks.rank)
        ids = [img_ids[:, : shares.n_target][:, own_target], img_ids[:, shares.n_target :][:, own_references]]
        prepared = super().prepare(
            txt[:, own_txt],
            txt_ids[:, own_txt],
            torch.cat(ids, dim=1),
            references[:, own_references],
            weights and shares.weights_of(self.ranks.rank, weights),
        )
        return SharedPrepared(**vars(prepared), shares=shares)

    def _kept(self, what: str, tensors: Sequence[Tensor | None], answer: Callable[[], _Answer]) -> _Answer:
        """What is computed here, after the others were told to do so and to keep theirs."""
        if self.leader is None:
            return answer()
        number = self.leader.promise()
        self.leader.ask(what, tensors, network=self.number, number=number)
        result = answer()
        self.leader.keep(result, number)
        return result


@contextmanager
def sequence_parallel(pipeline: "Pipeline", ranks: Ranks) -> Generator["Pipeline"]:
    """On rank 0: the same model, of which all ranks compute the velocity. Leaving it ends the others."""
    leader = Leader(ranks)
    others: dict[Transformer, Transformer] = {
        network: SequenceParallelTransformer(network, ranks, number, leader)
        for number, network in enumerate(pipeline.networks)
    }
    parallel = pipeline.with_networks(others)
    ranks.barrier()
    try:
        yield parallel
    except LostRankError:
        raise
    except BaseException:
        leader.end()
        raise
    leader.end()


@torch.no_grad()
def worker_loop(networks: Sequence[Transformer], ranks: Ranks) -> None:
    """Compute what rank 0 asks, until it has nothing more to ask.

    Args:
        networks: as rank 0 has them, in order.
    """
    ranks.barrier()
    spreads = [
        SequenceParallelTransformer(network, ranks, number, None) for number, network in enumerate(networks)
    ]
    results: dict[int, Any] = {}
    while True:
        message, tensors = ranks.receive()
        if message["ask"] == "end":
            return
        for number in message["forget"]:
            del results[number]
        network, inputs = spreads[message["network"]], cast("list[Any]", tensors)
        if message["ask"] == "velocity":
            network.velocity(*inputs, *(results[number] for number in message["of"]), message["step"])
        elif message["ask"] == "modulation":
            results[message["number"]] = network.modulation(*inputs)
        else:
            *parts, query, key = inputs
            weights = None if query is None else KeyWeights(query, key)
            results[message["number"]] = network.prepare(*parts, weights)
