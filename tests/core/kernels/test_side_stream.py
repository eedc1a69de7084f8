"""Work on a side stream: the main stream waits for it even if it fails."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kontext_core.kernels import side_stream
from kontext_core.kernels.options import use_compute_options
from kontext_core.model_spec import ComputeOptions


@pytest.mark.parametrize("fails", ["", "first", "second"])
def test_streams_are_joined_whatever_happens(fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    main = SimpleNamespace(wait_stream=lambda _: said.append("main waits"))
    side = SimpleNamespace(wait_stream=lambda _: said.append("side waits"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: main)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    monkeypatch.setattr(side_stream, "_side", lambda _: side)
    x: Any = SimpleNamespace(is_cuda=True, device=torch.device("cuda", 0))

    def work(name: str) -> str:
        said.append(name)
        if name == fails:
            raise ValueError(name)
        return name

    with use_compute_options(ComputeOptions(side_stream=True)):
        if fails:
            with pytest.raises(ValueError, match=fails):
                side_stream.run_overlapped(x, lambda: work("first"), lambda: work("second"))
        else:
            assert side_stream.run_overlapped(x, lambda: work("first"), lambda: work("second")) == (
                "first",
                "second",
            )
    assert said[:2] == ["side waits", "second"]
    assert said[-1] == "main waits"
