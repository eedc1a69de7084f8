"""`python -m tools.pick_seeds`: finds seeds with which the tiny model does every example right.

Each turn is tried with the first seeds there are, on the result of the best seed of the turn before. The best
seed is the one whose worst grid cell is nearest to the truth. Then the numbers go into
kontext_core/world/examples.py, and `python -m tools.make_workflows` writes them into the workflows.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kontext_core.chain import load_chain
from kontext_core.errors import CheckpointError
from kontext_core.images.marks import draw_marks, parse_marks
from kontext_core.pipeline import Edit, Pipeline, Reference
from kontext_core.world import TOLERANCE, Scene, cell_errors, draw
from kontext_core.world.examples import CHAIN_FILE, EXAMPLES, STEPS, Example, picture
from kontext_core.world.scenes import SIZE_PX

from .console import ToolError, run, say


class Try(NamedTuple):
    """One seed: the error of the worst cell, and what the next turn starts from."""

    error: float
    seed: int
    edit: Edit

    @property
    def right(self) -> bool:
        """Whether the whole picture is."""
        return self.error <= TOLERANCE


def tries(
    pipeline: Pipeline,
    instruction: str,
    references: Sequence[Reference],
    truth: Scene,
    count: int,
    mask: Tensor | None = None,
) -> list[Try]:
    """One turn with the seeds 0 to count - 1, the best first."""
    results: list[Try] = []
    expected = draw([truth])
    for seed in range(count):
        edit = pipeline.edit(instruction, references, steps=STEPS, seed=seed, mask=mask, keep_outside="auto")
        error = cell_errors(edit.image.permute(0, 3, 1, 2), expected).max().item()
        results.append(Try(error, seed, edit))
    return sorted(results, key=lambda attempt: attempt.error)


def seeds(pipeline: Pipeline, example: Example, count: int) -> tuple[int, ...]:
    """The best seed of each turn; says how many are right. Ends early where none is."""
    if example.one_seed:
        return shared_seed(pipeline, example, count)
    chosen: list[int] = []
    results: list[Edit] = []
    pictures = shown(example)
    mask = None if example.mask is None else box(*example.mask)
    turns = zip(example.instructions, example.truths, example.starts, strict=False)
    for instruction, truth, start in turns:
        references = [results[start - 1]] if start else pictures
        best, *others = tries(pipeline, instruction, references, truth, count, mask)
        right = sum(attempt.right for attempt in (best, *others))
        say(
            f"  {right} of {count} right; best: seed {best.seed}, {best.error:.3f} of {TOLERANCE}  {instruction}"
        )
        if not best.right:
            break
        chosen.append(best.seed)
        results.append(best.edit)
    return tuple(chosen)


def shown(example: Example) -> list[Reference]:
    """What the first turn of an example looks at."""
    if example.before:
        return [load_chain(CHAIN_FILE).last.as_reference()]
    pictures: list[Reference] = [picture(name) for name in example.pictures]
    if example.marks:
        pictures[0] = draw_marks(picture(example.pictures[0]), parse_marks(example.marks))
    return pictures


def box(left: int, top: int, width: int, height: int) -> Tensor:
    """A mask of a picture (128, 128) that is white there."""
    mask = torch.zeros(SIZE_PX, SIZE_PX)
    mask[top : top + height, left : left + width] = 1
    return mask


def shared_seed(pipeline: Pipeline, example: Example, count: int) -> tuple[int, ...]:
    """The seed with which the worst of all turns is best, for each turn."""
    results: list[tuple[float, int]] = []
    for seed in range(count):
        worst, references = 0.0, shown(example)
        for instruction, truth in zip(example.instructions, example.truths, strict=True):
            edit = pipeline.edit(instruction, references, steps=STEPS, seed=seed, keep_outside="auto")
            error = cell_errors(edit.image.permute(0, 3, 1, 2), draw([truth])).max().item()
            worst, references = max(worst, error), [edit]
        results.append((worst, seed))
    worst, best = min(results)
    right = sum(error <= TOLERANCE for error, _ in results)
    say(f"  {right} of {count} right in every turn; best: seed {best}, {worst:.3f} of {TOLERANCE}")
    return (best,) * len(example.seeds) if worst <= TOLERANCE else ()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.pick_seeds", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"only these of {', '.join(EXAMPLES)}", metavar="NAME")
    parser.add_argument("--count", type=int, default=10, help="seeds to try for each turn (10)")
    parser.add_argument("--model", default="tiny", help="another model folder than the tiny model's")
    options = parser.parse_args()
    names = options.names or list(EXAMPLES)
    if unknown := [name for name in names if name not in EXAMPLES]:
        raise ToolError(f"There are no examples {', '.join(unknown)}; there are {', '.join(EXAMPLES)}.")
    pipeline = Pipeline.load(options.model)
    results: dict[str, tuple[int, ...]] = {}
    for name in names:
        say(name)
        results[name] = seeds(pipeline, EXAMPLES[name], options.count)
    wanting = [name for name, chosen in results.items() if len(chosen) < len(EXAMPLES[name].seeds)]
    say("\n".join(f"{name}: seeds {chosen}" for name, chosen in results.items()))
    if wanting:
        raise ToolError(f"No seed is right for a turn of {', '.join(wanting)}.")


if __name__ == "__main__":
    run(main, CheckpointError)
