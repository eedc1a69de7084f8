"""Random GGUF blocks of every type, for what the gguf package cannot write."""

import torch
from torch import Tensor

from kontext_core.quant.gguf import BLOCK_SIZES

# Where in a block its float16 numbers are.
_HALVES = {
    "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,), "Q2_K": (80, 82),
    "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "IQ1_S": (0,), "IQ2_XXS": (0,),
    "IQ2_XS": (0,), "IQ2_S": (0,), "IQ3_XXS": (0,), "IQ3_S": (0,), "IQ4_NL": (0,), "IQ4_XS": (0,),
    "TQ1_0": (52,), "TQ2_0": (64,),
}  # fmt: skip


def random_rows(kind: str, rows: int, blocks: int, *, scale: float = 1.0, seed: int = 0) -> Tensor:
    """Bytes (rows, blocks * size): any bits, but finite factors of the given size."""
    generator = torch.Generator().manual_seed(seed)
    size = BLOCK_SIZES[kind][1]
    stored = torch.randint(0, 256, (rows * blocks, size), dtype=torch.uint8, generator=generator)
    for place in _HALVES.get(kind, ()):
        factors = torch.randn(rows * blocks, 1, generator=generator) * scale
        stored[:, place : place + 2] = factors.half().view(torch.uint8)
    if kind == "IQ1_M":  # a half in the upper four bits of four words
        factors = (torch.randn(rows * blocks, 1, generator=generator) * scale).half().view(torch.uint8)
        for i in range(4):
            nibble = factors[:, i // 2] >> 4 * (i % 2) & 15
            stored[:, 49 + 2 * i] = stored[:, 49 + 2 * i] & 15 | nibble << 4
    if kind == "MXFP4":  # the exponent of a factor, from denormal to 2
        stored[:, 0] %= 128
    return stored.view(rows, blocks * size)
