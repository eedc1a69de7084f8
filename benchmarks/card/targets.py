"""What is aimed at on one H200, beside what was measured: met, missed, or not measured."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


def row_name(references: int) -> str:
    """Of a case of the section "step"."""
    return f"{references or 'no'} reference{'s' if references > 1 else ''}"


ONE, NONE, TWO = (row_name(references) for references in (1, 0, 2))


@dataclass(frozen=True)
class Target:
    """One number.

    Args:
        name: for people, with the unit.
        of: reads it out of the rows of all sections; KeyError or TypeError where it was not measured.
        must: to be reached.
        goal: to be reached in time.
        least: whether greater is better.
    """

    name: str
    of: Callable[[Mapping[str, Any]], float]
    must: float
    goal: float
    least: bool = False

    def row(self, rows: Mapping[str, Any]) -> dict[str, Any]:
        try:
            value = float(self.of(rows))
        except (KeyError, TypeError, ZeroDivisionError):
            return {"target": self.name, "must": self.must, "goal": self.goal, "verdict": "not measured"}
        reached = [value >= bound if self.least else value <= bound for bound in (self.must, self.goal)]
        verdict = "goal met" if reached[1] else "met" if reached[0] else "missed"
        return {"target": self.name, "must": self.must, "goal": self.goal, "value": value, "verdict": verdict}


def _ms(case: str, name: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda rows: 1000 * rows["step"][case]["contestants"][name]["seconds"]


def _times(case: str, other: str, name: str) -> Callable[[Mapping[str, Any]], float]:
    """How many times as fast as another."""
    return lambda rows: _ms(case, other)(rows) / _ms(case, name)(rows)


def _peak(row: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda rows: rows["memory"][row]["peak_gib"]


def _slower(row: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda rows: (
        rows["memory"][row]["step_seconds"] / rows["memory"]["bf16, all resident"]["step_seconds"]
    )


def _outside(rows: Mapping[str, Any]) -> float:
    parts = "encode a picture", "decode a picture", "encode a prompt"
    return 1000 * sum(rows["edit"][part]["seconds"] for part in parts)


def _worst_error(rows: Mapping[str, Any]) -> float:
    """The fused form's over the plain one's, in bfloat16 and float16."""
    return max(
        rows["exactness"][name]["fused"] / rows["exactness"][name]["plain"]
        for name in ("bfloat16", "float16")
    )


TARGETS = (
    Target("edit, 1 reference, bf16, ms a step", _ms(ONE, "ours"), 280, 262),
    Target("x diffusers eager", _times(ONE, "diffusers", "ours"), 1.2, 1.35, least=True),
    Target("x diffusers compiled", _times(ONE, "diffusers, compiled", "ours"), 1.0, 1.08, least=True),
    Target("x ComfyUI", _times(ONE, "ComfyUI", "ours"), 1.2, 1.35, least=True),
    Target("x ComfyUI compiled", _times(ONE, "ComfyUI, compiled", "ours"), 1.0, 1.08, least=True),
    Target(
        "step over the floor",
        lambda rows: rows["step"][ONE]["contestants"]["ours"]["over_floor"],
        1.12,
        1.07,
    ),
    Target("fused error over plain, to float32", _worst_error, 1.05, 1.0),
    Target("edit with fp8 products, ms a step", _ms(ONE, "ours, fp8"), 215, 195),
    Target("fp8 x our bf16", _times(ONE, "ours", "ours, fp8"), 1.2, 1.35, least=True),
    Target("text to image, bf16, ms a step", _ms(NONE, "ours"), 125, 117),
    Target("text to image, fp8, ms a step", _ms(NONE, "ours, fp8"), 90, 82),
    Target("2 references, bf16, ms a step", _ms(TWO, "ours"), 480, 450),
    Target("2 references, fp8, ms a step", _ms(TWO, "ours, fp8"), 375, 345),
    Target("outside the loop, ms", _outside, 120, 80),
    Target("peak GiB, fp8", _peak("fp8, modulation away"), 10.5, 9.5),
    Target("peak GiB, int4", _peak("int4, modulation away"), 6.5, 5.8),
    Target("peak GiB, bf16 within 24 GiB", _peak("bf16 within 24 GiB"), 18.5, 17.5),
    Target("slow-down, bf16 streamed in 8 GiB", _slower("bf16 within 8 GiB"), 1.2, 1.08),
)


def lines(table: list[dict[str, Any]]) -> Iterator[str]:
    """For people."""
    yield f"{'target':38} {'must':>8} {'goal':>8} {'measured':>9}"
    for row in table:
        value = f"{row['value']:9.4g}" if "value" in row else f"{'':9}"
        yield f"{row['target']:38} {row['must']:8g} {row['goal']:8g} {value}  {row['verdict']}"
