"""How well is an edited picture laid back onto the one before it, and is a wrong warp ever applied?

    python -m benchmarks.registration [--seed 1] [--draws 14] [--foreign 100]

Parts of photographs that scikit-image carries, 320 px (`moved_photographs`): moved by up to 8 px, scaled by
up to 2 %, their aspect changed by up to 1 %, a share of them replaced by another photograph, with blur, noise
and drift of colours. By share: how many are accepted, how many of all lie within so many px at their worst
corner, and the worst. The same with all colours edited; a photograph that has hardly any texture; pictures
that did not move; pairs that may not be moved; CPU seconds on one thread at 1 Mpx, accepted and refused.
Printed, and written to benchmarks/results/registration.json.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable
from itertools import combinations
from pathlib import Path
from random import Random

import numpy as np
import torch
from skimage import transform
from torch import Tensor

from benchmarks.moved_photographs import (
    MARGIN,
    MOVED,
    PHOTOGRAPHS,
    SMOOTH,
    STILL,
    Draw,
    Picture,
    drawn,
    part,
    tensor,
)
from kontext_core.images.registration.register import register, undo

RESULTS = Path(__file__).parent / "results"
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
SIDE, LARGE = 320, 1024  # px
EDITS: dict[str, Callable[[Picture], Picture]] = {
    "gamma 2.2": lambda picture: picture**2.2,
    "grey": lambda picture: np.repeat(picture.mean(-1, keepdims=True), 3, axis=-1),
    "posterised": lambda picture: np.rint(picture * 4) / 4,
    "night": lambda picture: picture**1.5 * np.array([0.35, 0.4, 0.6]),
}

Row = dict[str, float]


def pairs(
    seed: str, draws: int, share: float, names: tuple[str, ...] = PHOTOGRAPHS, **how: object
) -> Iterable[Draw]:
    """So many draws, the photographs in turn, each with another one in it."""
    for number in range(draws):
        random, name = Random(f"{seed}/{share}/{number}"), names[number % len(names)]
        other = random.choice([other for other in PHOTOGRAPHS if other != name])
        yield drawn(name, other, share, random, **how)  # pyright: ignore[reportArgumentType]


def measured(draws: Iterable[Draw]) -> Row:
    """How many are accepted, and their worst corners."""
    results = [(draw, register(draw.before, draw.after)) for draw in draws]
    worst = sorted(draw.worst_corner(result) for draw, result in results if not result.refusal)
    row: Row = {"draws": len(results), "accepted": len(worst)}
    row |= {f"within {most} px": sum(px <= most for px in worst) for most in (0.06, 0.1, 0.5)}
    row["worst px"] = round(max(worst, default=0.0), 3)
    row["median px"] = round(statistics.median(worst), 3) if worst else 0.0
    return row


def still(seed: str, draws: int) -> Row:
    """How many pictures that did not move are resampled; how many tensors stay where nothing changed."""
    row: Row = {"draws": 0, "resampled": 0, "same tensor where nothing changed": 0}
    for share in (0.0, 0.1, 0.3, 0.5):
        for draw in pairs(f"{seed}/still", draws, share, motion=STILL):
            row["draws"] += 1
            row["resampled"] += register(draw.before, draw.after).moved_px > 0
            same = draw.before.clone()
            row["same tensor where nothing changed"] += undo(same, register(draw.before, same)) is same
    return row


def foreign(seed: str, least: int) -> Iterable[tuple[Tensor, Tensor]]:
    """At least so many pairs that may not be moved: other photographs, mirrored, turned, noise, zoomed."""
    random = Random(f"{seed}/foreign")
    count = 0
    while count < least:
        for name in PHOTOGRAPHS:
            picture = tensor(inner(part(name, SIDE, random)))
            near = transform.resize(picture[0].numpy()[46:-46, 46:-46], (SIDE, SIDE), order=3)
            noise = np.random.default_rng(random.randrange(2**31)).random((SIDE, SIDE, 3))
            for after in (picture.flip(2), picture.rot90(1, (1, 2)), tensor(noise), tensor(near)):
                yield picture, after
                count += 1
        for name, other in combinations((*PHOTOGRAPHS, SMOOTH), 2):
            yield tensor(inner(part(name, SIDE, random))), tensor(inner(part(other, SIDE, random)))
            count += 1


def inner(wide: Picture) -> Picture:
    return wide[MARGIN:-MARGIN, MARGIN:-MARGIN]


def seconds(draw: Draw) -> Row:
    """CPU seconds of the second of two runs on one thread."""
    register(draw.before, draw.after)
    start = time.process_time()
    result = register(draw.before, draw.after)
    taken = time.process_time() - start
    start = time.process_time()
    undo(draw.after, result)
    row: Row = {"register": round(taken, 2), "undo": round(time.process_time() - start, 2)}
    return row if result.refusal else row | {"worst px": round(draw.worst_corner(result), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", default="1")
    parser.add_argument("--draws", type=int, default=14)
    parser.add_argument("--foreign", type=int, default=100, help="pairs at least")
    options = parser.parse_args()
    seed: str = options.seed
    draws: int = options.draws
    torch.set_num_threads(1)
    result: dict[str, object] = {
        "command": f"python -m benchmarks.registration --seed {seed} --draws {draws} --foreign {options.foreign}"
    }

    def note(name: str, row: Row) -> None:
        result[name] = row
        print(name, row, flush=True)

    for share in SHARES:
        note(f"{share:.0%} edited", measured(pairs(seed, draws, share)))
    for name, edit in EDITS.items():
        note(name, measured(pairs(f"{seed}/{name}", draws, 0, edit=edit)))
    note(f"{SMOOTH}, 10 % edited", measured(pairs(seed, draws, 0.1, (SMOOTH,))))
    note("not moved", still(seed, draws // 2))
    results = [register(*pair) for pair in foreign(seed, options.foreign)]
    note("foreign", {"pairs": len(results), "moved": sum(not result.refusal for result in results)})
    large = drawn("astronaut", "chelsea", 0.1, Random(seed), MOVED, LARGE)
    note("1 Mpx, 10 % edited", seconds(large))
    note("1 Mpx, 50 % edited", seconds(drawn("coffee", "chelsea", 0.5, Random(seed), MOVED, LARGE)))
    note("1 Mpx, foreign", seconds(drawn("coffee", "chelsea", 1.0, Random(seed), MOVED, LARGE)))
    (RESULTS / "registration.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
