"""ComfyUI's devices and their free memory."""

from __future__ import annotations

from typing import Literal

import comfy.model_management as management  # pyright: ignore[reportMissingImports]
import torch


def device_for(choice: str) -> torch.device:
    """Return the device for a choice in the loader; "auto" is the one ComfyUI works on."""
    if choice == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda' and PyTorch finds no such GPU here; choose 'auto' or 'cpu'")
    if choice == "auto":
        return management.get_torch_device()
    # with its number, or ComfyUI would take it for another
    return torch.device("cuda", torch.cuda.current_device()) if choice == "cuda" else torch.device(choice)


def dtype_for(choice: str, on: torch.device) -> torch.dtype:
    """Return the dtype for a choice in the loader; "auto" is the best that is fast on the device."""
    if choice != "auto":
        return getattr(torch, choice)
    if on.type == "cpu":
        return torch.float32
    return torch.bfloat16 if management.should_use_bf16(on) else torch.float16


def make_room(needed_bytes: int, on: torch.device) -> None:
    """Have ComfyUI unload its own models until this many bytes, and some to compute with, are free."""
    if on.type != "cpu":
        management.free_memory(needed_bytes + management.minimum_inference_memory(), on)


def memory_gib(choice: float, on: torch.device) -> float | Literal["least"] | None:
    """Return the GiB that a model may take. A choice of 0 is what is free on CUDA, and None elsewhere.

    ComfyUI's options apply if nothing was chosen: --highvram and --gpu-only keep all weights there, --lowvram
    takes half of what is free, --novram as little as possible, and --reserve-vram stays free.
    """
    if choice > 0:
        return choice
    state = management.vram_state
    if on.type != "cuda" or state == management.VRAMState.HIGH_VRAM:
        return None
    if state == management.VRAMState.NO_VRAM:
        return "least"
    free = max(free_gib(on) - management.extra_reserved_memory() / 2**30, 0.01)
    return free / 2 if state == management.VRAMState.LOW_VRAM else free


def free_gib(on: torch.device) -> float:
    """Return what is free on a device, including what PyTorch has reserved there and does not use."""
    return management.get_free_memory(on) / 2**30


def free_host_bytes() -> int:
    """What is free of the computer's own memory."""
    return int(management.get_free_memory(torch.device("cpu")))
