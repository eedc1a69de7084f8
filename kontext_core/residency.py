"""Which weights of a transformer stay on the device and which visit it, by the memory that there is."""

import logging
from dataclasses import dataclass

import torch
from torch import nn

from .blocks import Modulation
from .config import TransformerConfig
from .errors import TooLittleMemoryError
from .latents import TOKEN_PX
from .plan import PlannedReference, plan
from .streaming import Streaming, move_others, stream_blocks, tensors_of
from .text import TextEncoders
from .transformer import Transformer
from .vae import VAE

log = logging.getLogger(__name__)

GIB = 2**30
_SPARE = 1.05  # what allocators lose between pieces


@dataclass(frozen=True)
class Residency:
    """What of a transformer is where.

    Args:
        blocks: how many of the last blocks visit the device. modulation: whether its weights do.
        resident_bytes: weights on the device, with the buffers that visitors take. visiting_bytes: weights on the host.
        working_bytes: what an edit needs beside them.
    """

    blocks: int
    modulation: bool
    resident_bytes: int
    visiting_bytes: int
    working_bytes: int

    @property
    def needed_bytes(self) -> int:
        return int((self.resident_bytes + self.working_bytes) * _SPARE)

    def describe(self) -> str:
        """One line for people."""
        line = (
            f"{_gib(self.resident_bytes)} of weights on the device, {_gib(self.working_bytes)} to work with"
        )
        if not self.visiting_bytes:
            return line
        visitors = [f"{self.blocks} blocks at each step"] if self.blocks else []
        visitors += ["the modulation once an edit"] if self.modulation else []
        return f"{line}; {_gib(self.visiting_bytes)} come from the host's memory: {' and '.join(visitors)}"


def residency(transformer: Transformer, budget_bytes: int, working_bytes: int | None = None) -> Residency:
    """The least that must visit, so that an edit stays within the budget.

    First goes the modulation, a quarter of the published weights, which is asked once an edit; then as many blocks as it
    takes, which cost a copy at each step.

    Args: transformer: on any device, `meta` too. working_bytes: None is that of `usual_working_bytes`.
    Raises: TooLittleMemoryError if the budget is too small even with all blocks visiting.
    """
    if working_bytes is None:
        working_bytes = usual_working_bytes(transformer.config, transformer.dtype)
    blocks = [*transformer.double_blocks, *transformer.single_blocks]
    every = _bytes(transformer)
    modulations = [_bytes(one) for one in transformer.modules() if isinstance(one, Modulation)]
    sizes = [_bytes(block, without=Modulation) for block in blocks]
    choices = [Residency(0, False, every, 0, working_bytes)]
    for visiting in (0, *range(2, len(blocks) + 1)):
        leaving = sizes[len(sizes) - visiting :]
        away = sum(modulations) + sum(leaving)
        # the modulation's visits are over before the blocks' begin
        buffers = max(2 * max(leaving, default=0), max(modulations))
        choices.append(Residency(visiting, True, every - away + buffers, away, working_bytes))
    for choice in choices:
        if choice.needed_bytes <= budget_bytes:
            return choice
    least = min(choices, key=lambda choice: choice.needed_bytes)
    raise TooLittleMemoryError(
        f"an edit needs {_gib(least.needed_bytes)} even when all blocks visit the device in turn, and it may take "
        f"{_gib(budget_bytes)}; allow it more, or choose weights of fewer bits"
    )


def usual_working_bytes(config: TransformerConfig, dtype: torch.dtype) -> int:
    """What an edit of the model's first size with two references of that size needs beside the weights."""
    height, width = (side // TOKEN_PX for side in config.preferred_sizes[0])
    references = [PlannedReference((height, width))] * 2
    return plan(config, (height, width), references, dtype=dtype).activation_bytes


class Guests:
    """A whole model of which some weights visit the device. T5's blocks do: they are asked once a prompt.

    Args: all parts on the CPU. memory_gib: most that the device is to hold, weights and work together.
    Raises: TooLittleMemoryError if that is too little whatever visits; ValueError if it is no amount.
    """

    def __init__(
        self, transformer: Transformer, vae: VAE, text: TextEncoders, device: torch.device, memory_gib: float
    ) -> None:
        if not memory_gib > 0:
            raise ValueError(
                f"a model may take {memory_gib} GiB; give an amount above 0, or none for all the weights"
            )
        blocks = list(text.t5.get_encoder().block)
        beside = _bytes(vae) + _bytes(text) - sum(_bytes(block) for block in blocks)
        self.where = residency(transformer, int(memory_gib * GIB) - beside)
        self._words = stream_blocks(text, blocks, device)
        move_others(vae, device, ())
        self._steps = Streaming(
            transformer, device, blocks=self.where.blocks, modulation=self.where.modulation
        )
        log.info("%s", self.where.describe())

    def close(self) -> None:
        """Give the device the memory of visitors back; they come again when they are asked."""
        self._words.release()
        self._steps.release()


def _bytes(module: nn.Module, without: type[nn.Module] | None = None) -> int:
    return sum(tensor.nbytes for tensor in tensors_of(module, without))


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:.1f} MiB"
