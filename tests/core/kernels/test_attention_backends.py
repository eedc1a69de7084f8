"""Which backend computes attention, as a table, and that a pinned backend is the one that runs."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from kontext_core.kernels import attention_backends
from kontext_core.kernels.attention_backends import BACKENDS, call, choose
from kontext_core.kernels.options import use_compute_options
from kontext_core.model import attention
from kontext_core.model_spec import ComputeOptions
from tests.conftest import relative_error

HOPPER, BLACKWELL, ADA, AMPERE, TURING, RTX50 = (9, 0), (10, 0), (8, 9), (8, 0), (7, 5), (12, 0)
FLASH3, FLASH4, SAGE = "flash_attn_interface", "flash_attn.cute", "sageattention"
BF16 = torch.bfloat16


@pytest.mark.parametrize(
    ("card", "installed", "dtype", "head_dim", "wish", "expected"),
    [
        (None, (), torch.float32, 128, "auto", "torch"),
        (None, (FLASH3, FLASH4, SAGE), BF16, 128, "auto", "torch"),
        (HOPPER, (), BF16, 128, "auto", "cudnn"),
        (HOPPER, (), torch.float16, 136, "auto", "cudnn"),  # with the channels of weights on keys
        (HOPPER, (), torch.float32, 128, "auto", "torch"),
        (HOPPER, (FLASH3,), BF16, 128, "auto", "flash3"),
        (HOPPER, (FLASH3,), BF16, 12, "auto", "torch"),
        (HOPPER, (FLASH3,), BF16, 128, "cudnn", "cudnn"),
        (HOPPER, (FLASH4, SAGE), BF16, 128, "auto", "cudnn"),
        (HOPPER, (SAGE,), BF16, 128, "sage", "sage"),
        (HOPPER, (FLASH3,), BF16, 128, "flash3_fp8", "flash3_fp8"),
        (HOPPER, (), BF16, 128, "torch", "torch"),
        (BLACKWELL, (FLASH3, FLASH4), BF16, 128, "auto", "flash4"),
        (BLACKWELL, (FLASH3, FLASH4), BF16, 136, "auto", "cudnn"),
        (BLACKWELL, (), BF16, 128, "auto", "cudnn"),
        (RTX50, (FLASH3, FLASH4), BF16, 128, "auto", "flash2"),
        (ADA, (FLASH3, SAGE), BF16, 128, "auto", "flash2"),
        (AMPERE, (), torch.float16, 32, "auto", "flash2"),
        (AMPERE, (), BF16, 20, "auto", "torch"),
        (TURING, (), torch.float16, 128, "auto", "torch"),
    ],
)
def test_table(
    card: tuple[int, int] | None,
    installed: tuple[str, ...],
    dtype: torch.dtype,
    head_dim: int,
    wish: str,
    expected: str,
) -> None:
    assert choose(card, frozenset(installed), dtype, head_dim, wish) == expected


@pytest.mark.parametrize(
    ("version", "head_dim", "n_queries", "n_keys", "fits"),
    [
        (91500, 128, 8704, 8704, True),  # 1024 x 1024 px with one reference
        (91500, 128, 8624, 8624, False),  # 1248 x 832
        (91500, 128, 4096, 4097, False),  # the last block, with an odd number of keys
        (91500, 128, 4097, 8704, False),
        (91501, 128, 8624, 8624, True),
        (91501, 128, 4096, 4097, True),
        (91501, 136, 8704, 8704, False),
        (92201, 136, 8624, 8624, True),
        (0, 128, 5, 5, False),
    ],
)
def test_what_cudnn_is_trusted_with(
    version: int, head_dim: int, n_queries: int, n_keys: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert attention_backends.cudnn_fits(version, head_dim, n_queries, n_keys) == fits
    assert choose(HOPPER, frozenset(), BF16, head_dim, "auto", fits) == ("cudnn" if fits else "flash2")
    assert choose(HOPPER, frozenset(), BF16, head_dim, "cudnn", fits) == "cudnn", "asked for"

    # compiled blocks cannot ask for a version, and are told before
    monkeypatch.setattr(attention_backends, "_compiled_for", 99999)
    monkeypatch.setattr(attention_backends, "_version_of_cudnn", lambda: version)
    attention_backends.prepare_compile()
    q, k = (_on_a_card(length, head_dim) for length in (n_queries, n_keys))
    with monkeypatch.context() as compiling:
        compiling.setattr(torch.compiler, "is_compiling", lambda: True)
        assert attention_backends.attention_backend_for(q, k) == ("cudnn" if fits else "flash2")
    with torch.no_grad():
        asked: list[bool] = []
        monkeypatch.setattr(attention_backends, "_chosen", lambda *given: asked.append(given[-1]) or "torch")
        attention_backends.attention_backend_for(q, k)
    assert asked == [fits]


def _on_a_card(length: int, head_dim: int) -> Any:
    return SimpleNamespace(
        is_cuda=True, shape=(1, length, 24, head_dim), device=torch.device("cuda", 0), dtype=BF16
    )


@pytest.mark.parametrize(
    ("card", "package", "wish", "alone", "weighted"),
    [
        (HOPPER, SAGE, "sage", "sage", "cudnn"),
        (ADA, SAGE, "sage", "sage", "flash2"),
        (HOPPER, FLASH3, "flash3_fp8", "flash3_fp8", "flash3"),
        (BLACKWELL, FLASH4, "flash4", "flash4", "cudnn"),
        (HOPPER, FLASH3, "flash3", "flash3", "flash3"),
        (HOPPER, FLASH3, "cudnn", "cudnn", "cudnn"),
        (HOPPER, FLASH3, "auto", "flash3", "flash3"),
        (AMPERE, SAGE, "flash2", "flash2", "flash2"),
        (HOPPER, SAGE, "torch", "torch", "torch"),
    ],
)
def test_weighted_keys_are_attended_exactly(
    card: tuple[int, int],
    package: str,
    wish: str,
    alone: str,
    weighted: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever was wished: 136 channels are not for all, and coarse numbers would lose
    what the last eight hold.
    """

    def chosen(device: object, dtype: torch.dtype, head_dim: int, asked: str, cudnn: bool) -> str:
        return choose(card, frozenset({package}), BF16, head_dim, asked, cudnn)

    used: list[str] = []

    def called(backend: str, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        used.append(backend)
        assert backend == "torch" or BACKENDS[backend].fits(card, q.shape[-1])
        return call("torch", q, k, v, scale)

    monkeypatch.setattr(attention_backends, "_chosen", chosen)
    monkeypatch.setattr(attention_backends, "_version_of_cudnn", lambda: 92201)
    monkeypatch.setattr(attention, "call", called)
    attention_backends._say_other.cache_clear()
    q, k, v = torch.randn(3, 1, 12, 2, 128, generator=torch.Generator().manual_seed(0)).unbind()
    weights = attention.key_weights(4, [8], [0.5], 128)
    with torch.no_grad():
        expected = attention.attention(q, k, v, weights)
        used.clear()
        with use_compute_options(ComputeOptions(attention=wish)):
            assert attention_backends.attention_backend_for(_on_a_card(12, 128)) == alone
            assert attention_backends.attention_backend_for(_on_a_card(12, 136), None, 8) == weighted
            found = [attention.attention(q, k, v, weights) for _ in range(2)]
    assert used == [weighted if wish != "auto" else "torch"] * 2
    assert torch.equal(found[0], expected)
    assert caplog.text.count("strength other than 1") == (alone != weighted)


def test_a_wish_that_cannot_be_had_is_refused_with_weights_too(monkeypatch: pytest.MonkeyPatch) -> None:
    q = torch.randn(1, 12, 2, 128)
    with (
        torch.no_grad(),
        use_compute_options(ComputeOptions(attention="sage")),
        pytest.raises(ValueError, match="'sage' is not available"),
    ):
        attention.attention(q, q, q, attention.key_weights(4, [8], [0.5], 128))


def test_only_what_is_exact_comes_unasked() -> None:
    everything = frozenset(backend.package for backend in BACKENDS.values() if backend.package)
    for card in (HOPPER, BLACKWELL, ADA, AMPERE, TURING, RTX50):
        for dim in range(8, 264, 8):
            assert BACKENDS[choose(card, everything, BF16, dim)].exact
    assert [name for name, backend in BACKENDS.items() if not backend.exact] == ["flash3_fp8", "sage"]


@pytest.mark.parametrize(
    ("card", "installed", "dtype", "wish", "message"),
    [
        (HOPPER, (), BF16, "fast", "attention 'fast' is not known; choose auto, flash4"),
        (HOPPER, (), BF16, "sage", "needs bfloat16 or float16, a card and the package sageattention"),
        (HOPPER, (SAGE,), torch.float32, "sage", "'sage' is not available here"),
        (TURING, (), BF16, "flash2", "'flash2' is not available here"),
        (ADA, (FLASH3,), BF16, "flash3_fp8", "'flash3_fp8' is not available here"),
        (None, (FLASH3,), BF16, "flash3", "'flash3' is not available here"),
    ],
)
def test_what_cannot_be_had(
    card: tuple[int, int] | None, installed: tuple[str, ...], dtype: torch.dtype, wish: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        choose(card, frozenset(installed), dtype, 128, wish)


def test_a_wish_is_heard() -> None:
    q = torch.randn(1, 4, 2, 16)
    with (
        torch.no_grad(),
        use_compute_options(ComputeOptions(attention="flash2")),
        pytest.raises(ValueError, match="choose auto"),
    ):
        attention.attention(q, q, q)
    with torch.no_grad(), use_compute_options(ComputeOptions(attention="torch")):
        attention.attention(q, q, q)


@pytest.mark.parametrize("backend", ["flash3", "flash4", "sage", "cudnn", "flash2"])
def test_what_backends_are_handed(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """Packages in place of the real ones, with their signatures: tokens before heads.

    Torch's own fall back on a CPU.
    """

    def by_torch(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        parts = (part.transpose(1, 2) for part in (q, k, v))
        return F.scaled_dot_product_attention(*parts, scale=scale).transpose(1, 2)

    def flash_attn_func(q: Tensor, k: Tensor, v: Tensor, softmax_scale: float) -> object:
        out = by_torch(q, k, v, softmax_scale)
        return (out, None) if backend == "flash4" else out

    def sageattn(
        q: Tensor, k: Tensor, v: Tensor, tensor_layout: str, is_causal: bool, sm_scale: float
    ) -> Tensor:
        assert (tensor_layout, is_causal) == ("NHD", False)
        return by_torch(q, k, v, sm_scale)

    functions: dict[str, Callable[..., object]] = {
        "flash3": flash_attn_func,
        "flash4": flash_attn_func,
        "sage": sageattn,
    }
    monkeypatch.setattr(attention_backends, "_function", lambda name: functions[name])
    q, k, v = (torch.randn(2, length, 3, 16) for length in (4, 9, 9))
    torch.testing.assert_close(call(backend, q, k, v, 0.3), by_torch(q, k, v, 0.3))


@pytest.mark.parametrize("dtype", [torch.float32, BF16, torch.float16])
def test_attention_in_float8(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """A package in the place of the real one, which multiplies its factors in: one for
    each head of each sample.
    """

    def flash_attn_func(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        softmax_scale: float,
        q_descale: Tensor,
        k_descale: Tensor,
        v_descale: Tensor,
    ) -> Tensor:
        parts: list[Tensor] = []
        for one, factors in ((q, q_descale), (k, k_descale), (v, v_descale)):
            assert (one.dtype, factors.dtype, factors.shape) == (torch.float8_e4m3fn, torch.float32, (2, 3))
            parts.append((one.float() * factors[:, None, :, None]).transpose(1, 2))
        return F.scaled_dot_product_attention(*parts, scale=softmax_scale).transpose(1, 2).to(BF16)

    monkeypatch.setattr(attention_backends, "_function", lambda name: flash_attn_func)
    generator = torch.Generator().manual_seed(0)
    by_head = torch.tensor([1.0, 30.0, 0.0])[:, None]  # of very different sizes; one of zeros
    q, k, v = (
        (torch.randn(2, length, 3, 16, generator=generator) * by_head).to(dtype) for length in (4, 9, 9)
    )
    q[:, :, 1] /= 900  # no sharper than others, so that rounding stays rounding
    found, exact = call("flash3_fp8", q, k, v, 0.3), call("torch", q.float(), k.float(), v.float(), 0.3)
    assert found.dtype == dtype
    assert found.isfinite().all()
    for head in (0, 1):
        assert relative_error(found[:, :, head], exact[:, :, head]) < 0.08
    assert not found[:, :, 2].any()


@pytest.mark.gpu
@torch.no_grad()
def test_the_kernel_that_runs() -> None:
    """Choose it by name, on the available card."""
    q = torch.randn(1, 512, 24, 128, device="cuda", dtype=BF16)
    attention.attention(q, q, q)
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        attention.attention(q, q, q)
        torch.cuda.synchronize()
    names = " ".join(event.key.lower() for event in recorded.key_averages())
    expected = {"cudnn": "cudnn", "flash2": "flash", "flash3": "flash", "flash4": "flash", "torch": ""}
    assert expected[attention_backends.attention_backend_for(q)] in names, names
