"""How exactly does keep_outside=auto leave alone what an edit was not asked to change?

    python -m benchmarks.outside [--count 48] [--model tiny]

Edits on scenes never trained on, by kind, with and without it, from the same noise. *Outside* are the pixels
more than 8 px from what must change. For each kind: how many edits are right with it and without it; and of
the right ones the share of pixels outside of which any bit differs, of those that differ visibly, the share
of what must change that the mask holds, and how often it reaches more than 0.5 % of the picture too far. An
empty instruction must be told as "nothing changed", an edit of the whole picture as that. Printed, and
written to benchmarks/results/tiny/outside.json.
"""

import argparse
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from torch import Tensor

from kontext_core.chain.compare import SEEN
from kontext_core.eval.intervals import rate_text
from kontext_core.images.masks import dilated
from kontext_core.pipeline import Pipeline
from kontext_core.world import KINDS, Sample, draw, right, sample

RESULTS = Path(__file__).parent / "results" / "tiny"
SEED, STEPS = 11_000_000, 20
NEAR_PX, SPILL = 8, 0.005
WHOLE = ("background", "palette")


def pictures(drawn: Tensor) -> Tensor:
    """Drawn scenes (B, 3, H, W) as files would hold them, (B, H, W, 3)."""
    return (drawn * 255).round().permute(0, 2, 3, 1).contiguous() / 255


def measure(pipeline: Pipeline, task: Sample, seed: int) -> dict[str, Any]:
    """One edit, with and without."""
    references = [pictures(draw([scene])) for scene in task.references]
    truth = draw([task.target])
    plain, kept = (
        pipeline.edit(task.instruction, references, steps=STEPS, seed=seed, keep_outside=keep)
        for keep in ("off", "auto")
    )
    must = (draw(task.references[:1]) != truth).any(1)[0]
    outside = dilated(must.float()[None, None], NEAR_PX)[0, 0] == 0
    blend = kept.blend
    assert blend is not None, "an edit of a picture has a mask"
    row: dict[str, Any] = {"extent": kept.reports[0].extent}
    for name, edit in (("plain", plain), ("kept", kept)):
        distance = (edit.image - references[0]).abs().amax(-1)[0][outside]
        row[name] = {
            "right": bool(right(edit.image.permute(0, 3, 1, 2), truth)),
            "any": (distance > 0).float().mean().item() if len(distance) else 0.0,
            "seen": (distance > SEEN).float().mean().item() if len(distance) else 0.0,
        }
    row["recall"] = (blend[0] > 0)[must].float().mean().item() if bool(must.any()) else 1.0
    row["spill"] = ((blend[0] == 1) & outside).float().mean().item()
    return row


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What came out of the edits of a kind."""
    correct = [row for row in rows if row["kept"]["right"]]

    def mean(values: list[float]) -> float:
        return round(sum(values) / max(len(values), 1), 6)

    return {
        "count": len(rows),
        "right": {name: sum(row[name]["right"] for row in rows) for name in ("plain", "kept")},
        "extents": dict(Counter(row["extent"] for row in rows)),
        "any_outside": {name: mean([row[name]["any"] for row in correct]) for name in ("plain", "kept")},
        "seen_outside": {name: mean([row[name]["seen"] for row in correct]) for name in ("plain", "kept")},
        "recall": mean([row["recall"] for row in correct]),
        "spilled": sum(row["spill"] > SPILL for row in correct),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=48, help="edits of each kind (48)")
    parser.add_argument("--model", default="tiny")
    arguments = parser.parse_args()
    pipeline = Pipeline.load(arguments.model)
    results: dict[str, Any] = {}
    local: list[dict[str, Any]] = []
    for kind in (kind for kind in KINDS if kind != "text_to_image"):
        tasks = [sample(kind, random.Random(f"outside/{SEED}/{kind}/{i}")) for i in range(arguments.count)]
        rows = [measure(pipeline, task, SEED + number) for number, task in enumerate(tasks)]
        results[kind] = summary(rows)
        local += rows if kind not in (*WHOLE, "none") else []
        print(f"{kind:12} {results[kind]}", flush=True)
    results["local kinds"] = summary(local)
    row = results["local kinds"]
    for name in ("plain", "kept"):
        rate = rate_text(row["right"][name], row["count"])
        print(f"local kinds, {name:6} right {rate}, any {row['any_outside'][name]:.3%} outside")
    print(f"recall {row['recall']}, spilled {row['spilled']} of {row['right']['kept']}, {row['extents']}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    setup = {"count": arguments.count, "steps": STEPS, "seed": SEED}
    text = json.dumps({"setup": setup, "kinds": results}, indent=2)
    (RESULTS / "outside.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
