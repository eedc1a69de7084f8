"""Blocks of GGUF become the very numbers that the gguf package makes of them."""

from collections.abc import Callable

import gguf
import numpy as np
import pytest
import torch
from torch import Tensor

from kontext_core.packed import gguf as blocks


@pytest.mark.parametrize("kind", blocks.BLOCKS)
def test_numbers_are_those_of_the_gguf_package(kind: str, random_blocks: Callable[..., Tensor]) -> None:
    stored = random_blocks(kind, 24, 7)
    expected = gguf.dequantize(stored.numpy(), gguf.GGMLQuantizationType[kind])
    actual = blocks.Blocks(kind, stored)
    assert np.isfinite(expected).all()
    assert torch.equal(actual.dequantise(torch.float32), torch.from_numpy(expected))
    assert torch.equal(actual.dequantise(torch.bfloat16), torch.from_numpy(expected).bfloat16())


def test_sizes_are_those_of_the_gguf_package() -> None:
    for kind, sizes in blocks.BLOCKS.items():
        assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]] == sizes


@pytest.mark.parametrize("kind", ["Q4_0", "Q6_K"])
def test_a_large_matrix_is_done_in_parts(
    kind: str, random_blocks: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = random_blocks(kind, 5, 3)
    whole = blocks.dequantise(kind, stored, torch.float32)
    monkeypatch.setattr(blocks, "_AT_ONCE", 1024)
    assert torch.equal(blocks.dequantise(kind, stored, torch.float32), whole)
