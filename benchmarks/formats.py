"""What does each format of weights cost?

    python -m benchmarks.formats [--count 8]

The tiny model's transformer is written in every format (benchmarks/written.py) and loaded, and packed on
loading in every scheme. For each, against float32: relative L2 error of all weights of the blocks and of the
worst of them, of the velocity at one step, PSNR of the pictures of `count` edits that come out right in
float32, and how many still do. For the K-quants, which the gguf package cannot write: the largest difference
from its own numbers on random blocks. Printed, and written to benchmarks/results/formats.json and
formats.png.
"""

import argparse
import json
import random
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.written import FORMS, write
from kontext_core.loading import load_transformer
from kontext_core.model.positions import layout_ids, target_ids, text_ids
from kontext_core.model.transformer import Transformer
from kontext_core.pipeline import Pipeline
from kontext_core.quant.gguf import BLOCK_SIZES, dequantise
from kontext_core.quant.layer import packed_bytes, whole_state_dict
from kontext_core.quant.schemes import SCHEMES
from kontext_core.world import draw, psnr, right, sample

RESULTS = Path(__file__).parent / "results"
SEED, STEPS = 4_000_000, 12
KINDS = ("recolour", "remove", "add", "background")


class Edit(NamedTuple):
    instruction: str
    picture: Tensor  # (1, H, W, 3)
    truth: Tensor  # (1, 3, H, W)
    seed: int


def edits(pipeline: Pipeline, count: int) -> list[tuple[Edit, Tensor]]:
    """The first edits that come out right, and their pictures (1, 3, H, W)."""
    found: list[tuple[Edit, Tensor]] = []
    for number in range(20 * count):
        kind = KINDS[number % len(KINDS)]
        one = sample(kind, random.Random(f"formats/{SEED}/{number}"))
        picture = draw([one.references[0]]).permute(0, 2, 3, 1)
        edit = Edit(one.instruction, picture, draw([one.target]), SEED + number)
        made = run(pipeline, edit)
        if bool(right(made, edit.truth)):
            found.append((edit, made))
        if len(found) == count:
            break
    return found


def run(pipeline: Pipeline, edit: Edit) -> Tensor:
    made = pipeline.edit(edit.instruction, [edit.picture], seed=edit.seed, steps=STEPS)
    return made.image.permute(0, 3, 1, 2)


@torch.no_grad()
def velocity(model: Transformer) -> Tensor:
    """What it answers to a fixed input of 64 target and 64 reference tokens."""
    config = model.config
    generator = torch.Generator().manual_seed(0)
    ids = torch.cat([target_ids(8, 8), *layout_ids((8, 8), [(8, 8)], config.layout)], dim=1)
    img = torch.randn(1, 128, config.in_channels, generator=generator)
    txt = torch.randn(1, config.text_length, config.context_in_dim, generator=generator)
    pooled = torch.randn(1, config.vec_in_dim, generator=generator)
    half = torch.tensor([0.5])
    return model(img, ids, txt, text_ids(1, txt.shape[1]), half, pooled, guidance=5 * half, n_target=64)


def error(actual: Tensor, wanted: Tensor) -> float:
    return ((actual - wanted).norm() / wanted.norm()).item()


def measured(
    model: Transformer, plain: Pipeline, wanted: list[tuple[Edit, Tensor]], file: Path | None
) -> dict[str, Any]:
    """The errors of one transformer against the one in float32."""
    whole, true = whole_state_dict(model), plain.transformer.state_dict()
    matrices = [key for key, one in true.items() if one.ndim == 2 and "blocks" in key]
    errors = {key: error(whole[key], true[key]) for key in matrices}
    worst = max(errors, key=lambda key: errors[key])
    pipeline = Pipeline(model, plain.vae, plain.text)
    pictures = [(run(pipeline, edit), edit, picture) for edit, picture in wanted]
    return {
        "bytes": sum(one.nbytes for one in (*model.parameters(), *model.buffers())),
        "packed bytes": packed_bytes(model),
        "file bytes": file.stat().st_size if file else None,
        "weights": error(torch.cat([whole[key].flatten() for key in matrices]), torch.cat([true[key].flatten() for key in matrices])),
        "worst layer": [worst, errors[worst]],
        "velocity": error(velocity(model), velocity(plain.transformer)),
        "psnr": min(120.0, sum(psnr(made, picture).item() for made, _, picture in pictures) / len(pictures)),
        "right": sum(bool(right(made, edit.truth)) for made, edit, _ in pictures),
    }  # fmt: skip


