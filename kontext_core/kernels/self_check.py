"""Whether kernels give what plain torch gives, on small tensors and on some rows of published widths."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from . import reference
from .float8_rows import Float8Reader, Float8Rows
from .interface import Kernels

FLOAT8_CARDS = (8, 9)  # and later
_COARSE = 5.0  # so much further apart may rows in float8 be, where a rounding before goes either way


@dataclass(frozen=True)
class Size:
    """Numbers of a trial.

    Args:
        batch: of samples.
        tokens: of the image; some more of text stand before them.
        heads: of attention.
        dim: channels of a head.
        mlp: width of the MLP.
    """

    batch: int
    tokens: int
    heads: int
    dim: int
    mlp: int


SIZES = (Size(2, 5, 3, 32, 160), Size(1, 1, 24, 128, 12288), Size(1, 46, 24, 128, 12288))


def difference(
    kernels: Kernels,
    device: torch.device,
    dtype: torch.dtype = torch.bfloat16,
    sizes: tuple[Size, ...] = SIZES,
) -> float:
    """Return the largest relative L2 difference over all that the two forms have in common; infinite for NaN.

    Rows in float8 count a fifth. They are left out on cards that have no such numbers.
    """
    float8 = device.type != "cuda" or torch.cuda.get_device_capability(device) >= FLOAT8_CARDS
    errors: list[float] = []
    with torch.no_grad():
        for size in sizes:
            results = _results(kernels, device, dtype, size, float8)
            expected = _results(reference, device, dtype, size, float8)
            errors += [_apart(*pair) for pair in zip(results, expected, strict=True)]
    return max(error if error == error else float("inf") for error in errors)


def _apart(result: Tensor | Float8Rows, expected: Tensor | Float8Rows) -> float:
    coarse = isinstance(result, Float8Rows) or isinstance(expected, Float8Rows)
    values, exact = (
        tensor.dequantised().float() if isinstance(tensor, Float8Rows) else tensor.float()
        for tensor in (result, expected)
    )
    return float((values - exact).norm() / exact.norm()) / (_COARSE if coarse else 1.0)


def _results(
    kernels: Kernels, device: torch.device, dtype: torch.dtype, size: Size, float8: bool
) -> list[Tensor | Float8Rows]:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    batch, tokens, heads, dim = size.batch, size.tokens, size.heads, size.dim
    width, length = heads * dim, tokens + 2
    x, update, mlp = (random(batch, tokens, channels) for channels in (width, width, size.mlp))
    shift, scale, gate = (random(batch, 1, width) for _ in range(3))
    streams = [(random(batch, part, 3, heads, dim), random(dim), random(dim)) for part in (2, tokens)]
    pe = torch.polar(torch.ones(1, length, dim // 2), torch.randn(1, length, dim // 2, generator=generator))
    pe = pe.to(device)
    linear = nn.Linear(width, size.mlp, device="meta").to_empty(device=device).to(dtype)
    linear.weight.copy_(random(size.mlp, width) / width**0.5)
    linear.bias.copy_(random(size.mlp))
    results: list[Tensor | Float8Rows] = [
        kernels.modulate(x, shift, scale),
        kernels.add_gated(x, gate, update),
        *kernels.add_gated_modulated(x, gate, update, shift, scale),
        *kernels.qk_norm_rope(streams, pe),
        *kernels.qk_norm_rope([(random(batch, length, 3, heads, dim), random(dim), random(dim))], pe),
        kernels.gelu_concat(x, mlp),
        kernels.linear_gelu(linear, x),
    ]
    if dtype == torch.float16:  # a sum beyond its range is kept within it
        large = torch.full_like(x, 60_000.0)
        results.append(kernels.add_gated(large, torch.ones_like(gate), large))
    if not float8:
        return results
    reader = Float8Reader()  # of which only the kind counts
    packed: list[Tensor | Float8Rows] = [
        kernels.quantise_rows(x),
        kernels.modulate(x, shift, scale, reader),
        kernels.add_gated_modulated(x, gate, update, shift, scale, reader)[1],
        kernels.gelu_concat(x, mlp, reader),
        kernels.linear_gelu(linear, x, reader),
    ]
    return [*results, *(_as_rows(result) for result in packed)]


def _as_rows(result: Tensor | Float8Rows) -> Float8Rows:
    """What a reader in float8 makes of it, if that is not done yet."""
    return result if isinstance(result, Float8Rows) else reference.quantise_rows(result)
