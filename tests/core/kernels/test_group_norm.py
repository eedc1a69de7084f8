"""The group norm of large pictures on a CPU, where torch's own loses precision."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kontext_core.kernels.group_norm import group_norm, group_norm_by_rows, group_norm_silu, to_channels_last


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("height", "width"), [(1024, 640), (130, 127), (9, 13)])
@torch.no_grad()
def test_as_exact_at_every_size(height: int, width: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    norm = nn.GroupNorm(4, 8, eps=1e-6)
    norm.weight.uniform_(0.5, 2, generator=generator)
    norm.bias.normal_(generator=generator)
    norm = norm.to(dtype)
    x = to_channels_last((torch.randn(2, 8, height, width, generator=generator) + 0.7).to(dtype))
    expected = F.group_norm(x.double().contiguous(), 4, norm.weight.double(), norm.bias.double(), 1e-6)
    found = group_norm(norm, x)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    bound = 1e-5 if dtype == torch.float32 else 0.04
    assert (found - expected).abs().max() < bound
    assert (group_norm_silu(norm, x) - F.silu(expected)).abs().max() < bound


@pytest.mark.parametrize("mean", [0.0, 3.0, 9.0, 11.0, 100.0, -1000.0, 10_000.0])
@torch.no_grad()
def test_as_exact_at_every_mean(mean: float) -> None:
    """In deviations, of all groups or of one among others: not above the error of torch's own, which
    is for contiguous pictures.
    """
    generator = torch.Generator().manual_seed(0)
    norm = nn.GroupNorm(8, 64, eps=1e-6)
    for far in (slice(None), slice(8, 16)):
        x = torch.randn(2, 64, 160, 160, generator=generator)
        x[:, far] += mean
        expected = F.group_norm(x.double(), 8, norm.weight.double(), norm.bias.double(), 1e-6)
        errors = [
            (found.double() - expected).norm() / expected.norm()
            for found in (group_norm_by_rows(norm, to_channels_last(x)), norm(x))
        ]
        assert errors[0] < max(1.1 * errors[1], 4e-7)


@torch.no_grad()
def test_pictures_of_one_colour_and_what_is_no_number() -> None:
    norm = nn.GroupNorm(2, 4, eps=1e-6)
    for colour in (0.0, 1.0, 3e4, -1e7):
        found = group_norm_by_rows(norm, to_channels_last(torch.full((1, 4, 130, 130), colour)))
        assert found.isfinite().all()
        assert found.abs().max() < 0.01
    x = torch.randn(1, 4, 130, 130)
    x[0, 0, 5, 5] = torch.nan
    assert group_norm_by_rows(norm, to_channels_last(x))[0, :2].isnan().all()
    assert group_norm_by_rows(norm, to_channels_last(x))[0, 2:].isfinite().all()
