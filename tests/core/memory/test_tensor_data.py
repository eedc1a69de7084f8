"""A model loaded in one of torch's modes and used in another: the same bits, whatever the options."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kontext_core.loading import load_parts, load_text_encoders, load_transformer, load_vae
from kontext_core.loading.locate import TINY_FOLDER
from kontext_core.lora import Lora
from kontext_core.memory.block_streaming import move_others
from kontext_core.memory.tensor_data import own_mode, tensors_of
from kontext_core.model.optimise import compile_blocks
from kontext_core.pipeline import Pipeline
from kontext_core.sampling.references import ReferenceLatents
from tests.core.memory.test_offload_plan import WORDS, lora_file, picture

MODES: dict[str, Any] = {"inference": torch.inference_mode, "no_grad": torch.no_grad, "plain": nullcontext}
LOADED: dict[str, dict[str, Any]] = {
    "resident": {},
    "visiting": {"memory_gib": "least"},
    "in files": {"memory_gib": "least", "waits": "file", "dtype": torch.bfloat16},
    "nf4": {"quantise": "nf4"},
    "int8, visiting": {"quantise": "int8", "memory_gib": "least"},
    "float8": {"float8": True},
    "compiled": {"compile": True},
}


def results(model: Pipeline, lora: Path) -> list[Tensor]:
    """An edit, one with a LoRA and a weighted reference, and a picture there and back;
    the second prompt is kept.
    """
    first = model.edit(WORDS, [picture()], steps=1, seed=1)
    view = model.with_loras([Lora(lora, 0.5), Lora(lora, 0.25, start=0.5)])
    weighted = ReferenceLatents(first.latents, strength=0.5)
    second = view.edit(WORDS, [first, weighted], steps=2, approximate="teacache")
    return [first.latents, second.latents, model.decode(model.encode(picture()))]


@pytest.mark.parametrize("how", LOADED)
def test_the_same_bits_in_all_modes(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_parts, "compile_blocks", lambda model: compile_blocks(model, backend="eager"))
    plain = Pipeline.load("tiny", device="cpu", **LOADED[how])
    lora = lora_file(plain, 8, tmp_path)
    wanted = results(plain, lora)
    for loads in MODES:
        with MODES[loads]():
            model = Pipeline.load("tiny", device="cpu", **LOADED[how])
        for uses in MODES:
            with MODES[uses]():
                got = results(model, lora)
            for one, other in zip(got, wanted, strict=True):
                assert torch.equal(one, other), f"loaded in {loads}, used in {uses}"
        every = [tensor for part in (model.transformer, model.vae, model.text) for tensor in tensors_of(part)]
        assert not any(tensor.is_inference() for tensor in every)
    torch._dynamo.reset()


def test_parts_by_themselves(tmp_path: Path) -> None:
    """And what LoRAs, float8 and a CPU's order make of them; training goes on where a user loaded."""
    with torch.inference_mode():
        parts = load_transformer(TINY_FOLDER), load_vae(TINY_FOLDER), load_text_encoders(TINY_FOLDER)
        model = Pipeline(*parts)
        view = model.with_loras(
            [Lora(lora_file(model, 8, tmp_path), merged=True), Lora(tmp_path / "some.safetensors")]
        )
        load_parts.multiply_in_float8(model.transformer)
        load_parts.lay_out_for_cpu(model.transformer)
    for part in (*parts, view.transformer, view.text):
        assert not any(tensor.is_inference() for tensor in tensors_of(part))
    latents = torch.randn(1, 16, 4, 4)
    parts[1].decode(latents).sum().backward()
    assert parts[1].decoder.conv_in.weight.grad is not None


def test_weights_that_were_made_in_inference_mode_stay_of_use_there() -> None:
    """Those of a model that was built by hand in it."""
    with torch.inference_mode():
        linear = torch.nn.Linear(4, 3)
    move_others(linear, torch.device("cpu"), ())
    with own_mode(linear.weight):
        linear.weight.data = linear.weight.data.clone()
    with torch.inference_mode():
        assert linear(torch.zeros(1, 4)).shape == (1, 3)
