"""Ways to skip work that were tried and are not shipped, because fewer steps do better on the tiny model."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from torch import Tensor

from kontext_core.sampling.step_cache import METHODS, Method

from .first_block import first_block
from .standing_tokens import Region, references

__all__ = ["added"]


@contextmanager
def added(before: Tensor, levels: Sequence[float]) -> Generator[None]:
    """Within it, "first_block", "region" and "references" can be chosen beside what is shipped.

    Args:
        before: latents (1, 16, h, w) of the reference that an edit begins from, of the target's size.
        levels: its sigmas.
    """
    region = Region(before, levels)
    tried = {
        "first_block": Method(first_block, "relative change up to which blocks are skipped", 0.1, 0.0, 1.0),
        "region": Method(region.begin, "difference up to which a token counts as unchanged", 0.2, 0.0, 10.0),
        "references": Method(references, "how many evaluations see references computed once", 2, 1, 1000),
    }
    METHODS.update(tried)
    try:
        yield
    finally:
        for name in tried:
            del METHODS[name]
