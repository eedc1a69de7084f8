"""Fused kernels without a card: what they compute in Triton's interpreter, and that they compile."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from kontext_core.kernels import dispatch, reference
from kontext_core.kernels.options import compute_options, use_compute_options
from kontext_core.model_spec import ComputeOptions
from tools import triton_interpreter
from tools.paths import ROOT

HERE = Path(__file__).parent
without_builds = pytest.mark.skipif(
    not triton_interpreter.has_builds(), reason="there is no Triton for this machine"
)


def run(*arguments: str | Path, **variables: str) -> str:
    """Return the output of a Python with Triton, in a separate process."""
    folder = triton_interpreter.folder()
    assert (folder / "installed.txt").is_file(), (
        f"there is no Triton in {folder}: run 'make test', or 'python3 -m tools.setup_env --chromium'"
    )
    path = os.pathsep.join([str(folder), str(ROOT)])
    found = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
    )
    assert found.returncode == 0, (found.stdout + found.stderr)[-6000:]
    return found.stdout


@without_builds
def test_as_exact_as_plain_torch() -> None:
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", HERE / "interpreted.py")
    assert " passed" in run(*command, TRITON_INTERPRET="1")


@without_builds
def test_they_compile_for_cards(tmp_path: Path) -> None:
    said = run(HERE / "compiled.py", TRITON_CACHE_DIR=str(tmp_path), TRITON_INTERPRET="0")
    assert said.count("\n") == 14


@torch.no_grad()
def test_on_a_cpu_it_is_torch_alone() -> None:
    chosen = cast("Any", dispatch.kernels_for(torch.zeros(1)))
    assert not chosen.__name__.endswith("fused")
    code = (
        "import sys, torch; from kontext_core.kernels import dispatch; dispatch.kernels_for(torch.zeros(1)); "
    )
    code += "print('kontext_core.kernels.triton_blocks' in sys.modules)"  # torch for a GPU may import Triton itself
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout == "False\n"
    with use_compute_options(ComputeOptions(kernels="plain")):
        assert dispatch.kernels_for(torch.zeros(1)) is reference


@torch.no_grad()
def test_what_cannot_run_is_not_used() -> None:
    """Triton is missing, or finds no card."""
    dispatch.runs_fused.cache_clear()
    assert not dispatch.runs_fused(torch.device("cpu"))


def test_unknown_forms_are_named() -> None:
    with pytest.raises(ValueError, match="kernels 'quick' are not known; choose one of auto, plain, fused"):
        ComputeOptions(kernels="quick")


def test_wishes_hold_within() -> None:
    with use_compute_options(ComputeOptions(kernels="plain", side_stream=True)):
        assert compute_options().side_stream
    assert compute_options() == ComputeOptions()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_on_the_card_at_hand(dtype: torch.dtype) -> None:
    from kontext_core.kernels import group_norm, self_check, triton_blocks

    device = torch.device("cuda")
    assert group_norm.difference(device, dtype) < 0.01
    assert self_check.difference(triton_blocks, device, dtype) < 0.01
    assert dispatch.runs_fused(device)
