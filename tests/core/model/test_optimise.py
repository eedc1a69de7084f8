"""Compiled blocks, and the options that choose them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
import torch
from torch import Tensor, nn

from kontext_core.edit_settings import EditSettings
from kontext_core.kernels import float8_linear, group_norm
from kontext_core.kernels.float8_linear import Float8Linear
from kontext_core.kernels.options import compute_options, use_compute_options
from kontext_core.loading import load_parts
from kontext_core.lora import Lora
from kontext_core.memory.block_streaming import StreamedTransformer
from kontext_core.memory.tensor_data import lay_out_for_cpu
from kontext_core.model import optimise
from kontext_core.model.attention import exchanging
from kontext_core.model.latents import noise
from kontext_core.model.optimise import compile_blocks, multiply_in_float8
from kontext_core.model.transformer import Transformer
from kontext_core.model_spec import ComputeOptions
from kontext_core.pipeline import Pipeline
from kontext_core.quant.layer import PackedLinear, UnquantisedRows
from kontext_core.sampling.denoise import denoise
from kontext_core.sampling.inputs import SampleInputs
from kontext_core.sampling.references import ReferenceLatents
from kontext_core.sampling.schedule import sigmas
from tests.core.conftest import SMALL, built
from tests.core.memory.test_offload_plan import lora_file, made


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


class Counted:
    """A backend of `torch.compile` that keeps the trace, and counts what it is asked for."""

    def __init__(self) -> None:
        self.compiled = self.called = 0

    def __call__(self, graph: Any, _: object) -> Callable[..., object]:
        self.compiled += 1

        def run(*values: object) -> object:
            self.called += 1
            return graph.forward(*values)

        return run


@torch.no_grad()
def test_blocks_are_compiled_at_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many sizes, several references, lengths of prompts and batches: torch alone counts
    eight for all blocks together.
    """
    monkeypatch.setattr(optimise, "SHAPES", 2)
    model, plain = (
        built(lambda: Transformer(replace(SMALL, depth=1, depth_single_blocks=3))) for _ in range(2)
    )
    counted = Counted()
    compile_blocks(model, backend=counted)

    def check(height: int, batch: int = 1, length: int = 5, count: int = 1, strength: float = 1.0) -> int:
        """Return how many programs were compiled for it."""
        generator, before = torch.Generator().manual_seed(height), counted.compiled
        references = [
            ReferenceLatents(torch.randn(1, 16, height, 6, generator=generator), strength)
            for _ in range(count)
        ]
        txt = torch.randn(batch, length, SMALL.context_in_dim, generator=generator)
        pooled = torch.randn(batch, SMALL.vec_in_dim, generator=generator)
        given = (noise(batch, 4, 6, 0), txt, pooled, [1.0, 0.0])
        found, expected = (denoise(network, *given, references=references) for network in (model, plain))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert counted.called == 4, "each of the blocks"
        counted.called = 0
        return counted.compiled - before

    # for a double block, a single one and the last
    assert [check(height) for height in range(2, 24, 2)] == [3, 3, 3] + [0] * 8
    assert check(8, batch=2) <= 3
    assert check(12, batch=3, length=7, count=2) <= 3
    assert check(6, batch=2, length=9) + check(10, batch=3, length=6, count=3) == 0
    assert check(8, strength=0.5) == 3
    torch._dynamo.reset()


def test_modes_and_training_have_programs_of_their_own(inputs: Callable[..., dict[str, Tensor]]) -> None:
    model, counted = built(lambda: Transformer(SMALL)), Counted()
    compile_blocks(model, backend=counted)
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad) * 2:
        with mode():
            model(**inputs())
        assert counted.called == 4
        counted.called = 0
    compiled = counted.compiled
    model.requires_grad_(True).train()
    model(**inputs()).sum().backward()
    assert model.single_blocks[0].linear1.weight.grad is not None
    assert counted.compiled > compiled
    torch._dynamo.reset()


def test_blocks_of_other_weights_share_no_program_and_die_with_the_model() -> None:
    """A packed one among plain ones, one with a hook; and a compiled model is freed when nobody holds it."""
    model, counted = built(lambda: Transformer(replace(SMALL, depth=1, depth_single_blocks=4))), Counted()
    linear = model.single_blocks[1].linear1
    model.single_blocks[1].linear1 = PackedLinear([UnquantisedRows(linear.weight.detach())], linear.bias)
    seen: list[Tensor] = []
    model.single_blocks[2].register_forward_hook(lambda *given: seen.append(given[2]))
    compile_blocks(model, backend=counted)
    programs = [block._compiled_call_impl.func for block in model.single_blocks]
    assert len(set(programs)) == 3
    assert programs[0] is programs[3]
    x, pe = torch.randn(1, 7, 32), torch.ones(1, 7, 8, dtype=torch.complex64)
    with torch.no_grad():
        for block in model.single_blocks:
            block(x, pe, torch.randn(1, 3, 1, 32))
    assert (counted.called, len(seen)) == (4, 1)
    gone = [ref(block) for block in model.single_blocks]
    del model, block, linear, seen[:]
    assert [one() for one in gone] == [None] * 4
    torch._dynamo.reset()


