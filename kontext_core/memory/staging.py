"""Weights that wait in their file, on their way to a device: through two small buffers, a piece at a time.

While one piece is copied to the device, the next is read into the other buffer. Only these buffers take
memory of the host; the pages of a mapped file are the system's to keep or to drop.
"""

import threading
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

PIECE = 64 << 20  # bytes


class Staging:
    """Two buffers, pinned where the device is a GPU, which are taken at the first use and kept.

    Args:
        piece: bytes of each.
    """

    def __init__(self, device: torch.device, piece: int = PIECE) -> None:
        self.device, self.piece = device, piece
        self.buffers: list[Tensor] = []
        self._sent: list[Any] = []  # CUDA events: what was in a buffer is on the device
        self._next = 0
        self._lock = threading.Lock()  # two who read at once would mix their pieces

    def send(self, parts: Iterable[tuple[int, Tensor]], memory: Tensor) -> None:
        """Copy bytes to places in a device's memory, on the current stream. When it returns all is read.

        Args:
            parts: (place, bytes (n,)), on the CPU.
            memory: bytes on the device.
        """
        with self._lock:
            if not self.buffers:
                self._take()
            for place, stored in parts:
                for start in range(0, stored.nbytes, self.piece):
                    some = stored[start : start + self.piece]
                    self._send(some, memory[place + start : place + start + some.nbytes])

    def _send(self, some: Tensor, target: Tensor) -> None:
        number = self._next
        self._next = 1 - number
        if self._sent:
            self._sent[number].synchronize()
        buffer = self.buffers[number][: some.nbytes]
        target.copy_(buffer.copy_(some), non_blocking=True)
        if self._sent:
            self._sent[number].record(torch.cuda.current_stream(self.device))

    def _take(self) -> None:
        gpu = self.device.type == "cuda"
        with torch.inference_mode(False):
            self.buffers = [torch.empty(self.piece, dtype=torch.uint8, pin_memory=gpu) for _ in range(2)]
        # whoever waits for one sleeps: the cores are for others
        self._sent = [torch.cuda.Event(blocking=True) for _ in range(2)] if gpu else []
