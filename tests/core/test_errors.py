import re

import pytest
import torch

from kontext_core.errors import CheckpointError, TooLittleMemoryError, explain_oom

SENTENCE = "there is too little memory for an edit; use fewer references"

# What torch says, word for word.
LINUX = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes. Error code 12 (Cannot allocate memory)"
WINDOWS = "[enforce fail at alloc_cpu.cpp:72] data. DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."
MPS = "MPS backend out of memory (MPS allocated: 5.00 GB, other allocations: 1.00 GB, max allowed: 9.07 GB)."
CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("could not create a primitive"),
        MemoryError(),
        *(RuntimeError(text) for text in (LINUX, WINDOWS, MPS, CUBLAS)),
    ],
    ids=["cuda", "onednn", "python", "linux", "windows", "mps", "cublas"],
)
def test_every_kind_becomes_one_sentence(error: Exception) -> None:
    with (
        pytest.raises(TooLittleMemoryError, match=f"^{re.escape(SENTENCE)}$") as caught,
        explain_oom("an edit", "use fewer references"),
    ):
        raise error
    assert caught.value.__cause__ is error


def test_real_lack_of_memory() -> None:
    with pytest.raises(TooLittleMemoryError), explain_oom("too much", "ask for less"):
        torch.empty(2**50)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), ValueError("no"), KeyboardInterrupt()])
def test_other_errors_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, explain_oom("an edit", "use fewer references"):
        raise error
    assert caught.value is error


def test_the_innermost_attempt_is_named() -> None:
    with (
        pytest.raises(TooLittleMemoryError, match="for decoding; use a smaller picture"),
        explain_oom("an edit", "use fewer references"),
        explain_oom("decoding", "use a smaller picture"),
    ):
        raise torch.OutOfMemoryError


def test_checkpoint_errors_are_value_errors() -> None:
    assert issubclass(CheckpointError, ValueError)
    assert not issubclass(TooLittleMemoryError, ValueError)


def test_weights_to_blame_are_named() -> None:
    """Packed weights too; if all weights are finite, the message says so."""
    from torch import nn

    from kontext_core.errors import check_finite
    from kontext_core.quant.float8 import Float8
    from kontext_core.quant.layer import PackedLinear

    stored = torch.ones(2, 4).to(torch.float8_e4m3fn)
    model = nn.Sequential(nn.Linear(4, 4), PackedLinear([Float8(stored, torch.tensor([1.0, float("inf")]))]))
    check_finite(torch.ones(2), "the edit", model)
    with pytest.raises(
        ValueError, match=r"^the edit contains .* as weights are: 1\.pieces\.0\.factor; download their"
    ):
        check_finite(torch.tensor([1.0, float("nan")]), "the edit", model)
    with pytest.raises(
        ValueError,
        match="though all weights are: they grew too large during the computation; compute in bfloat16",
    ):
        check_finite(torch.tensor(float("-inf")), "the edit", model[0])
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
        model[1].pieces[0].stored[0] = float("nan")
    with pytest.raises(
        ValueError, match=r"are: 0\.weight, 1\.pieces\.0\.factor, 1\.pieces\.0\.stored; download"
    ):
        check_finite(torch.tensor(float("nan")), "the edit", model)


def test_names_out_of_a_file_stay_in_one_line() -> None:
    assert str(CheckpointError("unexpected: a\nb\x1b[31m, größe")) == "unexpected: a\\nb\\x1b[31m, größe"
