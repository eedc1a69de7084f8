"""Which weights of a transformer stay on the device and which visit it, by the memory that there is."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from ..checks.ranges import is_memory
from ..errors import TooLittleMemoryError
from ..model.blocks import Modulation
from ..model.latents import TOKEN_PX
from ..model.text import TextEncoders
from ..model.transformer import Transformer
from ..model.vae import VAE
from ..model_spec import Waits
from ..quant.layer import dequantise_bytes
from ..sampling.cost import PlannedReference, plan
from .block_streaming import BlockStreamer, StreamedTransformer, TransferGroup, move_others, stream_blocks
from .staging import Staging
from .tensor_data import tensors_of

log = logging.getLogger(__name__)

GIB = 2**30
_SPARE = 1.05  # what allocators lose between pieces
_LEFT = 2 * GIB  # of the host's memory, to everything else


@dataclass(frozen=True)
class Host:
    """The computer around the device.

    Args:
        free_bytes: of its memory; None if that is not known.
        computes: whether it is itself the device, so that what stays there takes of it too.
        waits: where weights are to wait that visit the device, "memory" or "file"; "auto" is in memory if
            they fit there.
    """

    free_bytes: int | None = None
    computes: bool = False
    waits: Waits = "auto"


@dataclass(frozen=True)
class HostStorage:
    """Where weights wait that visit the device: in the host's memory, or in their mapped files.

    Args:
        note: for people.
    """

    in_file: bool = False
    note: str = ""


@dataclass(frozen=True)
class OffloadPlan:
    """What of a model is where.

    Args:
        blocks: how many of the transformer's last blocks visit the device.
        modulation: whether its weights do.
        t5_offloaded: whether T5's blocks do.
        resident_bytes: weights on the device, with the buffers that visitors take.
        visiting_bytes: weights on the host.
        working_bytes: what an edit needs beside them.
        waiting: where those wait that visit.
        pinned_bytes: what they take of the host's memory when they are gathered there for a GPU.
    """

    blocks: int
    modulation: bool
    resident_bytes: int
    visiting_bytes: int
    working_bytes: int
    t5_offloaded: bool = False
    waiting: HostStorage = HostStorage()
    pinned_bytes: int = 0

    @property
    def needed_bytes(self) -> int:
        return int((self.resident_bytes + self.working_bytes) * _SPARE)

    @property
    def visitors(self) -> tuple[int, bool, bool]:
        """Greater means that more visit."""
        return self.blocks, self.modulation, self.t5_offloaded

    def describe(self) -> str:
        """One line for people."""
        line = (
            f"{_gib(self.resident_bytes)} of weights on the device, {_gib(self.working_bytes)} to work with"
        )
        if not self.visiting_bytes:
            return line
        visitors = [f"{self.blocks} blocks at each step"] if self.blocks else []
        visitors += ["the modulation once an edit"] if self.modulation else []
        visitors += ["T5 once a prompt"] if self.t5_offloaded else []
        place = "files" if self.waiting.in_file else "host's memory"
        line = f"{line}; {_gib(self.visiting_bytes)} come from the {place}: {', '.join(visitors)}"
        return f"{line}; {self.waiting.note}" if self.waiting.note else line


@dataclass(frozen=True)
class OtherWeights:
    """What there is of a model beside its transformer, in bytes.

    Args:
        resident: what stays on the device.
        words: T5's blocks, which may visit it.
    """

    resident: int = 0
    words: tuple[int, ...] = ()


_NOTHING = OtherWeights()


def other_weights(vae: nn.Module, clip: nn.Module, t5: nn.Module) -> OtherWeights:
    """Add up what is beside the transformer.

    Args:
        vae: on any device, `meta` too, as are the others.
        clip: with transformers' names.
        t5: likewise.
    """
    words = tuple(_bytes(block) for block in t5_blocks(t5))
    return OtherWeights(_bytes(vae) + _bytes(clip) + _bytes(t5) - sum(words), words)


def t5_blocks(t5: nn.Module) -> list[nn.Module]:
    return list(t5.get_submodule("encoder.block").children())


def plan_offload(
    transformer: Transformer,
    budget_bytes: int | None,
    working_bytes: int | None = None,
    beside: OtherWeights = _NOTHING,
    least: OffloadPlan | None = None,
) -> OffloadPlan:
    """The least that must visit, so that an edit stays within the budget.

    First goes T5, which is asked once a prompt; then the modulation, a quarter of the published weights,
    which is asked once an edit; then as many blocks as it takes, which cost a copy at each step.

    Args:
        transformer: on any device, `meta` too.
        budget_bytes: None asks for the least that is possible.
        working_bytes: None is that of `usual_working_bytes`.
        least: what visits in it does so here too.
    Raises: TooLittleMemoryError if the budget is too small even with all blocks visiting.
    """
    if working_bytes is None:
        working_bytes = usual_working_bytes(transformer)
    blocks = [*transformer.double_blocks, *transformer.single_blocks]
    every = _bytes(transformer)
    modulations = [_bytes(module) for module in transformer.modules() if isinstance(module, Modulation)]
    sizes = [_bytes(block, without=Modulation) for block in blocks]
    words = sum(beside.words)
    choices = [OffloadPlan(0, False, every + beside.resident + words, 0, working_bytes)]
    room = max(working_bytes, 2 * max(beside.words, default=0))  # T5's visits are over before an edit begins
    if words:
        stay = every + beside.resident
        choices.append(
            OffloadPlan(0, False, stay, words, room, t5_offloaded=True, pinned_bytes=_pinned(beside.words))
        )
    for visiting in (0, *range(2, len(blocks) + 1)):
        leaving = sizes[len(sizes) - visiting :]
        away = sum(modulations) + sum(leaving)
        # the modulation's visits are over before the blocks' begin
        buffers = max(2 * max(leaving, default=0), max(modulations))
        stay = every - away + buffers + beside.resident
        pinned = _pinned([*beside.words, *modulations, *leaving])
        choices.append(
            OffloadPlan(
                visiting, True, stay, away + words, room, t5_offloaded=bool(words), pinned_bytes=pinned
            )
        )
    if least is not None:
        choices = [choice for choice in choices if choice.visitors >= least.visitors]
    smallest = min(choices, key=lambda choice: choice.needed_bytes)
    if budget_bytes is None:
        return smallest
    for choice in choices:
        if choice.needed_bytes <= budget_bytes:
            return choice
    raise TooLittleMemoryError(
        f"an edit needs {_gib(smallest.needed_bytes)} even when all blocks visit the device in turn, but it "
        f"may take only {_gib(max(0, budget_bytes))}; allow more, or choose weights of fewer bits"
    )


def host_storage(where: OffloadPlan, converted_bytes: int, host: Host) -> HostStorage:
    """Choose where visiting weights wait: in the host's memory, or in their files where that is too small.

    Args:
        converted_bytes: of the model, what its files have in another form than it is to have,
            and so takes memory anyway.
    """
    visiting = where.visiting_bytes
    if not visiting:
        return HostStorage()
    kept = min(converted_bytes, visiting)
    minimum = (
        kept if host.computes else converted_bytes
    )  # on a card, all of it goes through the host's memory
    gathered = max(minimum, visiting if host.computes else max(visiting, where.pinned_bytes))
    free = None if host.free_bytes is None else host.free_bytes - _LEFT
    if free is not None and host.computes:
        free -= where.needed_bytes
    short = free is not None and gathered > free
    in_file = host.waits == "file" or (host.waits == "auto" and short and kept < visiting)
    needed = minimum if in_file else gathered
    notes: list[str] = []
    if in_file and kept:
        notes.append(
            f"{_gib(kept)} of that stay in the host's memory nevertheless, since their files hold them in "
            "another form"
        )
    if free is not None and needed > max(0, free):
        advice = "keep them in their files" if kept < visiting and not in_file else _AS_STORED
        demand = (
            f"{_gib(needed)} of weights are needed in the host's memory, which has {_gib(max(0, free))} for "
            "them"
        )
        notes.append(f"{demand}: {advice}")
    return HostStorage(in_file, "; ".join(notes))


_AS_STORED = "use weights as stored, in files whose number format is the one computed with"


def _pinned(sizes: Sequence[int]) -> int:
    """PyTorch rounds each piece of pinned memory up to a power of two (c10, CachingHostAllocator)."""
    return sum(1 << (size - 1).bit_length() for size in sizes if size)


def usual_working_bytes(transformer: Transformer) -> int:
    """What an edit of the model's first size, with two references of that size, needs beside the weights.

    It includes what it takes to multiply out the largest packed weight.
    """
    config = transformer.config
    height, width = (side // TOKEN_PX for side in config.preferred_sizes[0])
    references = [PlannedReference((height, width))] * 2
    planned = plan(config, (height, width), references, dtype=transformer.dtype)
    return planned.activation_bytes + dequantise_bytes(transformer, transformer.dtype)


class OffloadedModel:
    """A whole model of which some weights visit the device, by the memory that it may take.

    Args:
        all parts on the CPU, or on the device already where nothing is to visit.
        memory_gib: most that the device is to hold, weights and work together; "least" is as little as can
            be.
        waiting: where those wait that visit.
    Raises: TooLittleMemoryError if that is too little whatever visits; ValueError if it is no amount.
    """

    def __init__(
        self,
        transformer: Transformer,
        vae: VAE,
        text: TextEncoders,
        device: torch.device,
        memory_gib: float | Literal["least"],
        waiting: HostStorage = HostStorage(),
    ) -> None:
        self.device = device
        self._waiting = waiting
        self._staging = Staging(device) if waiting.in_file else None
        self._transformer, self._text = transformer, text
        self.budget = budget_bytes(memory_gib)
        self._beside = other_weights(vae, text.clip, text.t5)
        self.where = self._planned(self._beside)
        self._words: BlockStreamer | None = None
        self._steps: StreamedTransformer | None = None
        move_others(vae, device, ())
        self._place()

    def make_room(self, added_bytes: int) -> None:
        """Have more weights visit, if they must. Who visits goes on doing so.

        Args:
            added_bytes: what came upon the model and stays on the device.
        Raises: TooLittleMemoryError if that is too much whatever visits.
        """
        more = OtherWeights(self._beside.resident + added_bytes, self._beside.words)
        before, self.where = self.where, self._planned(more, self.where)
        if self.where.visitors > before.visitors:
            self._place()

    def close(self) -> None:
        """Give the device the memory of visitors back; they come again when they are asked."""
        if self._words is not None:
            self._words.release()
        if self._steps is not None:
            self._steps.release()

    @property
    def packets(self) -> list[TransferGroup]:
        """What visits."""
        packets = [] if self._words is None else list(self._words.packets)
        return packets + ([] if self._steps is None else self._steps.packets)

    def _planned(self, beside: OtherWeights, least: OffloadPlan | None = None) -> OffloadPlan:
        where = plan_offload(
            self._transformer, self.budget, usual_working_bytes(self._transformer), beside, least
        )
        return replace(where, waiting=self._waiting)

    def _place(self) -> None:
        where = self.where
        if where.t5_offloaded and self._words is None:
            self._words = stream_blocks(self._text, t5_blocks(self._text.t5), self.device, self._staging)
        elif self._words is None:
            move_others(self._text, self.device, ())
        self._steps = StreamedTransformer(
            self._transformer,
            self.device,
            blocks=where.blocks,
            modulation=where.modulation,
            before=self._steps,
            staging=self._staging,
        )
        log.info("%s", where.describe())


def budget_bytes(memory_gib: float | Literal["least"]) -> int | None:
    """For `plan_offload`. Raises: ValueError if it is no amount."""
    if memory_gib == "least":
        return None
    if not is_memory(memory_gib):
        raise ValueError(
            f"a model may take {memory_gib} GiB; give an amount above 0, or none for all the weights"
        )
    return int(memory_gib * GIB)


def _bytes(module: nn.Module, without: type[nn.Module] | None = None) -> int:
    return sum(tensor.nbytes for tensor in tensors_of(module, without))


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:.1f} MiB"
