"""No leaks: edits of many kinds in a row, and edits that are stopped anywhere, leave no memory behind."""

import copy
import random
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.written import write
from kontext_core.loading import load_transformer
from kontext_core.lora import Lora
from kontext_core.memory.model_weights import ModelWeights
from kontext_core.memory.offload_plan import HostStorage
from kontext_core.model.transformer import Transformer
from kontext_core.pipeline import Pipeline
from kontext_core.quant.layer import PackedLinear
from kontext_core.quant.schemes import SCHEMES, fits, pack

pytestmark = pytest.mark.skipif(
    sys.platform != "linux",
    reason="what a process holds tells of leaks where its C library gives back what is freed",
)

SIZES = ((64, 64), (32, 96), (96, 32), (48, 64), (80, 32))
FORMS = ("bfloat16", "fp8_scaled", "NF4", "GGUF Q8_0", "GGUF Q4_0")  # of files
EDITS, WARM_UP, STOPS = 200, 60, 50


def packed(transformer: Transformer, scheme: str) -> Transformer:
    made = copy.deepcopy(transformer)
    for name, module in transformer.single_blocks.named_modules():
        if isinstance(module, nn.Linear) and fits(tuple(module.weight.shape)):
            layer = PackedLinear([pack(module.weight, scheme)], module.bias)
            made.single_blocks.set_submodule(name, layer)
    return made


@pytest.fixture(scope="module")
def loras(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    width, folder = pipeline.transformer.config.hidden_size, tmp_path_factory.mktemp("loras")
    key = "lora_unet_single_blocks_0_linear2"
    paths = [folder / f"{rank}.safetensors" for rank in (4, 16, 32)]
    for path in paths:
        rank = int(path.stem)
        down, up = torch.full((rank, 5 * width), 0.01), torch.full((width, rank), 0.01)
        save_file({f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}, path)
    return paths


@pytest.fixture(scope="module")
def files(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The transformer in files of several formats."""
    folder = tmp_path_factory.mktemp("formats")
    return [write(form, pipeline.transformer, folder / f"model{number}") for number, form in enumerate(FORMS)]


@pytest.fixture(scope="module")
def guest(pipeline: Pipeline) -> Pipeline:
    """All its blocks visit."""
    parts = copy.deepcopy(pipeline.transformer), pipeline.vae, copy.deepcopy(pipeline.text)
    return Pipeline(*parts, weights=ModelWeights(*parts, torch.device("cpu"), memory_gib="least"))


def from_file(pipeline: Pipeline, path: Path, dice: random.Random) -> Pipeline:
    """With a transformer from a file of some format, of which all blocks are read again
    at each step, or none.
    """
    visits = dice.random() < 0.5
    text = copy.deepcopy(pipeline.text) if visits else pipeline.text
    parts = load_transformer(path, dtype=torch.float32), pipeline.vae, text
    cpu, waiting = torch.device("cpu"), HostStorage(in_file=True)
    weights = ModelWeights(*parts, cpu, memory_gib="least", waiting=waiting) if visits else None
    return Pipeline(*parts, weights=weights)


@pytest.fixture
def one_edit(
    pipeline: Pipeline, guest: Pipeline, loras: list[Path], files: list[Path]
) -> Callable[..., None]:
    """Some edit: of any size, words, format of the file and form of the weights, with LoRAs or without."""

    def run(number: int, **options: object) -> None:
        dice = random.Random(number)
        model = dice.choice((pipeline, guest))
        kind = dice.random()
        if kind < 0.1:
            scheme = dice.choice(SCHEMES)
            model = Pipeline(packed(pipeline.transformer, scheme), pipeline.vae, pipeline.text)
        elif kind < 0.3:
            model = from_file(pipeline, dice.choice(files), dice)
        if dice.random() < 0.4:
            model = model.with_loras(
                [Lora(path, dice.random()) for path in dice.sample(loras, dice.randint(1, 3))]
            )
        height, width = dice.choice(SIZES)
        picture = torch.rand(1, height, width, 3, generator=torch.Generator().manual_seed(number))
        words = f"make the red circle {dice.choice(('blue', 'green'))} {number}"
        model.edit(words, [picture] * dice.randint(1, 2), seed=number, steps=dice.randint(1, 2), **options)

    return run


def resident() -> int:
    return psutil.Process().memory_info().rss


def test_edits_leave_nothing_behind(one_edit: Callable[..., None]) -> None:
    for number in range(WARM_UP):
        one_edit(number)
    before = resident()
    for number in range(EDITS):
        one_edit(WARM_UP + number)
    assert resident() <= 1.02 * before


class Stopped(BaseException):
    """An interrupt like ComfyUI's, which is not an error."""


def test_edits_that_are_stopped_anywhere_leave_nothing_behind(
    one_edit: Callable[..., None], pipeline: Pipeline, guest: Pipeline, pictures: Callable[..., Tensor]
) -> None:
    """Between steps, and in the middle of any layer of any part."""
    models = (pipeline.transformer, guest.transformer, pipeline.vae, pipeline.text, guest.text)
    layers = [layer for model in models for layer in model.modules() if not list(layer.children())]
    wanted = [model.edit("a", [pictures(64, 64)], steps=2).image for model in (pipeline, guest)]
    dice, stopped, before = random.Random(0), 0, 0
    for number in range(STOPS):

        def stop(*_: object) -> None:
            raise Stopped

        layer = dice.choice(layers)
        handle = layer.register_forward_hook(stop) if number % 3 else None
        try:
            one_edit(1000 + number, callback=stop if handle is None else None)
        except Stopped:
            stopped += 1
        finally:
            if handle is not None:
                handle.remove()
        if number == STOPS // 3:
            before = resident()
    assert stopped > STOPS // 3
    assert resident() <= 1.02 * before
    found = [model.edit("a", [pictures(64, 64)], steps=2).image for model in (pipeline, guest)]
    assert all(map(torch.equal, found, wanted))
    assert torch.equal(*found)
