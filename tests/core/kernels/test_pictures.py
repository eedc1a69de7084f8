"""The group norm of large pictures on a CPU, where torch's own loses digits."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kontext_core.kernels.pictures import laid_out, normed, swished


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("height", "width"), [(1024, 640), (130, 127), (9, 13)])
@torch.no_grad()
def test_as_exact_at_every_size(height: int, width: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    norm = nn.GroupNorm(4, 8, eps=1e-6)
    norm.weight.uniform_(0.5, 2, generator=generator)
    norm.bias.normal_(generator=generator)
    norm = norm.to(dtype)
    x = laid_out((torch.randn(2, 8, height, width, generator=generator) + 0.7).to(dtype))
    expected = F.group_norm(x.double().contiguous(), 4, norm.weight.double(), norm.bias.double(), 1e-6)
    found = normed(norm, x)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    bound = 1e-5 if dtype == torch.float32 else 0.04
    assert (found - expected).abs().max() < bound
    assert (swished(norm, x) - F.silu(expected)).abs().max() < bound
