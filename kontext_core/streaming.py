"""Models whose weights visit the device in turn, because all of them do not fit it.

Blocks take turns in two buffers on the device: while one computes, the next is copied beside it, from pinned memory on
a stream of its own where the device is a GPU. Modulation is asked once an edit, for all steps, so its weights come for
that call alone. What is computed is the same to the last bit, and the model's code does not know.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .blocks import Modulation
from .transformer import Transformer

_ALIGNMENT = 256  # bytes; what GPU allocations have, and matrix products want


class Packet:
    """Some tensors of a model as one piece of host memory, so that one copy moves them all.

    The parameters and buffers are pointed to their places in that piece, or in a copy of it.
    """

    def __init__(self, tensors: Iterable[Tensor], pinned: bool) -> None:
        self.tensors = list(tensors)
        self._places: list[tuple[int, int]] = []
        end = 0
        for tensor in self.tensors:
            self._places.append((end, tensor.nbytes))
            end += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
        with torch.inference_mode(False), torch.no_grad():
            self.host = torch.empty(end, dtype=torch.uint8, pin_memory=pinned)
            for tensor, view in zip(self.tensors, self._views(self.host), strict=True):
                view.copy_(tensor)
        self.go_home()

    @property
    def nbytes(self) -> int:
        return self.host.nbytes

    def point_to(self, memory: Tensor) -> None:
        """Args: memory: bytes that hold, or will hold, a copy of `host`."""
        for tensor, view in zip(self.tensors, self._views(memory), strict=True):
            tensor.data = view

    def go_home(self) -> None:
        self.point_to(self.host)

    def _views(self, memory: Tensor) -> list[Tensor]:
        return [
            memory[start : start + size].view(tensor.dtype).view(tensor.shape)
            for (start, size), tensor in zip(self._places, self.tensors, strict=True)
        ]


def _packet(tensors: Sequence[Tensor], pinned: bool, before: Sequence[Packet]) -> Packet:
    """That one of the earlier packets which holds the same tensors, or a new one."""
    ids = [id(tensor) for tensor in tensors]
    same = (one for one in before if [id(tensor) for tensor in one.tensors] == ids)
    return next(same, None) or Packet(tensors, pinned)


@dataclass
class Slot:
    """Device memory for one block. Args: holds: which lies, or is about to lie, in it. ready, free: CUDA events."""

    memory: Tensor
    ready: Any
    free: Any
    holds: int | None = None


class Carousel:
    """Blocks that are called one after the other, again and again, and visit the device for their call.

    Args:
        blocks: in the order of their calls. device: where they compute. without: modules in them that are left alone.
        before: packets of earlier visits, to go on with.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        device: torch.device,
        without: type[nn.Module] | None,
        before: Sequence[Packet] = (),
    ) -> None:
        self.device = device
        gpu = device.type == "cuda"
        self.packets = [_packet(tensors_of(block, without), gpu, before) for block in blocks]
        self.slots: list[Slot] = []
        self._stream: Any = torch.cuda.Stream(device) if gpu else None
        self._handles: list[Any] = []
        for number, block in enumerate(blocks):
            self._handles.append(block.register_forward_pre_hook(self._arrive(number)))
            self._handles.append(block.register_forward_hook(self._leave(number), always_call=True))

    def release(self) -> None:
        """Give the device its memory back; the next call takes it again."""
        if self._stream is not None:
            self._stream.synchronize()
        self.slots = []

    def stop(self) -> None:
        """Blocks stay where they are, in the host's memory, and come no more by themselves."""
        self.release()
        for handle in self._handles:
            handle.remove()

    def _arrive(self, number: int) -> Callable[..., None]:
        def hook(*_: object) -> None:
            if not self.slots:
                self.slots = [self._slot() for _ in range(min(2, len(self.packets)))]
            slot = self._holding(number)
            if slot is None:  # the first call, or one out of turn
                slot = self.slots[0]
                self.fetch(number, slot)
            if self._stream is not None:
                torch.cuda.current_stream(self.device).wait_event(slot.ready)
            self.packets[number].point_to(slot.memory)
            following = (number + 1) % len(self.packets)  # after the last comes the first, at the next step
            if self._holding(following) is None:
                self.fetch(following, next(other for other in self.slots if other is not slot))

        return hook

    def _leave(self, number: int) -> Callable[..., None]:
        def hook(*_: object) -> None:
            self.packets[number].go_home()
            slot = self._holding(number)
            if self._stream is not None and slot is not None:
                slot.free.record(torch.cuda.current_stream(self.device))

        return hook

    def _slot(self) -> Slot:
        largest = max(packet.nbytes for packet in self.packets)
        with torch.inference_mode(
            False
        ):  # ComfyUI runs nodes in it, and parameters cannot point to its tensors
            memory = torch.empty(largest, dtype=torch.uint8, device=self.device)
        if self._stream is None:
            return Slot(memory, None, None)
        slot = Slot(memory, torch.cuda.Event(), torch.cuda.Event())
        # what this memory was before may still be read there, and the copy stream knows nothing of it
        slot.free.record(torch.cuda.current_stream(self.device))
        return slot

    def _holding(self, number: int) -> Slot | None:
        return next((slot for slot in self.slots if slot.holds == number), None)

    def fetch(self, number: int, slot: Slot) -> None:
        """Begin to copy a block to a buffer that no block computes from."""
        packet = self.packets[number]
        slot.holds = None  # should the copy fail
        with nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            if self._stream is not None:
                self._stream.wait_event(slot.free)
            slot.memory[: packet.nbytes].copy_(packet.host, non_blocking=True)
            if self._stream is not None:
                slot.ready.record(self._stream)
        slot.holds = number


