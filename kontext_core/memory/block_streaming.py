"""Models whose weights visit the device in turn, because all of them do not fit it.

Blocks take turns in two buffers on the device: while one computes, the next is copied beside it, from pinned
memory on a stream of its own where the device is a GPU. Modulation is asked once an edit, for all steps, so
its weights come for that call alone. What is computed is the same to the last bit, and the model's code does
not know.

Where the host's memory is small too, weights wait in their file instead: they stay mapped, and a thread reads
the next block through the small buffers of `staging` while one computes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..model.blocks import Modulation
from ..model.transformer import Transformer
from .staging import Staging
from .tensor_data import move_to, point_to, tensors_of

_ALIGNMENT = 256  # bytes; what GPU allocations have, and matrix products want


class TransferGroup:
    """Some tensors of a model as one run of bytes that goes to the device at once.

    Parameters and buffers are pointed to their places in a copy of it, and home again.

    Args:
        pinned: whether the host's memory for them is.
        staging: None gathers them in one piece of that memory, so that one copy moves them all; with it they
            stay where they are, and go through it.
    """

    def __init__(self, tensors: Iterable[Tensor], pinned: bool, staging: Staging | None = None) -> None:
        self.tensors = list(tensors)
        self.staging = staging
        self._places: list[tuple[int, int]] = []
        self.nbytes = 0
        for tensor in self.tensors:
            self._places.append((self.nbytes, tensor.nbytes))
            self.nbytes += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
        self.host: Tensor | None = None
        with torch.inference_mode(False), torch.no_grad():
            if staging is None:
                self.host = torch.empty(self.nbytes, dtype=torch.uint8, pin_memory=pinned)
                self._homes = self._views(self.host)
                for tensor, view in zip(self.tensors, self._homes, strict=True):
                    view.copy_(tensor)
            else:
                self._homes = [
                    tensor.data.cpu() if _is_dense(tensor) else tensor.data.cpu().contiguous()
                    for tensor in self.tensors
                ]
        self.restore()

    def send(self, memory: Tensor) -> None:
        """Copy it, or begin to, on the current stream.

        Args:
            memory: at least its bytes on the device.
        """
        if self.host is not None:
            memory[: self.nbytes].copy_(self.host, non_blocking=True)
        elif self.staging is not None:
            self.staging.send(self._parts(), memory)

    def point_to(self, memory: Tensor) -> None:
        """Point the tensors to device memory.

        Args:
            memory: bytes that hold, or will hold, what `send` copies.
        """
        for tensor, view in zip(self.tensors, self._views(memory), strict=True):
            point_to(tensor, view)

    def restore(self) -> None:
        for tensor, home in zip(self.tensors, self._homes, strict=True):
            point_to(tensor, home)

    def _parts(self) -> Iterator[tuple[int, Tensor]]:
        for (start, _), home in zip(self._places, self._homes, strict=True):
            yield start, home.as_strided((home.numel(),), (1,)).view(torch.uint8)

    def _views(self, memory: Tensor) -> list[Tensor]:
        return [
            _laid_out_as(tensor, memory[start : start + size].view(tensor.dtype))
            for (start, size), tensor in zip(self._places, self.tensors, strict=True)
        ]


def _packet(
    tensors: Sequence[Tensor], device: torch.device, before: Sequence[TransferGroup], staging: Staging | None
) -> TransferGroup:
    """That one of the earlier packets which holds the same tensors, or a new one."""
    ids = [id(tensor) for tensor in tensors]
    same = (packet for packet in before if [id(tensor) for tensor in packet.tensors] == ids)
    return next(same, None) or TransferGroup(tensors, device.type == "cuda", staging)


@dataclass
class DeviceBuffer:
    """Device memory for one block.

    Args:
        holds: which lies, or is about to lie, in it.
        ready: CUDA events.
        free: likewise.
        read: done once all of it is on its way.
    """

    memory: Tensor
    ready: Any
    free: Any
    holds: int | None = None
    read: Future[None] | None = None


class BlockStreamer:
    """Blocks that are called one after the other, again and again, and visit the device for their call.

    Args:
        blocks: in the order of their calls.
        device: where they compute.
        without: modules in them that are left alone.
        before: packets of earlier visits, to go on with.
        staging: see `TransferGroup`.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        device: torch.device,
        without: type[nn.Module] | None,
        before: Sequence[TransferGroup] = (),
        staging: Staging | None = None,
    ) -> None:
        self.device = device
        gpu = device.type == "cuda"
        self.packets = [_packet(tensors_of(block, without), device, before, staging) for block in blocks]
        self.slots: list[DeviceBuffer] = []
        self._reader = None if staging is None else ThreadPoolExecutor(1, "kontext-reader")
        self._stream: Any = torch.cuda.Stream(device) if gpu else None
        self._handles: list[Any] = []
        for number, block in enumerate(blocks):
            self._handles.append(block.register_forward_pre_hook(self._arrive(number)))
            self._handles.append(block.register_forward_hook(self._leave(number), always_call=True))

    def release(self) -> None:
        """Give the device its memory back; the next call takes it again."""
        wait([slot.read for slot in self.slots if slot.read is not None])
        if self._stream is not None:
            self._stream.synchronize()
        self.slots = []

    def stop(self) -> None:
        """Blocks stay where they are, in the host's memory, and come no more by themselves."""
        self.release()
        if self._reader is not None:
            self._reader.shutdown()
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
            self._await(slot)
            if self._stream is not None:
                torch.cuda.current_stream(self.device).wait_event(slot.ready)
            self.packets[number].point_to(slot.memory)
            following = (number + 1) % len(self.packets)  # after the last comes the first, at the next step
            if self._holding(following) is None:
                self.fetch(following, next(other for other in self.slots if other is not slot))

        return hook

    def _leave(self, number: int) -> Callable[..., None]:
        def hook(*_: object) -> None:
            self.packets[number].restore()
            slot = self._holding(number)
            if self._stream is not None and slot is not None:
                slot.free.record(torch.cuda.current_stream(self.device))

        return hook

    def _slot(self) -> DeviceBuffer:
        largest = max(packet.nbytes for packet in self.packets)
        # ComfyUI runs nodes in it, and parameters cannot point to its tensors.
        with torch.inference_mode(False):
            memory = torch.empty(largest, dtype=torch.uint8, device=self.device)
        if self._stream is None:
            return DeviceBuffer(memory, None, None)
        slot = DeviceBuffer(memory, torch.cuda.Event(), torch.cuda.Event())
        # what this memory was before may still be read there, and the copy stream knows nothing of it
        slot.free.record(torch.cuda.current_stream(self.device))
        return slot

    def _holding(self, number: int) -> DeviceBuffer | None:
        return next((slot for slot in self.slots if slot.holds == number), None)

    def fetch(self, number: int, slot: DeviceBuffer) -> None:
        """Begin to copy a block to a buffer that no block computes from."""
        slot.holds = None  # should the copy fail
        if self._reader is None:
            self._copy(number, slot)
        else:  # the reader takes one after the other, so nothing is still on its way to this buffer
            slot.read = self._reader.submit(self._copy, number, slot)
        slot.holds = number

    def _copy(self, number: int, slot: DeviceBuffer) -> None:
        with nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            if self._stream is not None:
                self._stream.wait_event(slot.free)
            self.packets[number].send(slot.memory)
            if self._stream is not None:
                slot.ready.record(self._stream)

    def _await(self, slot: DeviceBuffer) -> None:
        """Until the reader has read. Raises: what it did."""
        if slot.read is None:
            return
        wait([slot.read])
        read, slot.read = slot.read, None
        if read.exception() is not None:
            slot.holds = None
        read.result()


