"""What only a CUDA card can show, each with a verdict of its own; on a CPU the same, small, so that
no check is itself wrong.

`python -m benchmarks.card` runs them first.
"""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.speed.models import random_vae
from kontext_core.config import FLUX_VAE
from kontext_core.kernels import dispatch, self_check
from kontext_core.kernels import reference as plain
from kontext_core.kernels.options import use_compute_options
from kontext_core.lora import Lora
from kontext_core.model import attention, tiled_vae
from kontext_core.model.latents import noise
from kontext_core.model.optimise import compile_blocks, multiply_in_float8
from kontext_core.model.transformer import Transformer
from kontext_core.model_spec import ComputeOptions
from kontext_core.pipeline import Pipeline
from kontext_core.sampling import cuda_graph
from kontext_core.sampling.denoise import denoise
from kontext_core.sampling.schedule import sigmas
from tests.conftest import relative_error
from tests.core.conftest import SMALL_VAE
from tests.core.memory.test_offload_plan import WORDS, lora_file, made, picture

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
HALVES = (torch.bfloat16, torch.float16)
on_each = pytest.mark.parametrize("device", DEVICES)
GRAPH = ComputeOptions(graph=True)


def is_card(device: str) -> bool:
    return device == "cuda"


def numbers(device: str) -> torch.dtype:
    return torch.bfloat16 if is_card(device) else torch.float32


def loaded(device: str, **options: Any) -> Pipeline:
    return Pipeline.load("tiny", device=device, **options)


def edited(model: Pipeline, seed: int = 0, **options: Any) -> Tensor:
    return model.edit(WORDS, [picture()], steps=3, seed=seed, **options).latents.cpu()


def recordings(model: Pipeline) -> int:
    """How many steps of it are recorded."""
    graph = cuda_graph._graphs.get(model.transformer)
    return 0 if graph is None else sum(one.step is not None for one in graph._recordings.values())


@on_each
@torch.no_grad()
def test_eight_pictures_are_decoded_at_once(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """2^31 numbers in the largest layer at 1024 px, more than upsampling of channels
    that lie side by side takes.
    """
    config, side, count = (FLUX_VAE, 1024, 8) if is_card(device) else (SMALL_VAE, 64, 3)
    if not is_card(device):
        monkeypatch.setattr(tiled_vae, "whole_at_once", lambda *_: 2)
    vae = random_vae(config, torch.device(device), numbers(device))
    latents = torch.randn(count, 16, side // 8, side // 8, generator=torch.Generator().manual_seed(0)).to(
        device
    )
    images = tiled_vae.decode_with_room(vae, latents)
    assert images.shape == (count, 3, side, side)
    last = tiled_vae.decode_with_room(vae, latents[-1:])
    assert relative_error(images[-1:].float().cpu(), last.float().cpu()) < (0.02 if is_card(device) else 1e-5)


@pytest.mark.gpu
@torch.no_grad()
def test_one_picture_beyond_what_kernels_index_is_decoded_in_tiles() -> None:
    vae = random_vae(FLUX_VAE, torch.device("cuda"), torch.bfloat16)
    latents = torch.randn(1, 16, 364, 364, device="cuda")
    assert tiled_vae.decode_with_room(vae, latents).shape == (1, 3, 2912, 2912)


@on_each
def test_memory_of_an_attempt_is_free_for_the_tiles(device: str) -> None:
    vae = random_vae(SMALL_VAE, torch.device(device), torch.float32)
    latents, size = torch.zeros(1, 16, 4, 4, device=device), 2**28 if is_card(device) else 2**10
    free: list[int] = []

    def held() -> int:
        return torch.cuda.memory_reserved() if is_card(device) else 0

    before = held()

    def fail(x: Tensor) -> Tensor:
        activations = x.new_empty(size)
        raise torch.OutOfMemoryError(f"no room beside {activations.shape}")

    def tiled(x: Tensor) -> Tensor:
        free.append(held() - before)
        return x

    tiled_vae._with_room(vae, fail, tiled, latents, (32, 32), None)
    assert free[0] < 2**21 * 8


class Asks(nn.Module):
    """A block that asks the card for a number, which no recording allows."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.modulation = block.modulation

    def forward(self, x: Tensor, *given: Any, **options: Any) -> Tensor:
        assert x.sum().item() == x.sum().item()
        return self.block(x, *given, **options)


@on_each
def test_a_recording_that_fails_leaves_eager_steps_right(device: str) -> None:
    """Also the card's own random numbers, the stream, and what is recorded later."""
    expected, model = edited(loaded(device)), loaded(device)
    block = model.transformer.single_blocks[1]
    model.transformer.single_blocks[1] = Asks(block)
    with use_compute_options(GRAPH):
        for _ in range(2):
            assert relative_error(edited(model), expected) < 1e-3
    assert recordings(model) == 0
    torch.randn(3, device=device)
    if is_card(device):
        assert torch.cuda.current_stream() == torch.cuda.default_stream()
    model.transformer.single_blocks[1] = block
    with use_compute_options(GRAPH):
        assert relative_error(edited(model), expected) < 1e-3
    assert recordings(model) == int(is_card(device))
    model.to_host()


@on_each
def test_a_forward_in_float8(device: str) -> None:
    model = loaded(device)
    expected = edited(model)
    assert multiply_in_float8(model.transformer) > 0
    found = edited(model)
    assert found.isfinite().all()
    assert relative_error(found, expected) < 0.3


@on_each
@pytest.mark.parametrize("dtype", HALVES)
def test_fused_kernels_at_the_published_sizes(device: str, dtype: torch.dtype) -> None:
    """4,608 rows of 3072, 12288 and 15360 numbers, with readers in float8."""
    sizes = (
        (*self_check.SIZES, self_check.Size(1, 4606, 24, 128, 12288))
        if is_card(device)
        else self_check.SIZES[:1]
    )
    form = dispatch._fused() if is_card(device) else plain
    assert self_check.difference(form, torch.device(device), dtype, sizes) < 0.01
    assert not is_card(device) or dispatch.runs_fused(torch.device(device), dtype)


@on_each
def test_an_error_in_a_block_leaves_streams_joined(device: str) -> None:
    model = loaded(device)
    with use_compute_options(ComputeOptions(side_stream=True)):
        expected = edited(model)
        projection = model.transformer.double_blocks[1].img_attn.proj

        def fail(*_: object) -> None:
            raise KeyError("in the middle of a block")

        for _ in range(3):
            hook = projection.register_forward_pre_hook(fail)
            with pytest.raises(KeyError):
                edited(model)
            hook.remove()
            assert torch.equal(edited(model), expected)


@on_each
def test_teacache_takes_no_graph(device: str, caplog: pytest.LogCaptureFixture) -> None:
    model = loaded(device)
    expected = edited(model, approximate="teacache")
    with use_compute_options(GRAPH):
        assert torch.equal(edited(model, approximate="teacache"), expected)
    assert recordings(model) == 0
    assert "none is recorded as a CUDA graph" in caplog.text


@on_each
def test_what_leaves_a_card_leaves_nothing_there(device: str, tmp_path: Any) -> None:
    """But for workspaces: neither weights nor prompts, pictures, LoRAs or recorded steps."""
    if is_card(device):
        torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)  # its workspace stays
        torch.cuda.synchronize()
    before = torch.cuda.memory_allocated() if is_card(device) else 0
    model = loaded(device, wishes=GRAPH)
    view = model.with_loras([Lora(lora_file(model, 8, tmp_path), 0.5)])
    expected = [edited(model), edited(view)]
    for seed in range(4):
        view.encode_prompt(f"prompt {seed}")
        view.encode_reference(torch.rand(1, 128, 128, 3))
    model.to_host()
    if is_card(device):
        assert torch.cuda.memory_allocated() - before < 2**26
    kept = [*view._kept.values(), *(part for entry in view.text._kept.values() for part in entry[:2])]
    assert {tensor.device.type for tensor in (*kept, *view.weights.staying())} == {"cpu"}
    model.to_device()
    assert all(torch.equal(edited(one), found) for one, found in zip((model, view), expected, strict=True))