def k_quants() -> dict[str, float]:
    """Largest difference from the gguf package's numbers, on 256 x 256 of random blocks
    whose factors are all 1.
    """
    differences: dict[str, float] = {}
    for kind, (_, size) in BLOCK_SIZES.items():
        if not kind.startswith("Q"):
            continue  # i-quants and their like have factors of other forms; the tests compare them
        blocks = torch.randint(
            0, 256, (2048, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
        )
        for place in range(0, size, 2) if kind.endswith("_K") else (0, 2):
            high = blocks[:, place + 1]
            high[(high & 0x7C) == 0x7C] = 0x3C  # any of them may be a float16, which is to be finite
        own = torch.from_numpy(gguf.dequantize(blocks.numpy(), gguf.GGMLQuantizationType[kind])).flatten()
        differences[kind] = (dequantise(kind, blocks, torch.float32) - own).abs().max().item()
    return differences


def plot(rows: dict[str, dict[str, Any]], path: Path) -> None:
    """Error of weights and velocity for each format, and what became of the pictures."""
    names = list(rows)
    figure = Figure(figsize=(9, 0.28 * len(names) + 1.2), layout="constrained")
    left, right_side = figure.subplots(1, 2, sharey=True)
    for name, marker in (("weights", "o"), ("velocity", "s")):
        left.semilogx([max(rows[one][name], 1e-8) for one in names], range(len(names)), marker, label=name)
    left.semilogx(
        [max(rows[one]["worst layer"][1], 1e-8) for one in names], range(len(names)), "x", label="worst layer"
    )
    left.set(xlabel="relative L2 error", yticks=range(len(names)), yticklabels=names)
    left.invert_yaxis()
    left.grid(alpha=0.3)
    left.legend()
    right_side.barh(range(len(names)), [rows[one]["psnr"] for one in names])
    for number, one in enumerate(names):
        right_side.text(2, number, f"{rows[one]['right']} right", va="center", color="white", fontsize=8)
    right_side.set(xlabel="PSNR to float32's pictures, dB")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=8, help="edits for each format (8)")
    count = parser.parse_args().count
    plain = Pipeline.load("tiny", dtype=torch.float32, device="cpu")
    wanted = edits(plain, count)
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        made = [
            (form, write(form, plain.transformer, Path(folder, f"{i}")), None) for i, form in enumerate(FORMS)
        ]
        made += [(f"{scheme} on loading", made[0][1], scheme) for scheme in SCHEMES]
        for name, file, scheme in made:
            model = load_transformer(file, dtype=torch.float32, quantise=scheme)
            row = rows[name] = measured(model, plain, wanted, None if scheme else file)
            print(
                f"{name:22} weights {row['weights']:.2e}  worst {row['worst layer'][1]:.2e}  velocity "
                f"{row['velocity']:.2e}  {row['psnr']:5.1f} dB  {row['right']}/{len(wanted)} right",
                flush=True,
            )
    result = {
        "edits": len(wanted),
        "steps": STEPS,
        "seed": SEED,
        "formats": rows,
        "largest difference from gguf": k_quants(),
    }
    print("largest difference from the gguf package:", result["largest difference from gguf"])
    (RESULTS / "formats.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    plot(rows, RESULTS / "formats.png")


if __name__ == "__main__":
    main()
