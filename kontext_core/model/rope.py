"""Rotary position embedding over three axes (index, row, column)."""

import torch
from torch import Tensor


def rotary_table(ids: Tensor, axes_dim: tuple[int, ...], theta: int) -> Tensor:
    """Unit complex numbers e^(i angle) that turn each pair of a head's channels.

    The angles are float64 on the CPU, because float32 loses digits beyond position 256 and MPS has no
    float64.

    Args:
        ids: (B, L, 3) positions; axes_dim channels of each axis, even.
    Returns: (B, L, sum(axes_dim) / 2) complex64, on the device of `ids`.
    Source: arXiv:2104.09864; flux math.py, rope; flux layers.py, EmbedND.
    """
    positions = ids.to("cpu", torch.float64)
    angles = torch.cat(
        [
            positions[..., axis, None] * theta ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim)
            for axis, dim in enumerate(axes_dim)
        ],
        dim=-1,
    )
    return torch.complex(angles.cos().float(), angles.sin().float()).to(ids.device)
