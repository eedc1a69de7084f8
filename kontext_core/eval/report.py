"""Scores as text, JSON, and a picture to look at."""

import json
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..disk import make_folder, whole
from ..pipeline import Pipeline
from ..world import KINDS, draw
from .intervals import rate_text, rounded
from .score import SEED, ChainOutcome, Outcome, Report, score_chains, score_kind

SHOWN = 4  # samples of a kind in the grid
CAPTION_PX = 54


def score_all(
    pipeline: Pipeline,
    *,
    count: int,
    chains: int,
    steps: int = 20,
    kinds: tuple[str, ...] = KINDS,
    report: Report = lambda line: None,
) -> tuple[dict[str, Any], dict[str, Outcome]]:
    """Every kind, kinds of several references in layouts `index` and `offset`, and five-turn chains.

    Each rate has its interval, see `intervals.wilson`.

    Returns: what goes into scores.json, with each sample's verdict, and the outcomes by kind for `grid`.
    """
    outcomes: dict[str, Outcome] = {}
    rates: dict[str, float] = {}
    ceilings: dict[str, float] = {}
    flags: dict[str, str] = {}
    intervals: dict[str, list[float]] = {}

    def counted(name: str, outcome: Outcome, more: str = "") -> None:
        rates[name] = round(outcome.rate, 4)
        (intervals[name],) = rounded([outcome.count_right], count)
        report(f"{name:16} {rate_text(outcome.count_right, count)}{more}")

    for kind in kinds:
        outcome = outcomes[kind] = score_kind(pipeline, kind, count, steps=steps)
        flags[kind], ceilings[kind] = outcome.flags, round(outcome.ceiling, 4)
        counted(kind, outcome, f"   the truth through the autoencoder {outcome.ceiling:.1%}")
        if len(outcome.samples[0].references) > 1:
            counted(f"{kind}/offset", score_kind(pipeline, kind, count, steps=steps, layout="offset"))
    scores: dict[str, Any] = {
        "steps": steps,
        "count": count,
        "seed": SEED,
        "commit": _commit(),
        "rates": rates,
        "intervals": intervals,
        "ceilings": ceilings,
        "right": flags,
    }
    if chains:
        chain_scores: dict[str, Any] = {
            name: _chain_line(name, score_chains(pipeline, chains, steps=steps, carry_latents=carry), report)
            for name, carry in (("latents", True), ("pictures", False))
        }
        scores["chains"] = chain_scores | {"count": chains}
    return scores, outcomes


def save_scores(scores: dict[str, Any], path: Path) -> None:
    make_folder(path.parent)
    with whole(path) as (partial,):
        partial.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")


def grid(outcomes: dict[str, Outcome]) -> Image.Image:
    """Some samples of each kind: references, output, truth; the instruction below, red where it is wrong."""
    rows = [_row(outcome) for outcome in outcomes.values()]
    width = max(row.width for row in rows)
    sheet = Image.new("RGB", (width, sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def _row(outcome: Outcome) -> Image.Image:
    shown = min(SHOWN, len(outcome.samples))
    columns = max(len(sample.references) for sample in outcome.samples) + 2
    side = outcome.outputs.shape[-1]
    cell = columns * (side + 4) + 12
    picture = Image.new("RGB", (SHOWN * cell, side + CAPTION_PX), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    for i in range(shown):
        sample = outcome.samples[i]
        references = draw(list(sample.references)) if sample.references else ()
        images = [*references, outcome.outputs[i], outcome.truths[i]]
        for column, image in enumerate(images, start=columns - len(images)):
            picture.paste(_pil(image), (i * cell + column * (side + 4), 0))
        colour = "black" if outcome.right[i] else "#c00000"
        caption = "\n".join(textwrap.wrap(f"{sample.kind}: {sample.instruction or '(empty)'}", cell // 6))
        pen.multiline_text((i * cell, side + 2), caption, colour, font=font, spacing=1)
    return picture


def _pil(image: Tensor) -> Image.Image:
    return Image.fromarray((image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())


def _chain_line(name: str, outcome: ChainOutcome, report: Report) -> dict[str, Any]:
    for turn, right in enumerate(outcome.right, start=1):
        report(f"chains, {name} carried: right up to turn {turn} {rate_text(right, outcome.count)}")
    report(f"chains, {name} carried: {outcome.psnr:.1f} dB where no turn changed anything")
    return {
        "right_up_to_turn": [round(rate, 4) for rate in outcome.rates],
        "intervals": rounded(outcome.right, outcome.count),
        "untouched_psnr": outcome.psnr,
    }


def _commit() -> str | None:
    """The commit of the checkout this runs in, if it is one."""
    try:
        result = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
