"""Rotary position embedding over three axes (index, row, column)."""

import torch
from torch import Tensor


def rotary_table(ids: Tensor, axes_dim: tuple[int, ...], theta: int) -> Tensor:
    """Compute the unit complex numbers e^(i angle) that rotate each pair of a head's channels.

    Pair j of an axis with d channels: angle = position * theta^(-2 j / d). `kernels.reference.rotate` applies
    it. The angles are float64 on the CPU, because float32 loses digits beyond position 256 and MPS has no
    float64.

    Args:
        ids: (B, L, 3) positions.
        axes_dim: channels of each axis, even.
        theta: base of the frequencies.
    Returns: (B, L, sum(axes_dim) / 2) complex64, on the device of `ids`.
    Source: arXiv:2104.09864; flux math.py, rope; flux layers.py, EmbedND.
    """
    positions = ids.to("cpu", torch.float64).unbind(-1)
    frequencies = [theta ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim) for dim in axes_dim]
    angles = torch.cat(
        [position[..., None] * omega for position, omega in zip(positions, frequencies, strict=True)], dim=-1
    )
    return torch.complex(angles.cos().float(), angles.sin().float()).to(ids.device)
