"""Compiled blocks, and the options that choose them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from kontext_core import pipeline as pipelines
from kontext_core.attention import exchanging
from kontext_core.faster import compile_blocks
from kontext_core.kernels.float8 import Float8Linear
from kontext_core.pipeline import Pipeline
from kontext_core.streaming import Streaming
from kontext_core.transformer import Transformer
from tests.core.conftest import SMALL, built


@torch.no_grad()
def test_blocks_compile_in_one_piece(inputs: Callable[..., dict[str, Tensor]]) -> None:
    """Traced whole, without breaks; what makes code of the trace takes minutes, and is torch's business."""
    model = built(lambda: Transformer(replace(SMALL, depth=1, depth_single_blocks=1)))
    given = inputs()
    expected, traced = model(**given), 0

    def backend(graph: Any, _: object) -> Any:
        nonlocal traced
        traced += 1
        return graph.forward

    compile_blocks(model, backend=backend, fullgraph=True)
    torch.testing.assert_close(model(**given), expected)
    assert traced == 2
    with exchanging(lambda k, v: (k, v * 0)):
        assert not torch.allclose(model(**given), expected), "keys and values of other devices are seen"
    torch._dynamo.reset()


def test_blocks_that_visit_are_not_compiled() -> None:
    model = built(lambda: Transformer(SMALL))
    Streaming(model, torch.device("cpu"), blocks=2)
    with pytest.raises(ValueError, match="cannot be compiled; allow more memory, or do not compile"):
        compile_blocks(model)


def test_options_of_a_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Transformer] = []
    monkeypatch.setattr(pipelines, "compile_blocks", seen.append)
    loaded = Pipeline.load(compile=True, float8=True, device="cpu")
    assert seen == [loaded.transformer]
    assert isinstance(loaded.transformer.single_blocks[0].linear2, Float8Linear)