@on_each
def test_two_threads_with_a_graph(device: str) -> None:
    model = loaded(device, wishes=GRAPH)
    expected, found = [edited(model, seed) for seed in (0, 1)], {}
    threads = [
        threading.Thread(target=lambda seed=seed: found.update({seed: edited(model, seed)}))
        for seed in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[seed], expected[seed]) for seed in (0, 1))
    model.to_host()


@on_each
@pytest.mark.parametrize(("queries", "keys"), [(4096, 4097), (4097, 4096), (4096, 8704)])
@torch.no_grad()
def test_odd_numbers_of_keys(device: str, queries: int, keys: int) -> None:
    """Whatever attends to them, against torch's own by products."""
    divisor = 1 if is_card(device) else 64
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(1, length, 4, 128, generator=generator).to(device, numbers(device))
        for length in (queries // divisor, keys // divisor + keys % 2, keys // divisor + keys % 2)
    )
    found = attention.attention(q, k, v)
    with sdpa_kernel(SDPBackend.MATH):
        expected = F.scaled_dot_product_attention(*(part.float().transpose(1, 2) for part in (q, k, v)))
    bound = 0.01 if is_card(device) else 1e-5
    assert relative_error(found.float().cpu(), expected.transpose(1, 2).flatten(2).cpu()) < bound


@on_each
def test_weights_that_visit_give_the_same_bits(device: str) -> None:
    expected = made(loaded(device))
    for waits in ("memory", "file"):
        assert torch.equal(made(loaded(device, memory_gib="least", waits=waits)), expected)


@pytest.mark.gpu
def test_compiled_blocks_at_several_sizes(make_transformer: Callable[..., Transformer]) -> None:
    """More than have programs of their own; what traces them without a card is in `test_faster`."""
    plain, compiled = (make_transformer(depth=1, depth_single_blocks=2).cuda() for _ in range(2))
    compile_blocks(compiled)
    config = plain.config
    txt, pooled = torch.randn(1, 5, config.context_in_dim), torch.randn(1, config.vec_in_dim)
    for height in (2, 4, 6, 8, 10, 12):
        given = noise(1, height, 6, 0), txt, pooled, sigmas(1, 4)
        found, expected = (denoise(network, *given).cpu() for network in (compiled, plain))
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-3)
    torch._dynamo.reset()
