"""The ways by name, each with one number, as a person writes them: "first_block" or "first_block:0.12"."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .question import Sequence, Shortcut
from .skipped_blocks import first_block, teacache
from .standing_tokens import references, region


@dataclass(frozen=True)
class Method:
    """One way to skip work.

    Args:
        begin: from its number and the tokens of an edit. what: the number means, for people. usual, least, most: of it.
        keeps: which image tokens' keys and values, of all blocks, it holds between steps.
    """

    begin: Callable[[float, Sequence], Shortcut]
    what: str
    usual: float
    least: float
    most: float
    keeps: Literal["none", "references", "all"] = "none"


METHODS: dict[str, Method] = {
    "first_block": Method(first_block, "relative change up to which blocks are skipped", 0.1, 0.0, 1.0),
    "teacache": Method(teacache, "sum of rescaled changes up to which steps are skipped", 0.1, 0.0, 10.0),
    "region": Method(region, "difference up to which a token counts as unchanged", 0.2, 0.0, 10.0, "all"),
    "references": Method(
        references, "how many evaluations see references computed once", 2, 1, 1000, "references"
    ),
}


@dataclass(frozen=True)
class Chosen:
    """A method and its number."""

    name: str
    amount: float

    def kept_tokens(self, n_target: int, n_references: int) -> int:
        """Of how many tokens keys and values are held, at the most, for one prompt and picture; see `plan.kept_bytes`."""
        kept = {"none": 0, "references": n_references, "all": n_target + n_references}
        return kept[METHODS[self.name].keeps]

    def begin(self, sequence: Sequence) -> Shortcut:
        """For the tokens of one prompt. Raises: ValueError if there is nothing that it could skip."""
        if self.name == "references" and not sequence.n_references:
            raise ValueError("approximate is 'references' and there is none: choose another way, or none")
        if self.name == "region" and sequence.before is None:
            raise ValueError(
                "approximate is 'region', which looks for what stays as it is in a reference of the result's size, and there "
                "is none: choose another way, or that size"
            )
        return METHODS[self.name].begin(self.amount, sequence)


def chosen(text: str) -> Chosen:
    """Args: text: a name of `METHODS`, or NAME:NUMBER. Raises: ValueError if it is neither."""
    name, colon, number = text.partition(":")
    if name not in METHODS:
        raise ValueError(f"there is no way {name!r} to skip work; choose one of {', '.join(METHODS)}")
    method = METHODS[name]
    try:
        amount = float(number) if colon else method.usual
    except ValueError:
        amount = float("nan")
    if not method.least <= amount <= method.most:
        raise ValueError(
            f"{text!r}: the number behind {name} is the {method.what}, from {method.least:g} to {method.most:g}"
        )
    return Chosen(name, amount)
