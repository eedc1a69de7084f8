"""Step caches in the nodes: the chosen one reaches the core, and none does by default."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from .conftest import sampled

FAST = {"steps": 4, "seed": 7}
Run = Callable[..., Any]


def test_the_way_reaches_the_core(run: Run, model: Any, image: Tensor) -> None:
    given = {"model": model, "image": image, "instruction": "make the circle red", **FAST}
    off, exact = (run("KontextEdit", **given, **more)[0] for more in ({"approximate": "off"}, {}))
    quick = run("KontextEdit", **given, approximate="teacache", approximate_number=0.9)[0]
    core = model.edit("make the circle red", [image], **FAST, approximate="teacache:0.9").image
    assert torch.equal(off, exact)
    assert torch.equal(quick, core)
    assert not torch.equal(quick, exact)


def test_number_0_is_the_usual_one(run: Run, model: Any) -> None:
    words = run("KontextEncodePrompt", model=model, text="make the circle red")[0]
    given = {"model": model, "prompt": words, **FAST, "approximate": "teacache"}
    made = [
        run("KontextSampler", **given, approximate_number=number)[0]["samples"] for number in (0, 0.1, 1.0)
    ]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_models_of_comfyuis_loaders_refuse(run: Run, hosted: Any) -> None:
    with pytest.raises(
        ValueError,
        match=r"approximate is 'teacache:0.2', which a model from ComfyUI's loaders does not support",
    ):
        sampled(run, hosted, approximate="teacache", approximate_number=0.2)
