"""The self-check of fused kernels: every possible fault is found, in the dtypes that are used."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from kontext_core.kernels import dispatch, group_norm, reference, self_check
from kontext_core.kernels.float8_rows import Float8Reader, Float8Rows

CPU = torch.device("cpu")
NAMES = (
    "modulate",
    "add_gated",
    "add_gated_modulated",
    "qk_norm_rope",
    "gelu_concat",
    "linear_gelu",
    "quantise_rows",
)
SMALL = self_check.SIZES[:1]


def form(**changed: Callable[..., Any]) -> Any:
    """The plain form with other functions in some places."""
    return SimpleNamespace(**({name: getattr(reference, name) for name in NAMES} | changed))


def scaled(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(scaled(one) for one in result)
    return (
        Float8Rows(result.stored, result.factors * 1.1, result.dtype)
        if isinstance(result, Float8Rows)
        else result * 1.1
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_each_function_is_tried(name: str, dtype: torch.dtype) -> None:
    function = getattr(reference, name)
    wrong = form(**{name: lambda *given: scaled(function(*given))})
    assert self_check.difference(form(), CPU, dtype, SMALL) == 0
    assert self_check.difference(wrong, CPU, dtype, SMALL) > 0.01


def test_the_finite_range_of_float16() -> None:
    wrong = form(add_gated=lambda x, gate, update: torch.addcmul(x, gate, update))
    assert self_check.difference(wrong, CPU, torch.float16, SMALL) == float("inf")
    assert self_check.difference(wrong, CPU, torch.bfloat16, SMALL) == 0


@pytest.mark.parametrize("name", ["modulate", "add_gated_modulated", "gelu_concat", "linear_gelu"])
def test_what_is_handed_to_readers_in_float8(name: str) -> None:
    """Wrong for them alone: then the form is not used, but on cards that know no such numbers."""
    function = getattr(reference, name)

    def wrong(*given: Any) -> Any:
        result = function(*given)
        readers = [one for one in given if isinstance(one, Float8Reader)]
        return scaled(result) if readers else result

    assert self_check.difference(form(**{name: wrong}), CPU, torch.bfloat16, SMALL) > 0.01


def test_cards_without_float8(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(self_check, "_results", lambda *given: asked.append(given[-1]) or [torch.ones(1)])
    for capability in ((8, 0), (8, 9), (12, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_, capability=capability: capability)
        self_check.difference(form(), torch.device("cuda", 0), torch.bfloat16, SMALL)
    assert asked == [False] * 2 + [True] * 4


def test_the_published_widths_are_tried() -> None:
    """Rows longer than a program's piece, and as many as one token and an odd number of them."""
    assert {(size.heads * size.dim, size.mlp) for size in self_check.SIZES[1:]} == {(3072, 12288)}
    assert [size.tokens for size in self_check.SIZES[1:]] == [1, 46]
    whole = reference.gelu_concat

    def wrong(attended: Tensor, mlp: Tensor, reader: Any = None) -> Tensor:
        result = whole(attended, mlp, reader).clone()
        result[..., 8192:] *= 1.1  # what lies in the third piece and behind
        return result

    assert self_check.difference(form(gelu_concat=wrong), CPU, torch.bfloat16, self_check.SIZES[1:2]) > 0.01
    assert self_check.difference(form(gelu_concat=wrong), CPU, torch.bfloat16, SMALL) == 0


def test_numbers_are_tried_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that are wrong only in float16 are used for bfloat16."""
    card = torch.device("cuda", 0)
    monkeypatch.setattr(dispatch, "_fused", lambda: form())
    monkeypatch.setattr(
        dispatch, "difference", lambda form, device, dtype: 1.0 if dtype == torch.float16 else 0.0
    )
    monkeypatch.setattr(
        group_norm, "difference", lambda device, dtype: 1.0 if dtype == torch.float32 else 0.0
    )
    for cached in (dispatch.runs_fused, group_norm._runs):
        cached.cache_clear()
    halves = torch.bfloat16, torch.float16, torch.float32
    assert [dispatch.runs_fused(card, dtype) for dtype in halves] == [True, False, True]
    assert [group_norm._runs(card, dtype) for dtype in halves] == [True, False, False]
    for cached in (dispatch.runs_fused, group_norm._runs):
        cached.cache_clear()
