"""What does one more pass at the picture's own size bring, and does it leave seams?

    python -m benchmarks.detail [--count 60] [--enlarged 4] [--model tiny]

Scenes never trained on, enlarged, are edited at the model's size and put back at their own (*size original*),
with each strength of the detail pass, from the same noise. Of the edits that are right: the distance from the
enlarged truth within what changed (PSNR), its sharpness as a multiple of the truth's (variance of the
Laplacian), the same near the edges of tiles over that of the rest (1: no seams), and the share of pixels
beside the change that differ in any bit (0). Printed, and written to benchmarks/results/tiny/detail.json.
"""

import argparse
import json
import random
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from kontext_core.images.picture_files import from_pil, to_pil
from kontext_core.images.put_back import Window
from kontext_core.pipeline import Pipeline
from kontext_core.sampling.detail import tiles
from kontext_core.world import draw, random_scene, right
from kontext_core.world.scenes import SIZE_PX
from kontext_core.world.single import edit

RESULTS = Path(__file__).parent / "results" / "tiny"
SEED, STEPS = 12_000_000, 20
STRENGTHS = (0.0, 0.1, 0.2, 0.3, 0.5)
KINDS = ("recolour", "reshape", "add", "remove", "move")
NEAR_PX = 2  # of the edge of a tile


def enlarge(drawn: Tensor, size_px: int) -> Tensor:
    """A drawn scene (1, 3, H, W) as a picture of more pixels, (1, H, W, 3)."""
    picture = to_pil(drawn.permute(0, 2, 3, 1))
    return from_pil(picture.resize((size_px, size_px), Image.Resampling.LANCZOS))


def laplacian(picture: Tensor) -> Tensor:
    """Of the luma of (H, W, 3), (H, W); 0 at the rim."""
    luma = picture @ torch.tensor([0.299, 0.587, 0.114])
    result = torch.zeros_like(luma)
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    result[1:-1, 1:-1] = around - 4 * luma[1:-1, 1:-1]
    return result


def near_edges(blend: Tensor, tile_px: int) -> Tensor:
    """Where tiles end within what changed: (H, W), bool."""
    rows, columns = (blend.amax(1 - axis).nonzero() for axis in (0, 1))
    box = Window(
        int(rows[0]), int(columns[0]), int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
    )
    size = blend.shape[0], blend.shape[1]
    near = torch.zeros(size, dtype=torch.bool)
    for tile in tiles(box, size, (tile_px, tile_px)):
        for row in (tile.top, tile.top + tile.height):
            if 0 < row < size[0]:
                near[row - NEAR_PX : row + NEAR_PX] = True
        for column in (tile.left, tile.left + tile.width):
            if 0 < column < size[1]:
                near[:, column - NEAR_PX : column + NEAR_PX] = True
    return near & (blend > 0)


def measure(pipeline: Pipeline, number: int, size_px: int) -> dict[float, dict[str, float]] | None:
    """One edit at each strength; None if it is wrong."""
    rng = random.Random(f"detail/{SEED}/{number}")
    change = None
    while change is None:
        scene = random_scene(rng, least=2)
        change = edit(rng.choice(KINDS), scene, rng)
    instruction, target = change
    before, truth = (enlarge(draw([each]), size_px) for each in (scene, target))
    rows: dict[float, dict[str, float]] = {}
    for strength in STRENGTHS:
        result = pipeline.edit(
            instruction,
            [before],
            steps=STEPS,
            seed=SEED + number,
            keep_outside="auto",
            size="original",
            detail=strength,
        )
        small = torch.nn.functional.interpolate(
            result.image.permute(0, 3, 1, 2), size=(SIZE_PX, SIZE_PX), mode="area"
        )
        if strength == 0 and not bool(right(small, draw([target]))):
            return None
        blend = result.blend
        assert blend is not None, "an edit of a picture has a mask"
        if result.reports[0].extent != "local":
            return None
        inside, near = blend[0] > 0, near_edges(blend[0], SIZE_PX)
        error = (result.image - truth)[0][inside].square().mean()
        now, then = laplacian(result.image[0]).square(), laplacian(truth[0]).square()
        coarse = rows[0.0]["near"] if rows else 1.0
        ratio = (now[near].mean() / now[inside & ~near].mean()).item()
        rows[strength] = {
            "psnr": (-10 * error.log10()).item(),
            "sharpness": (now[inside].mean() / then[inside].mean()).item(),
            "near": ratio,
            "seams": ratio / coarse if rows else 1.0,
            "beside": (result.image != before).any(-1)[blend == 0].float().mean().item(),
            "still right": float(right(small, draw([target]))),
        }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="edits (60)")
    parser.add_argument("--enlarged", type=int, default=4, help="times the model's size (4)")
    parser.add_argument("--model", default="tiny")
    arguments = parser.parse_args()
    pipeline = Pipeline.load(arguments.model)
    measured = [
        rows
        for number in range(arguments.count)
        if (rows := measure(pipeline, number, SIZE_PX * arguments.enlarged)) is not None
    ]
    table: dict[str, dict[str, float]] = {}
    for strength in STRENGTHS:
        rows = [each[strength] for each in measured]
        table[str(strength)] = {
            name: round(torch.tensor([row[name] for row in rows]).nanmedian().item(), 4)
            if name != "still right"
            else round(sum(row[name] for row in rows) / len(rows), 4)
            for name in ("psnr", "sharpness", "seams", "beside", "still right")
        }
        print(f"detail {strength}: {table[str(strength)]}")
    print(f"medians of {len(measured)} right edits of {arguments.count}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    setup = {"count": arguments.count, "enlarged": arguments.enlarged, "steps": STEPS, "right": len(measured)}
    text = json.dumps({"setup": setup, "strengths": table}, indent=2)
    (RESULTS / "detail.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
