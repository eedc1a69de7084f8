"""What stands between the autoencoder's convolutions, and how its pictures lie: the one place that chooses.

Convolutions want the channels of a position side by side. On CUDA torch's own group norm would turn them back
each time (pytorch, group_norm.cpp), so they lie so where the fused kernel runs, and on a CPU.
"""

import logging
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .dispatch import runs_fused
from .options import compute_options

log = logging.getLogger(__name__)

# Positions from which on a CPU's group norm is our own. Torch's adds each channel up in one float32 number
# where channels lie side by side: its error is 0.0002 of a deviation at 512 px, 0.12 at 4096 px
# (benchmarks.cpu_parts).
_MANY = 2**14
_FAR = 100.0  # mean^2 over variance, from which a mean is taken from a picture before it is squared


def to_channels_last(x: Tensor) -> Tensor:
    """A picture (B, C, H, W) as the convolutions of its device like it. All steps keep that."""
    if x.device.type == "cpu" or _fuses(x):
        return x.contiguous(memory_format=torch.channels_last)
    return x


def group_norm(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """The group norm of a picture (B, C, H, W)."""
    return _kernel().group_norm(norm, x, False) if _fuses(x, norm) else _unfused(norm, x)


def group_norm_silu(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """x sigmoid(x) of its group norm."""
    return _kernel().group_norm(norm, x, True) if _fuses(x, norm) else F.silu(_unfused(norm, x), inplace=True)


def group_norm_by_rows(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """Compute the group norm of a picture from sums of its rows, which are summed in float64.

    At any size and for any mean its error is PyTorch's for small contiguous pictures, or below it.

    Args:
        x: (B, C, H, W).
    """
    rows = x.permute(0, 2, 3, 1)
    sums = rows.sum(2, dtype=torch.float32).double().sum(1)
    squares = torch.linalg.vector_norm(rows, dim=2, dtype=torch.float32).double().square().sum(1)
    count = x.numel() // (x.shape[0] * norm.num_groups)
    mean, power = (total.unflatten(1, (norm.num_groups, -1)).sum(2) / count for total in (sums, squares))
    variance = (power - mean.square()).clamp(min=0) + norm.eps
    width = norm.num_channels // norm.num_groups
    if bool((mean.square() > _FAR * variance).any()):  # their difference has lost digits
        centre = mean.float().repeat_interleave(width, 1)[..., None, None]
        return group_norm_by_rows(norm, x.float() - centre).to(x.dtype)
    factor, mean = (values.repeat_interleave(width, 1) for values in (variance.rsqrt(), mean))
    factor = factor * norm.weight
    shift = norm.bias - mean * factor
    factor, shift = (values[..., None, None].float() for values in (factor, shift))
    return torch.addcmul(shift, x.float(), factor).to(x.dtype)


def _unfused(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    large = x.device.type == "cpu" and x.shape[-2] * x.shape[-1] > _MANY
    return group_norm_by_rows(norm, x) if large and type(norm) is nn.GroupNorm and norm.affine else norm(x)


def difference(device: torch.device, dtype: torch.dtype = torch.bfloat16) -> float:
    """The relative L2 difference of the fused kernel to torch's group norm and swish; infinite for NaN."""
    generator = torch.Generator().manual_seed(0)
    norm = nn.GroupNorm(32, 128, eps=1e-6).to(device, dtype)
    x = (3 + torch.randn(2, 128, 9, 13, generator=generator)).to(device, dtype)
    with torch.no_grad():
        expected = F.silu(norm(x)).float()
        error = float((_kernel().group_norm(norm, x, True).float() - expected).norm() / expected.norm())
    return error if error == error else float("inf")


def _fuses(x: Tensor, norm: nn.GroupNorm | None = None) -> bool:
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or compute_options().kernels == "plain":
        return False
    if not (compute_options().kernels == "fused" or (x.is_cuda and _runs(x.device, x.dtype))):
        return False
    return norm is None or (type(norm) is nn.GroupNorm and norm.affine and _kernel().fits(norm))


@cache
def _runs(device: torch.device, dtype: torch.dtype) -> bool:
    """Looked at once, as `runs_fused` is."""
    if not runs_fused(device, dtype):
        return False
    try:
        error = difference(device, dtype)
    except Exception as reason:  # a compiler can fail in its own ways
        log.info("no fused group norm on %s in %s: %s", device, dtype, reason)
        return False
    if not error < 0.01:
        log.warning(
            "the fused group norm on %s in %s is off by %.1e: torch's is used instead", device, dtype, error
        )
    return error < 0.01


def _kernel() -> Any:
    return import_module(".triton_group_norm", __package__)
