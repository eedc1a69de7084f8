"""Random weights in packed form."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.core.packed_blocks import random_rows


@pytest.fixture(scope="session")
def random_blocks() -> Callable[..., Tensor]:
    """`random_blocks(kind, rows, blocks)`: bytes (rows, blocks * size) that are valid and of any kind."""
    return random_rows


@pytest.fixture(scope="session")
def weight() -> Tensor:
    """(48, 128), as a trained layer's."""
    return torch.randn(48, 128, generator=torch.Generator().manual_seed(0)) * 0.02
