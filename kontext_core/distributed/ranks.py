"""The processes that share an edit, and what they exchange: PyTorch's collectives and JSON messages.

Source: torch.distributed; NCCL between GPUs, gloo between CPUs and for messages.
"""

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from .token_shards import joined_tokens

TIMEOUT_S = 600.0  # most that a rank waits for another in the middle of a step
LOST = "another process of this edit has ended or does not answer, so all of them stop; start the edit again"
_ARRIVAL = timedelta(hours=1)
_PATIENCE = timedelta(days=30)  # between edits there may be nothing to do
_MESSAGE_BYTES = 4096
# renamed in PyTorch 2.13
_gather_into: Any = getattr(dist, "all_gather_single", None) or getattr(dist, "all_gather_into_tensor", None)


class LostRankError(RuntimeError):
    """Another process of the edit ended, or does not answer."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """This process among those that share an edit.

    Args:
        rank: 0 leads, the others follow.
        device: that of this rank.
        data: the groups that tensors and messages go over.
        control: likewise.
    """

    rank: int
    count: int
    device: torch.device
    data: Any
    control: Any

    def gather(self, parts: Sequence[Tensor], lengths: Sequence[int]) -> list[Tensor]:
        """Each (B, L_rank, ...) with the tokens of all ranks, in their order: (B, sum of lengths, ...)."""
        longest = max(lengths)
        gathered: list[Tensor] = []
        with _answered():
            waiting: list[Any] = []
            for part in parts:
                filled = _filled(part, longest)
                out = filled.new_empty(self.count, *filled.shape)
                work = _gather_into(out.flatten(0, 1), filled, group=self.data, async_op=True)
                waiting.append(work)
                gathered.append(out)
            for work in waiting:
                work.wait()
        return [joined_tokens(shares, lengths) for shares in gathered]

    def broadcast(self, message: dict[str, Any], tensors: Sequence[Tensor | None] = ()) -> None:
        """From rank 0 to all others; `receive` is the other end."""
        shapes = [
            None
            if tensor is None
            else [str(tensor.dtype).removeprefix("torch."), tensor.device.type, *tensor.shape]
            for tensor in tensors
        ]
        text = json.dumps({"message": message, "tensors": shapes}).encode()
        if len(text) > _MESSAGE_BYTES:
            raise ValueError(f"a message of {len(text)} bytes is too long; the maximum is {_MESSAGE_BYTES}")
        buffer = torch.zeros(_MESSAGE_BYTES, dtype=torch.uint8)
        buffer[: len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        with _answered():
            dist.broadcast(buffer, src=0, group=self.control)
            for tensor in tensors:
                if tensor is not None and tensor.numel():
                    dist.broadcast(tensor.contiguous(), src=0, group=self.data)

    def receive(self) -> tuple[dict[str, Any], list[Tensor | None]]:
        """The next message of rank 0, as long as it takes, with its tensors on devices of the same kind."""
        buffer = torch.empty(_MESSAGE_BYTES, dtype=torch.uint8)
        with _answered():
            dist.broadcast(buffer, src=0, group=self.control)
            envelope = json.loads(bytes(buffer.tolist()).rstrip(b"\0"))
            tensors: list[Tensor | None] = []
            for header in envelope["tensors"]:
                if header is None:
                    tensors.append(None)
                    continue
                dtype, where, *shape = header
                device = self.device if where == self.device.type else torch.device("cpu")
                tensor = torch.empty(shape, dtype=getattr(torch, dtype), device=device)
                if tensor.numel():
                    dist.broadcast(tensor, src=0, group=self.data)
                tensors.append(tensor)
        return envelope["message"], tensors

    def barrier(self) -> None:
        """Wait until all ranks are here, up to an hour: a model may have to be read first."""
        with _answered():
            dist.all_reduce(torch.zeros(1))


@contextmanager
def joined(
    rank: int, count: int, device: torch.device, *, init_method: str = "env://", timeout_s: float = TIMEOUT_S
) -> Generator[Ranks]:
    """Meet the other processes.

    Args:
        init_method: where, see torch.distributed; "env://" is what torchrun sets.

    Raises: LostRankError if one does not come in time, ends, or falls silent in the middle of a step.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    with _answered():
        dist.init_process_group(
            backend, init_method=init_method, rank=rank, world_size=count, timeout=_ARRIVAL
        )
        data = dist.new_group(backend=backend, timeout=timedelta(seconds=timeout_s))
        # Rank 0 hands its messages over at once, or is told that nobody takes them; the others wait for the
        # next one.
        limit = timedelta(seconds=timeout_s) if rank == 0 else _PATIENCE
        control = dist.new_group(backend="gloo", timeout=limit)
    try:
        yield Ranks(rank, count, device, data, control)
    finally:
        dist.destroy_process_group()


@contextmanager
def _answered() -> Generator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise LostRankError(LOST) from error


def _filled(part: Tensor, longest: int) -> Tensor:
    """(B, L, ...) as (B, longest, ...), zeros at its end."""
    missing = longest - part.shape[1]
    return F.pad(part, (0, 0) * (part.ndim - 2) + (0, missing)) if missing else part.contiguous()