def test_a_lora_on_compiled_blocks_acts(tmp_path: Path) -> None:
    plain, compiled = (Pipeline.load(device="cpu") for _ in range(2))
    loras = [Lora(lora_file(plain, 4, tmp_path), 0.7)]
    compile_blocks(compiled.transformer, backend="eager")
    expected = made(plain.with_loras(loras))
    torch.testing.assert_close(made(compiled.with_loras(loras)), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(made(compiled), expected)
    torch._dynamo.reset()


def test_blocks_that_visit_are_not_compiled() -> None:
    model = built(lambda: Transformer(SMALL))
    StreamedTransformer(model, torch.device("cpu"), blocks=2)
    with pytest.raises(ValueError, match="cannot be compiled; allow more memory, or do not compile"):
        compile_blocks(model)


def test_options_of_a_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Transformer] = []
    monkeypatch.setattr(load_parts, "compile_blocks", seen.append)
    loaded = Pipeline.load(compile=True, float8=True, device="cpu")
    assert seen == [loaded.transformer]
    assert isinstance(loaded.transformer.single_blocks[0].linear2, Float8Linear)


def test_wishes_of_a_pipeline() -> None:
    """They hold while it computes steps, and in what LoRAs make of it; without them those around it do."""
    asked: list[ComputeOptions] = []
    wished = ComputeOptions(attention="torch", graph=True)

    def look(*_: object) -> None:
        asked.append(compute_options())

    loaded = Pipeline.load(device="cpu", wishes=wished)
    text = loaded.encode_prompt("make the circle blue")
    for model in (loaded, loaded.with_loras([]), Pipeline.load(device="cpu")):
        with use_compute_options(ComputeOptions(kernels="plain")):
            inputs = SampleInputs(noise=noise(1, 4, 4, 0), text=text)
            model.denoise(inputs, sigmas(1, 4), EditSettings(), look)
    assert asked == [wished, wished, ComputeOptions(kernels="plain")]


def test_wishes_reach_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """The autoencoder there and back, the text encoders, and the preview of a step."""
    asked: dict[str, set[str]] = {"autoencoder": set(), "T5": set(), "CLIP": set()}
    fuses = group_norm._fuses

    def look(*given: Any) -> bool:
        asked["autoencoder"].add(compute_options().attention)
        return fuses(*given)

    monkeypatch.setattr(group_norm, "_fuses", look)
    loaded = Pipeline.load(device="cpu", wishes=ComputeOptions(attention="torch"))
    for name, part in (("T5", loaded.text.t5), ("CLIP", loaded.text.clip)):
        part.register_forward_pre_hook(lambda *_, name=name: asked[name].add(compute_options().attention))
    loaded.encode_prompt("make the circle blue")
    latents = loaded.encode(torch.rand(1, 32, 32, 3))
    loaded.decode(latents)
    assert asked == {"autoencoder": {"torch"}, "T5": {"torch"}, "CLIP": {"torch"}}
    asked["autoencoder"].clear()
    loaded.thumbnail(latents)
    with use_compute_options(ComputeOptions(kernels="plain")):
        Pipeline.load(device="cpu").decode(latents)
    assert asked["autoencoder"] == {"torch", "auto"}


@pytest.mark.parametrize(
    ("attention", "said"), [("auto", False), ("torch", False), ("sage", True), ("flash3", True)]
)
def test_attention_that_compiled_blocks_leave_out_is_said(
    attention: str, said: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(load_parts, "compile_blocks", lambda _: None)
    for compiled in (False, True):
        Pipeline.load(device="cpu", compile=compiled, wishes=ComputeOptions(attention=attention))
        assert (f"torch's own attention and not '{attention}'" in caplog.text) == (said and compiled)


def test_float8_is_refused_for_the_card_that_will_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that visit it are still in the host's memory then."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (8, 6))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Card")
    with pytest.raises(ValueError, match="Card does not multiply in float8; use a card"):
        multiply_in_float8(built(lambda: Transformer(SMALL)), torch.device("cuda", 0))


@pytest.mark.parametrize("fails", ["raises", "is not finite"])
def test_a_float8_product_is_tried_before_it_is_put_in(fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card may have the units and this PyTorch no product for it.

    On a CPU torch multiplies so too, in its own way.
    """

    card, cpu = torch.device("cuda", 0), torch.device("cpu")
    optimise.try_float8(cpu, torch.bfloat16)
    tried: list[torch.device] = []
    try_float8 = optimise.try_float8
    monkeypatch.setattr(
        optimise, "try_float8", lambda device, dtype: tried.append(device) or try_float8(cpu, dtype)
    )
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (12, 0))
    model = built(lambda: Transformer(replace(SMALL, hidden_size=64, num_heads=2, axes_dim=(8, 12, 12))))
    with monkeypatch.context() as broken:

        def product(rows: Any, *_: Any) -> Tensor:
            if fails == "raises":
                raise RuntimeError("Only multiplication of row-major matrices is supported\nmore of it")
            return torch.full((1, 1), torch.nan)

        broken.setattr(float8_linear, "card_product", product)
        reason = (
            "Only multiplication of row-major matrices is supported"
            if fails == "raises"
            else "are not finite"
        )
        with pytest.raises(
            ValueError, match=rf"do not run here, on cpu with PyTorch .*{reason}\): leave float8 out"
        ):
            multiply_in_float8(model, card)
    assert tried == [card]
    assert not any(isinstance(module, Float8Linear) for module in model.modules())
    assert multiply_in_float8(model, card) == 2 * 8 + 2 * 2


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
