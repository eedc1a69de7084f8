"""Small integers and halves out of bytes."""

import torch
from torch import Tensor


def half(blocks: Tensor, start: int) -> Tensor:
    """A float16 of each block (N, 1), as float32."""
    return blocks[:, start : start + 2].view(torch.float16).float()


def planes(packed: Tensor, bits: int) -> Tensor:
    """Bytes (..., k) to (..., 8 / bits, k): first the lowest bits of all, then the next."""
    return packed[..., None, :] >> _shifts(packed, bits)[:, None] & (1 << bits) - 1


def in_order(packed: Tensor, bits: int) -> Tensor:
    """Bytes (N, k) to (N, 8 k / bits): first all of the first byte, from its lowest bits on."""
    return (packed[..., None] >> _shifts(packed, bits) & (1 << bits) - 1).flatten(1)


def word(stored: Tensor, size: int) -> Tensor:
    """Bytes (..., size) to the little-endian numbers (...) that they make, as int64."""
    shifts = 8 * torch.arange(size, device=stored.device)
    return (stored.long() << shifts).sum(dim=-1)


def _shifts(packed: Tensor, bits: int) -> Tensor:
    return torch.arange(0, 8, bits, dtype=torch.uint8, device=packed.device)
