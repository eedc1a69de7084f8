"""Whether kernels give what plain torch gives, on small random tensors."""

import torch
from torch import Tensor

from . import Kernels, plain


def difference(kernels: Kernels, device: torch.device, dtype: torch.dtype = torch.bfloat16) -> float:
    """The largest relative L2 difference over all that the two forms have in common; infinite for NaN."""
    with torch.no_grad():
        pairs = zip(_results(kernels, device, dtype), _results(plain, device, dtype), strict=True)
        errors = [float((one.float() - other.float()).norm() / other.float().norm()) for one, other in pairs]
    return max(error if error == error else float("inf") for error in errors)


def _results(kernels: Kernels, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    batch, heads, dim, mlp = 2, 3, 32, 160
    width = heads * dim
    x, update = random(batch, 5, width), random(batch, 5, width)
    shift, scale, gate = (random(batch, 1, width) for _ in range(3))
    streams = [(random(batch, length, 3, heads, dim), random(dim), random(dim)) for length in (2, 5)]
    pe = torch.polar(torch.ones(1, 7, dim // 2), torch.randn(1, 7, dim // 2, generator=generator)).to(device)
    return [
        kernels.modulate(x, shift, scale),
        kernels.add_gated(x, gate, update),
        *kernels.add_gated_modulated(x, gate, update, shift, scale),
        *kernels.turned(streams, pe),
        *kernels.turned([(random(batch, 7, 3, heads, dim), random(dim), random(dim))], pe),
        kernels.beside(x, random(batch, 5, mlp)),
    ]
