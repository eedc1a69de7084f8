"""Which tokens of the sequence each rank has.

Text, target and references are each cut into runs of as equal length as can be, so that all ranks have as
much to do in every block, in the last one too, where only the target is wanted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.attention import KeyWeights


def share(length: int, rank: int, ranks: int) -> slice:
    """The run of `length` tokens that a rank has."""
    return slice(length * rank // ranks, length * (rank + 1) // ranks)


@dataclass(frozen=True)
class TokenShards:
    """The sequence [txt | target | references] over some ranks.

    Args:
        n_txt: tokens of text.
        n_target: of the target.
        n_references: of all references.
        ranks: that share them.
    Raises: ValueError if a rank would have no text or no target.
    """

    n_txt: int
    n_target: int
    n_references: int
    ranks: int

    def __post_init__(self) -> None:
        if min(self.n_txt, self.n_target) < self.ranks:
            raise ValueError(
                f"{self.n_txt} tokens of text and {self.n_target} of the picture cannot be shared by "
                f"{self.ranks} devices: use fewer devices, or make a larger picture"
            )

    @property
    def targets(self) -> list[int]:
        """How many tokens of the target each rank has."""
        return [_length(share(self.n_target, rank, self.ranks)) for rank in range(self.ranks)]

    @property
    def lengths(self) -> list[int]:
        """How many tokens each rank has in all."""
        return [sum(_length(part) for part in self.parts(rank)) for rank in range(self.ranks)]

    def parts(self, rank: int) -> tuple[slice, slice, slice]:
        """A rank's run of text, target and references, each counted from that part's first token."""
        txt, target, references = (
            share(length, rank, self.ranks) for length in (self.n_txt, self.n_target, self.n_references)
        )
        return txt, target, references

    def places(self, rank: int) -> Tensor:
        """Where a rank's tokens stand in the whole sequence: (L_rank,), int64."""
        starts = 0, self.n_txt, self.n_txt + self.n_target
        runs = [
            torch.arange(start + part.start, start + part.stop)
            for start, part in zip(starts, self.parts(rank), strict=True)
        ]
        return torch.cat(runs)

    def weights_of(self, rank: int, weights: KeyWeights) -> KeyWeights:
        """For a rank's queries, and for all keys in the order in which they are gathered: rank by rank."""
        gathered = torch.cat([self.places(r) for r in range(self.ranks)])
        return KeyWeights(weights.query[:, self.places(rank)], weights.key[:, gathered])


def joined_tokens(shares: Tensor, lengths: Sequence[int]) -> Tensor:
    """Join (ranks, B, longest, ...), each share filled up at its end, to (B, sum of lengths, ...)."""
    longest = shares.shape[2]
    if shares.shape[1] == 1 and all(length == longest for length in lengths):
        return shares.flatten(0, 2)[None]
    return torch.cat([share[:, :length] for share, length in zip(shares, lengths, strict=True)], dim=1)


def _length(part: slice) -> int:
    return part.stop - part.start
