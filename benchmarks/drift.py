"""What keeps a picture as it was over a hundred turns, where nothing was asked for?

    python -m benchmarks.drift [--chains 12] [--rounds 130] [--ways NAME ...] [--model tiny]

Chains on scenes never trained on, whose turns never touch the rightmost column of the picture, in which a
thing stands. As an artist does, a turn that comes out wrong is taken back, and another one is asked for: so a
chain is always right, and what is measured is the wear. In each round every chain tries one turn. For each
way to carry a picture on: how many first tries are right, by the turn that was tried (with their intervals);
and of the column that no turn touched, against the first picture, by turn: the share of pixels of which any
bit differs, of those that differ visibly, and how many times contrast and sharpness are those at the start.
Printed, and written to benchmarks/results/tiny/drift.json and drift.png, after each way.
"""

import argparse
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from kontext_core.chain.compare import SEEN
from kontext_core.chain.drift import align_to
from kontext_core.eval.intervals import rate_text, wilson
from kontext_core.eval.score import run
from kontext_core.images.outside import Before
from kontext_core.pipeline import Pipeline
from kontext_core.world import Scene, draw, random_scene, right
from kontext_core.world.chains import LOCAL_KINDS
from kontext_core.world.scenes import CELL_PX, SIZE_PX
from kontext_core.world.single import edit

RESULTS = Path(__file__).parent / "results" / "tiny"
SEED, STEPS = 9_000_000, 20
DRAWS, LOOK_AHEAD = 10_000, 60  # of edits, for one turn
MARKS = (1, 5, 10, 20, 50, 100)  # turns that are told of
UNTOUCHED = slice(SIZE_PX - CELL_PX + 8, SIZE_PX)  # columns of pixels, 8 px beside what turns may touch
LEAST = 2 / 255  # deviation of what gain is measured on
BANDS = ((1, 10), (11, 20), (41, 60), (81, 100))  # turns that are counted together


@dataclass(frozen=True)
class Way:
    """How a picture goes from turn to turn.

    Args:
        keep: whether what did not change is put back from the picture before.
        carried: whether that composite goes on, or the sampler's latents.
        pictures: whether pictures are saved with 8 bits and encoded anew at each turn.
        anchor: whether the first picture rides along.
        align: whether slow changes of the latents are taken back.
    """

    keep: bool = False
    carried: bool = True
    pictures: bool = False
    anchor: bool = False
    align: bool = False


WAYS: Mapping[str, Way] = {
    "pictures carried": Way(pictures=True),
    "latents carried": Way(),
    "align": Way(align=True),
    "anchor": Way(anchor=True),
    "keep outside": Way(keep=True),
    "keep outside, shown only": Way(keep=True, carried=False),
    "keep outside, anchor": Way(keep=True, anchor=True),
}


@dataclass
class State:
    """Chains, each at a turn of its own.

    Args:
        scenes: as they should look.
        pictures: (B, H, W, 3), as they do.
        latents: (B, 16, h, w), that go on.
        turns: of each, that came out right.
    """

    scenes: list[Scene]
    pictures: Tensor
    latents: Tensor
    turns: list[int] = field(default_factory=list[int])


@dataclass
class Wear:
    """What was measured of a way: tries and their verdicts by turn, and the column by turn."""

    tries: list[tuple[int, bool]] = field(default_factory=list[tuple[int, bool]])
    column: dict[int, list[dict[str, float]]] = field(default_factory=dict[int, list[dict[str, float]]])