class Visitor:
    """A module that is called once in a while, and is on the device for that call alone."""

    def __init__(self, module: nn.Module, device: torch.device, before: Sequence[Packet] = ()) -> None:
        self.device = device
        self.packet = _packet(tensors_of(module), device.type == "cuda", before)
        self._handles = [
            module.register_forward_pre_hook(self._arrive),
            module.register_forward_hook(self._leave, always_call=True),
        ]

    def stop(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _arrive(self, *_: object) -> None:
        with torch.inference_mode(False):
            memory = torch.empty_like(self.packet.host, device=self.device)
        self.packet.point_to(memory.copy_(self.packet.host, non_blocking=True))

    def _leave(self, *_: object) -> None:
        self.packet.go_home()


class Streaming:
    """A transformer of which some weights stay in the host's memory.

    Args:
        transformer: what does not visit is moved to the device.
        blocks: how many of the blocks visit, the last ones. modulation: whether its weights visit.
        before: what streamed it until now, which stops.
    Raises: ValueError if there are not so many blocks.
    """

    def __init__(
        self,
        transformer: Transformer,
        device: torch.device,
        *,
        blocks: int,
        modulation: bool = True,
        before: "Streaming | None" = None,
    ) -> None:
        every = [*transformer.double_blocks, *transformer.single_blocks]
        if not 0 <= blocks <= len(every):
            raise ValueError(f"{blocks} blocks cannot be streamed: the model has {len(every)}")
        if before is not None:
            before.stop()
        known = [] if before is None else before.packets
        visiting = every[len(every) - blocks :]
        rare = [one for one in transformer.modules() if modulation and isinstance(one, Modulation)]
        self.visitors = [Visitor(one, device, known) for one in rare]
        without = Modulation if modulation else None
        self.carousel = Carousel(visiting, device, without, known) if visiting else None
        move_others(transformer, device, self.packets)

    @property
    def streamed_bytes(self) -> int:
        """How much lies in the host's memory."""
        return sum(packet.nbytes for packet in self.packets)

    def release(self) -> None:
        if self.carousel is not None:
            self.carousel.release()

    def stop(self) -> None:
        for one in (*self.visitors, *([self.carousel] if self.carousel else [])):
            one.stop()

    @property
    def packets(self) -> list[Packet]:
        """What lies in the host's memory."""
        return [one.packet for one in self.visitors] + (self.carousel.packets if self.carousel else [])


def stream_blocks(model: nn.Module, blocks: Sequence[nn.Module], device: torch.device) -> Carousel:
    """Have the blocks of any model on the CPU visit the device; the rest of it moves there."""
    carousel = Carousel(blocks, device, None)
    move_others(model, device, carousel.packets)
    return carousel


def move_others(model: nn.Module, device: torch.device, packets: Sequence[Packet]) -> None:
    """Move to the device what is in no packet."""
    visiting = {id(tensor) for packet in packets for tensor in packet.tensors}
    with torch.inference_mode(False):
        for tensor in tensors_of(model):
            if id(tensor) not in visiting:
                tensor.data = tensor.data.to(device)


def tensors_of(module: nn.Module, without: type[nn.Module] | None = None) -> list[Tensor]:
    """Parameters and buffers of a module and of what is in it, each once. Args: without: modules to leave out."""
    found: dict[int, Tensor] = {}
    for one in _modules(module, without):
        for tensor in (*one.parameters(recurse=False), *one.buffers(recurse=False)):
            found[id(tensor)] = tensor
    return list(found.values())


def _modules(module: nn.Module, without: type[nn.Module] | None) -> list[nn.Module]:
    if without is not None and isinstance(module, without):
        return []
    return [module, *(one for child in module.children() for one in _modules(child, without))]
