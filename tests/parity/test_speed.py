"""The promised speed is kept. The full measurement is benchmarks/cpu_forward.py."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.cpu_forward import fastest, ratios, transformer_contestants

ROUNDS, ATTEMPTS = 25, 5


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.skipif(sys.platform == "win32", reason="its clock of a thread's own time ticks every 16 ms")
@pytest.mark.usefixtures("one_thread")
def test_faster_than_diffusers(tmp_path: Path) -> None:
    """Measured 1.35 (forward) and 1.55 (step) times as fast; a busy machine blurs it, so
    the best of a few counts.
    """
    contestants = transformer_contestants(tmp_path)
    seen = []
    for _ in range(ATTEMPTS):
        seen.append(ratios(fastest(contestants, ROUNDS)))
        if seen[-1]["forward"] >= 1.2 and seen[-1]["step"] >= 1.3:
            return
    pytest.fail(f"times as fast as diffusers: {seen}; at least 1.2 and 1.3 are wanted")
