"""Compiled blocks, and the options that choose them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kontext_core import pipeline as pipelines
from kontext_core.attention import exchanging
from kontext_core.faster import compile_blocks, lay_out_for_cpu, multiply_in_float8
from kontext_core.kernels import Wishes, pictures, wishes, wishing
from kontext_core.kernels.float8 import Float8Linear
from kontext_core.latents import noise
from kontext_core.pipeline import Pipeline
from kontext_core.schedule import sigmas
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


def test_wishes_of_a_pipeline() -> None:
    """They hold while it computes steps, and in what LoRAs make of it; without them those around it do."""
    asked: list[Wishes] = []
    wished = Wishes(attention="torch", graph=True)

    def look(*_: object) -> None:
        asked.append(wishes())

    loaded = Pipeline.load(device="cpu", wishes=wished)
    text = loaded.encode_prompt("make the circle blue")
    for made in (loaded, loaded.with_loras([]), Pipeline.load(device="cpu")):
        with wishing(Wishes(kernels="plain")):
            made.denoise(noise(1, 4, 4, 0), text, sigmas(1, 4), callback=look)
    assert asked == [wished, wished, Wishes(kernels="plain")]


def test_wishes_reach_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """The autoencoder there and back, the text encoders, and the preview of a step."""
    asked: dict[str, set[str]] = {"autoencoder": set(), "T5": set(), "CLIP": set()}
    fuses = pictures._fuses

    def look(*given: Any) -> bool:
        asked["autoencoder"].add(wishes().attention)
        return fuses(*given)

    monkeypatch.setattr(pictures, "_fuses", look)
    loaded = Pipeline.load(device="cpu", wishes=Wishes(attention="torch"))
    for name, part in (("T5", loaded.text.t5), ("CLIP", loaded.text.clip)):
        part.register_forward_pre_hook(lambda *_, name=name: asked[name].add(wishes().attention))
    loaded.encode_prompt("make the circle blue")
    latents = loaded.encode(torch.rand(1, 32, 32, 3))
    loaded.decode(latents)
    assert asked == {"autoencoder": {"torch"}, "T5": {"torch"}, "CLIP": {"torch"}}
    asked["autoencoder"].clear()
    loaded.thumbnail(latents)
    with wishing(Wishes(kernels="plain")):
        Pipeline.load(device="cpu").decode(latents)
    assert asked["autoencoder"] == {"torch", "auto"}


@pytest.mark.parametrize(
    ("attention", "said"), [("auto", False), ("torch", False), ("sage", True), ("flash3", True)]
)
def test_attention_that_compiled_blocks_leave_out_is_said(
    attention: str, said: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pipelines, "compile_blocks", lambda _: None)
    for compiled in (False, True):
        Pipeline.load(device="cpu", compile=compiled, wishes=Wishes(attention=attention))
        assert (f"torch's own attention and not '{attention}'" in caplog.text) == (said and compiled)


def test_float8_is_refused_for_the_card_that_will_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that visit it are still in the host's memory then."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (8, 6))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Card")
    with pytest.raises(ValueError, match="Card does not multiply in float8; take a card"):
        multiply_in_float8(built(lambda: Transformer(SMALL)), torch.device("cuda", 0))


@torch.inference_mode()
def test_weights_laid_out_for_a_cpu(inputs: Callable[..., dict[str, Tensor]]) -> None:
    """Other strides, the same shapes, the same numbers, the same parameters."""
    model = built(lambda: Transformer(SMALL))
    given, parameters = inputs(), dict(model.named_parameters())
    expected, stored = model(**given), {name: one.clone() for name, one in parameters.items()}
    count = lay_out_for_cpu(model)
    assert count == sum(isinstance(module, nn.Linear) for module in model.modules())
    assert model.single_blocks[0].linear1.weight.stride() == (1, SMALL.hidden_size * 3 + SMALL.mlp_hidden_dim)
    for name, one in model.named_parameters():
        assert one is parameters[name]
        assert torch.equal(one, stored[name])
    torch.testing.assert_close(model(**given), expected, rtol=1e-5, atol=1e-6)


def test_what_is_not_laid_out() -> None:
    """Large weights, which would gain nothing, and other numbers than float32."""
    large = built(lambda: Transformer(replace(SMALL, depth=0, depth_single_blocks=0, vec_in_dim=2**20)))
    weight = large.vector_in.in_layer.weight
    assert weight.numel() > 2**20
    lay_out_for_cpu(large)
    assert weight.is_contiguous()
    assert lay_out_for_cpu(built(lambda: Transformer(SMALL)).bfloat16()) == 0


@pytest.mark.parametrize("memory_gib", [None, "least"])
def test_loading_for_a_cpu_lays_weights_out_also_where_they_visit(memory_gib: Any) -> None:
    """Or a limit of memory would change bits."""
    model = Pipeline.load(device="cpu", memory_gib=memory_gib).transformer
    for weight in (model.img_in.weight, model.single_blocks[-1].linear1.weight):
        assert weight.t().is_contiguous()
