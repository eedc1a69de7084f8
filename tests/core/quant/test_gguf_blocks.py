"""Blocks of GGUF unpack to exactly the values of the gguf package."""

import weakref
from collections.abc import Callable
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kontext_core.quant import gguf as blocks


@pytest.mark.parametrize("kind", blocks.BLOCK_SIZES)
def test_numbers_are_those_of_the_gguf_package(kind: str, random_blocks: Callable[..., Tensor]) -> None:
    stored = random_blocks(kind, 24, 7)
    expected = gguf.dequantize(stored.numpy(), gguf.GGMLQuantizationType[kind])
    actual = blocks.Blocks(kind, stored)
    assert np.isfinite(expected).all()
    assert torch.equal(actual.dequantise(torch.float32), torch.from_numpy(expected))
    assert torch.equal(actual.dequantise(torch.bfloat16), torch.from_numpy(expected).bfloat16())


def test_sizes_are_those_of_the_gguf_package() -> None:
    for kind, sizes in blocks.BLOCK_SIZES.items():
        assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]] == sizes


@pytest.mark.parametrize("kind", ["Q4_0", "Q6_K"])
def test_a_large_matrix_is_done_in_parts(
    kind: str, random_blocks: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = random_blocks(kind, 5, 3)
    whole = blocks.dequantise(kind, stored, torch.float32)
    monkeypatch.setattr(blocks, "_AT_ONCE", 1024)
    assert torch.equal(blocks.dequantise(kind, stored, torch.float32), whole)


class _Live(TorchDispatchMode):
    """The most bytes that tensors held at once which came to be meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in self.held:
                storage = tensor.untyped_storage()
                self.held[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.held.pop, storage._cdata, None)
        self.peak = max(self.peak, sum(self.held.values()))
        return result


@pytest.mark.parametrize("kind", blocks.BLOCK_SIZES)
def test_what_is_held_in_between_is_counted(kind: str, random_blocks: Callable[..., Tensor]) -> None:
    stored = random_blocks(kind, 32, 4096 // blocks.BLOCK_SIZES[kind][0])
    packed = blocks.Blocks(kind, stored)
    whole = packed.dequantise(torch.float32)  # tables are made once
    with _Live() as live:
        packed.dequantise(torch.bfloat16)
    assert whole.nbytes // 2 < live.peak <= packed.dequantise_bytes(torch.bfloat16)