class OnDemandModule:
    """A module that is called once in a while, and is on the device for that call alone."""

    def __init__(
        self,
        module: nn.Module,
        device: torch.device,
        before: Sequence[TransferGroup] = (),
        staging: Staging | None = None,
    ) -> None:
        self.device = device
        self.packet = _packet(tensors_of(module), device, before, staging)
        self._handles = [
            module.register_forward_pre_hook(self._arrive),
            module.register_forward_hook(self._leave, always_call=True),
        ]

    def stop(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _arrive(self, *_: object) -> None:
        with torch.inference_mode(False):
            memory = torch.empty(self.packet.nbytes, dtype=torch.uint8, device=self.device)
        self.packet.send(memory)
        self.packet.point_to(memory)

    def _leave(self, *_: object) -> None:
        self.packet.restore()


class StreamedTransformer:
    """A transformer of which some weights stay in the host's memory, or in their file.

    Args:
        transformer: what does not visit is moved to the device.
        blocks: how many of the blocks visit, the last ones.
        modulation: whether its weights visit.
        before: what streamed it until now, which stops.
        staging: weights that visit stay where they are, such as in a mapped file, and go through it; None
            gathers them in the host's memory.
    Raises: ValueError if there are not so many blocks.
    """

    def __init__(
        self,
        transformer: Transformer,
        device: torch.device,
        *,
        blocks: int,
        modulation: bool = True,
        before: "StreamedTransformer | None" = None,
        staging: Staging | None = None,
    ) -> None:
        every = [*transformer.double_blocks, *transformer.single_blocks]
        if not 0 <= blocks <= len(every):
            raise ValueError(f"{blocks} blocks cannot be streamed: the model has {len(every)}")
        if before is not None:
            before.stop()
        packets = [] if before is None else before.packets
        visiting = every[len(every) - blocks :]
        rare = [module for module in transformer.modules() if modulation and isinstance(module, Modulation)]
        self.visitors = [OnDemandModule(module, device, packets, staging) for module in rare]
        without = Modulation if modulation else None
        self.streamer = BlockStreamer(visiting, device, without, packets, staging) if visiting else None
        move_others(transformer, device, self.packets)

    @property
    def streamed_bytes(self) -> int:
        """How much visits."""
        return sum(packet.nbytes for packet in self.packets)

    def release(self) -> None:
        if self.streamer is not None:
            self.streamer.release()

    def stop(self) -> None:
        for streamer in (*self.visitors, *([self.streamer] if self.streamer else [])):
            streamer.stop()

    @property
    def packets(self) -> list[TransferGroup]:
        """What visits."""
        own = [visitor.packet for visitor in self.visitors]
        return own + (self.streamer.packets if self.streamer else [])


def stream_blocks(
    model: nn.Module, blocks: Sequence[nn.Module], device: torch.device, staging: Staging | None = None
) -> BlockStreamer:
    """Have the blocks of any model on the CPU visit the device; the rest of it moves there.

    Arguments are those of `StreamedTransformer`.
    """
    streamer = BlockStreamer(blocks, device, None, staging=staging)
    move_others(model, device, streamer.packets)
    return streamer


def move_others(model: nn.Module, device: torch.device, packets: Sequence[TransferGroup]) -> None:
    """Move to the device what is in no packet."""
    visiting = {id(tensor) for packet in packets for tensor in packet.tensors}
    move_to([tensor for tensor in tensors_of(model) if id(tensor) not in visiting], device)


def _is_dense(tensor: Tensor) -> bool:
    """Whether its numbers lie side by side, in whatever order of the dimensions."""
    return tensor.is_contiguous() or (tensor.ndim == 2 and tensor.t().is_contiguous())


def _laid_out_as(tensor: Tensor, memory: Tensor) -> Tensor:
    """A view of that memory (n,) in the tensor's shape and, if dense, its order: products keep their bits."""
    return (
        memory.as_strided(tensor.shape, tensor.stride()) if _is_dense(tensor) else memory.view(tensor.shape)
    )
