"""The tests that need a card, each a row with its verdict; and fused kernels beside
plain torch, against float32.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kontext_core.kernels import dispatch
from kontext_core.kernels.options import use_compute_options
from kontext_core.model.transformer import Transformer
from kontext_core.model_spec import ComputeOptions

from ..speed.__main__ import EXACT_TIMES
from ..speed.cases import CONFIGURATIONS, Case
from ..speed.contestants import float8
from ..speed.models import Question, question, random_transformer
from .store import Context

TESTS = Path(__file__).parents[2] / "tests"
# The memory tests stream 24 GB for each of many limits, and have a section of their own.
_LONG = "test_memory_on_cuda.py"
FIRST = "test_on_a_card.py"
REHEARSED = ("kernels/test_side_stream.py", "kernels/test_self_check.py")
FLOAT8_TIMES = 1.2  # rows are rounded once more where they are not packed by the kernel


class _Verdicts:
    """A plugin of pytest that keeps each test's outcome as soon as it is known."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        row: dict[str, Any] = {"verdict": report.outcome, "seconds": report.duration}
        if report.failed:
            row["reason"] = str(report.longrepr.reprcrash.message).partition("\n")[0] if hasattr(
                report.longrepr, "reprcrash"
            ) else str(report.longrepr)[-200:]  # fmt: skip
        self.context.keep(report.nodeid.removeprefix("tests/"), row)


def run_tests(context: Context) -> None:
    """On a card all tests with the marker `gpu`; in a rehearsal what of their logic runs on a CPU."""
    core = TESTS / "core"
    if context.rehearse:
        chosen = ["-m", "not gpu", *(str(core / name) for name in REHEARSED)]
    else:
        files = [
            file for file in sorted(core.rglob("test_*.py")) if "mark.gpu" in file.read_text(encoding="utf-8")
        ]
        files.sort(key=lambda file: file.name != FIRST)
        chosen = ["-m", "gpu", *(str(file) for file in files if file.name != _LONG)]
    for name, row in context.rows.items():
        if row["verdict"] == "passed":
            chosen += ["--deselect", f"tests/{name}"]
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(TESTS.parent)]
    code = pytest.main([*options, *chosen], plugins=[_Verdicts(context)])
    if code not in (0, 1, 5):  # the last: all that there are have passed before
        raise RuntimeError(f"pytest ended with code {int(code)}")


@torch.no_grad()
def compare_with_float32(context: Context) -> None:
    """Relative L2 error of one velocity to float32's, at the published widths and with
    two blocks of each kind.
    """
    full = CONFIGURATIONS["least" if context.rehearse else "kontext"]
    config = replace(full.transformer, depth=1 if context.rehearse else 2, depth_single_blocks=2)
    case = Case(32 if context.rehearse else 1024, 1)
    exact = random_transformer(config, context.device, torch.float32)
    asked = question(config, case, context.device, torch.float32)
    with use_compute_options(ComputeOptions(kernels="plain")):
        expected = _velocity(exact, asked)
    for dtype in (torch.bfloat16, torch.float16):
        name = str(dtype).removeprefix("torch.")
        model = random_transformer(config, context.device, dtype)
        model.load_state_dict(exact.state_dict())
        own = replace(asked, txt=asked.txt.to(dtype), pooled=asked.pooled.to(dtype))
        context.attempt(name, lambda model=model, own=own: _errors(model, own, expected, EXACT_TIMES))
        context.attempt(
            f"{name}, float8 products",
            lambda model=model, own=own: _errors(float8(model), own, expected, FLOAT8_TIMES),
        )


def _errors(model: Transformer, asked: Question, expected: Tensor, most: float) -> dict[str, Any]:
    """Of both forms, and whether the fused one's is at most so many times the plain one's."""
    with use_compute_options(ComputeOptions(kernels="plain")):
        plain = _distance(_velocity(model, asked), expected)
    form: Any = dispatch.kernels_for(model.img_in.weight)
    fused = _distance(_velocity(model, asked), expected)
    verdict = "exact" if fused <= most * plain else "NOT EXACT"
    return {"form": form.__name__.rpartition(".")[2], "plain": plain, "fused": fused, "verdict": verdict}


def _velocity(model: Transformer, asked: Question) -> Tensor:
    given = asked.img, asked.ids, asked.txt, asked.txt_ids, asked.timesteps, asked.pooled, asked.guidance
    return model(*given, asked.tokens.shape[1])


def _distance(actual: Tensor, expected: Tensor) -> float:
    return float((actual.float() - expected).norm() / expected.norm())
