"""`python -m tools.world_sheets`: pictures of the tiny model's world, and of where scoring draws the line."""

from __future__ import annotations

import random

from kontext_core.world.sheet import borderline_sheet, sample_sheet

from .console import run, say
from .paths import ROOT

WORLD = ROOT / "web" / "docs" / "images" / "world.png"
BORDERLINE = ROOT / "benchmarks" / "results" / "tiny" / "borderline.png"


def main() -> None:
    for path, sheet in (
        (WORLD, sample_sheet(random.Random("help page"), per_kind=2)),
        (BORDERLINE, borderline_sheet()),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path, optimize=True)
        say(f"wrote {path}")


if __name__ == "__main__":
    run(main)
