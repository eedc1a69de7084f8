"""The kernel floor: each product and each attention of a step alone, as fast as this machine runs it."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from kontext_core.config import TransformerConfig

from .cases import Case, attentions, counted_flop, products
from .clock import Clock

COPIED_BYTES = {"cuda": 2**30, "cpu": 2**26}
_BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


class Floor:
    """Times each shape once, however many cases have it."""

    def __init__(self, clock: Clock, config: TransformerConfig, dtype: torch.dtype, seconds: float) -> None:
        self.clock, self.config, self.dtype, self.seconds = clock, config, dtype, seconds
        self.multiplied: dict[tuple[int, int, int], float] = {}
        self.in_float8: dict[tuple[int, int, int], float] = {}
        self.attended: dict[tuple[int, int], tuple[float, str]] = {}

    @torch.no_grad()
    def of(self, case: Case) -> dict[str, Any]:
        """Seconds of one step's products and attention, of products in float8 (None where
        there is none), and rates.
        """
        gemm = sum(self._product(shape) * times for shape, times in products(self.config, case).items())
        attention = sum(
            self._attention(shape)[0] * times for shape, times in attentions(self.config, case).items()
        )
        flop, attention_flop = counted_flop(self.config, case)
        return {
            "products": gemm,
            "attention": attention,
            "step": gemm + attention,
            "products_float8": self._float8(case),
            "attention_backend": self._attention(max(attentions(self.config, case)))[1],
            "tflops": {"products": flop / gemm / 1e12, "attention": attention_flop / attention / 1e12},
        }

    def copy_bytes_a_second(self) -> float:
        """Read and written by a copy within the device's memory."""
        number = COPIED_BYTES.get(self.clock.device.type, 2**26)
        source = torch.empty(number, dtype=torch.uint8, device=self.clock.device)
        target = torch.empty_like(source)
        return 2 * number / self.clock.looped(lambda: target.copy_(source), self.seconds)

    def _random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, device=self.clock.device).to(self.dtype)

    def _product(self, shape: tuple[int, int, int]) -> float:
        if shape not in self.multiplied:
            m, k, n = shape
            x, weight, bias = self._random(m, k), self._random(n, k) / k**0.5, self._random(n)
            self.multiplied[shape] = self.clock.looped(lambda: F.linear(x, weight, bias), self.seconds)
        return self.multiplied[shape]

    def _attention(self, shape: tuple[int, int]) -> tuple[float, str]:
        if shape not in self.attended:
            heads = self.config.num_heads
            dim = self.config.hidden_size // heads
            q, k, v = (
                self._random(1, length, heads, dim).transpose(1, 2)
                for length in (shape[0], shape[1], shape[1])
            )
            found: list[tuple[float, str]] = []
            for name, backend in _BACKENDS.items():
                if name == "math" and found:
                    continue
                try:
                    with sdpa_kernel(backend), warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # each backend says why it cannot
                        work: Callable[[], Tensor] = lambda: F.scaled_dot_product_attention(q, k, v)  # noqa: E731
                        found.append((self.clock.looped(work, self.seconds), name))
                except RuntimeError:  # not for this device, dtype or width
                    continue
            self.attended[shape] = min(found)
        return self.attended[shape]

    def _float8(self, case: Case) -> float | None:
        device = self.clock.device
        if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 9):
            return None
        total = 0.0
        for (m, k, n), times in products(self.config, case).items():
            if k % 16 or n % 16:
                total += self._product((m, k, n)) * times
                continue
            if (m, k, n) not in self.in_float8:
                x, weight = (
                    torch.randn(*size, device=device).to(torch.float8_e4m3fn) for size in ((m, k), (n, k))
                )
                factors = torch.ones(m, 1, device=device), torch.ones(1, n, device=device)
                self.in_float8[m, k, n] = self.clock.looped(
                    lambda x=x, weight=weight, factors=factors: torch._scaled_mm(
                        x,
                        weight.t(),
                        scale_a=factors[0],
                        scale_b=factors[1],
                        out_dtype=torch.bfloat16,
                        use_fast_accum=True,
                    ),
                    self.seconds,
                )
            total += self.in_float8[m, k, n] * times
        return total
