"""What a way to skip work sees of an edit: what stays over its steps, and each question to the network."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..transformer import ModulationTable, Prepared, Transformer


@dataclass(frozen=True, eq=False)
class Sequence:
    """The tokens of one prompt's edit: [txt | target | references].

    Args: size: (height, width) of the target in tokens. before: (1 or B, n_target, 64) clean tokens of the first
        reference that has the target's size; None if there is none.
    """

    n_txt: int
    size: tuple[int, int]
    n_references: int
    before: Tensor | None = None

    @property
    def n_target(self) -> int:
        return self.size[0] * self.size[1]


@dataclass(frozen=True, eq=False)
class Question:
    """The arguments of one `Transformer.velocity`, and where the loop stands.

    Args: tokens (B, n_target, 64), float32. row: of the table. sigma: noise level of the tokens, at `step` of `steps`.
    """

    network: Transformer
    tokens: Tensor
    prepared: Prepared
    modulation: ModulationTable
    row: int
    sigma: float
    step: int
    steps: int

    def exact(self) -> Tensor:
        """The whole network's answer, (B, n_target, 64)."""
        return self.network.velocity(self.tokens, self.prepared, self.modulation, self.row)

    @property
    def at_an_end(self) -> bool:
        """Whether it is the first or the last step."""
        return self.step in (0, self.steps - 1)


# From questions in the order of the loop to velocities (B, n_target, 64). It remembers what it needs of the ones before.
Shortcut = Callable[[Question], Tensor]


def distance(now: Tensor, before: Tensor) -> float:
    """Mean absolute change of (B, L, D), relative to what it was, of that picture of the batch where it is largest."""
    change = (now - before).abs().float().mean((1, 2)) / before.abs().float().mean((1, 2)).clamp_min(1e-8)
    return change.max().item()
