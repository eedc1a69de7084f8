"""Two independent pieces of work, one on a CUDA stream of its own where that is wished."""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from .options import compute_options

First = TypeVar("First")
Second = TypeVar("Second")


def run_overlapped(
    x: Tensor, first: Callable[[], First], second: Callable[[], Second]
) -> tuple[First, Second]:
    """What both return.

    Args:
        x: says the device.
        second: the smaller one; what it reads must outlive the call.

    At its end each stream has waited for the other, so that memory which one frees the other may take.
    """
    if not x.is_cuda or torch.compiler.is_compiling() or not compute_options().side_stream:
        return first(), second()
    main, side = torch.cuda.current_stream(x.device), _side(x.device)
    side.wait_stream(main)
    try:
        with torch.cuda.stream(side):
            smaller = second()
        larger = first()
    finally:  # also where one fails: what they have taken is free for the main stream then
        main.wait_stream(side)
    return larger, smaller


@cache
def _side(device: torch.device) -> Any:
    return torch.cuda.Stream(device)