def start(pipeline: Pipeline, count: int) -> State:
    """Chains of no turns, each with one thing in its rightmost column and more to its left."""
    scenes: list[Scene] = []
    number = 0
    while len(scenes) < count:
        scene = random_scene(random.Random(f"wear/{SEED}/{number}"), least=3)
        number += 1
        if sum(thing.col == SIZE_PX // CELL_PX - 1 for thing in scene.things) == 1 and scene.word is None:
            scenes.append(scene)
    pictures = _eight_bits(draw(scenes).permute(0, 2, 3, 1).contiguous())
    return State(scenes, pictures, pipeline.encode(pictures), [0] * count)


def next_edit(scene: Scene, rng: random.Random) -> tuple[str, Scene]:
    """A local edit that leaves the rightmost column as it is, and something to edit after it.

    Of a scene of look-alikes nothing can be told apart: no instruction fits it, and a chain would end there.

    Raises:
        ValueError: if there is none.
    """
    for _ in range(DRAWS):
        change = _draw_edit(scene, rng)
        if change is None:
            continue
        after = [_draw_edit(change[1], rng) for _ in range(LOOK_AHEAD)]
        if sum(edit_after is not None for edit_after in after) > LOOK_AHEAD // 20:
            return change
    raise ValueError(f"of {DRAWS} edits drawn, none fits {scene}")


def _draw_edit(scene: Scene, rng: random.Random) -> tuple[str, Scene] | None:
    change = edit(rng.choice(LOCAL_KINDS), scene, rng)
    if change is None or change[1].palette == "grey":
        return None
    touched = (draw([change[1]]) != draw([scene])).any(1)
    return None if bool(touched[..., SIZE_PX - CELL_PX :].any()) else change


def try_turn(pipeline: Pipeline, state: State, way: Way, first: State, number: int) -> list[bool]:
    """One try of every chain; those that come out right go on from it."""
    rng = random.Random(f"wear/{SEED}/round/{number}")
    edits = [next_edit(scene, random.Random(rng.random())) for scene in state.scenes]
    references = [state.latents, first.latents] if way.anchor else [state.latents]
    latents, _ = run(pipeline, [words for words, _ in edits], references, seed=SEED + number, steps=STEPS)
    if way.align:
        latents = align_to(latents, first.latents)
    if way.keep:
        kept, carried = pipeline.put_into(Before(state.pictures, state.latents), latents)
        pictures, latents = kept.image, carried if way.carried else latents
    else:
        pictures = pipeline.decode(latents)
    pictures = _eight_bits(pictures)
    if way.pictures:
        latents = pipeline.encode(pictures)
    truths = [scene for _, scene in edits]
    verdicts: list[bool] = right(pictures.permute(0, 3, 1, 2), draw(truths)).tolist()
    for index, verdict in enumerate(verdicts):
        if verdict:
            state.scenes[index] = truths[index]
            state.turns[index] += 1
    chosen = torch.tensor(verdicts)[:, None, None, None]
    state.pictures = torch.where(chosen, pictures, state.pictures)
    state.latents = torch.where(chosen, latents, state.latents)
    return verdicts


def column_now(picture: Tensor, first: Tensor) -> dict[str, float]:
    """What became of the column that no turn touched; (H, W, 3) each."""
    now, before = picture[:, UNTOUCHED], first[:, UNTOUCHED]
    distance = (now - before).abs().amax(-1)
    flat, flat_before = now.reshape(-1, 3), before.reshape(-1, 3)
    spread = flat_before.std(0, correction=0)
    covariance = ((flat - flat.mean(0)) * (flat_before - flat_before.mean(0))).mean(0)
    gain = (covariance / spread.square())[spread > LEAST].mean().item()
    return {
        "any": (distance > 0).float().mean().item(),
        "seen": (distance > SEEN).float().mean().item(),
        "gain": gain,
        "sharpness": _edges(now) / _edges(before),
    }


def _edges(picture: Tensor) -> float:
    """Variance of the Laplacian of the luma."""
    luma = picture @ torch.tensor([0.299, 0.587, 0.114])
    middle = luma[1:-1, 1:-1]
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return (around - 4 * middle).var().item()


def _eight_bits(pictures: Tensor) -> Tensor:
    return (pictures * 255).round() / 255


def measure(pipeline: Pipeline, way: Way, chains: int, rounds: int) -> Wear:
    """Try so many rounds of a way."""
    state, first, wear = start(pipeline, chains), start(pipeline, chains), Wear()
    for number in range(rounds):
        tried = [turn + 1 for turn in state.turns]
        verdicts = try_turn(pipeline, state, way, first, number)
        wear.tries += zip(tried, verdicts, strict=True)
        for index, (turn, verdict) in enumerate(zip(tried, verdicts, strict=True)):
            if verdict and turn in MARKS:
                wear.column.setdefault(turn, []).append(
                    column_now(state.pictures[index], first.pictures[index])
                )
    return wear


def summary(wear: Wear) -> dict[str, Any]:
    """Rates by turn, and means over the chains that came so far."""
    bands: dict[str, Any] = {}
    for low, high in BANDS:
        verdicts = [verdict for turn, verdict in wear.tries if low <= turn <= high]
        if verdicts:
            bands[f"{low}-{high}"] = {
                "right": sum(verdicts),
                "tries": len(verdicts),
                "interval": [round(end, 4) for end in wilson(sum(verdicts), len(verdicts))],
            }
    columns = {
        str(turn): {"chains": len(rows)} | {name: _mean([row[name] for row in rows]) for name in rows[0]}
        for turn, rows in sorted(wear.column.items())
    }
    return {"right_by_turn": bands, "untouched": columns}


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 5)


def plot(results: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw wear against turns: pixels that differ, pixels that differ visibly, contrast, sharpness."""
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    panels: list[tuple[str, str, Callable[[float], float]]] = [
        ("any", "pixels that differ in any bit, %", lambda share: 100 * share),
        ("seen", "pixels that differ visibly, %", lambda share: 100 * share),
        ("gain", "contrast, times that of the first picture", lambda gain: gain),
        ("sharpness", "sharpness, times that of the first picture", lambda ratio: ratio),
    ]
    for axes, (name, label, shown) in zip(figure.subplots(2, 2).flat, panels, strict=True):
        for way, result in results.items():
            columns = result["untouched"]
            turns = [int(turn) for turn in columns]
            axes.plot(turns, [shown(row[name]) for row in columns.values()], marker="o", ms=3, label=way)
        axes.set(xscale="log", xticks=MARKS, xticklabels=MARKS, xlabel="turn", ylabel=label)
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    figure.suptitle("What no turn touched, against the first picture")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chains", type=int, default=12, help="chains (12)")
    parser.add_argument("--rounds", type=int, default=130, help="tries of each (130)")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--model", default="tiny")
    arguments = parser.parse_args()
    pipeline = Pipeline.load(arguments.model)
    file = RESULTS / "drift.json"
    setup = {"chains": arguments.chains, "rounds": arguments.rounds, "steps": STEPS, "seed": SEED}
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    results: dict[str, Any] = known.get("ways", {}) if known.get("setup") == setup else {}
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in arguments.ways:
        wear = measure(pipeline, WAYS[name], arguments.chains, arguments.rounds)
        results[name] = summary(wear)
        for band, row in results[name]["right_by_turn"].items():
            print(f"{name:26} turns {band:7} right {rate_text(row['right'], row['tries'])}")
        for turn, row in results[name]["untouched"].items():
            print(f"{name:26} turn {turn:>4}  {row}", flush=True)
        ordered = {way: results[way] for way in WAYS if way in results}
        text = json.dumps({"setup": setup, "ways": ordered}, indent=2)
        file.write_text(text + "\n", encoding="utf-8")
        plot(ordered, RESULTS / "drift.png")


if __name__ == "__main__":
    main()
