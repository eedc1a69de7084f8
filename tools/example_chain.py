"""`python -m tools.example_chain`: makes the chain that comes along with the pack.

The turns of the example "three_turn_edit", by the tiny model and with the example's seeds.
"""

from __future__ import annotations

from kontext_core.chain import Chain, save_chain
from kontext_core.errors import CheckpointError
from kontext_core.pipeline import Pipeline
from kontext_core.world.examples import CHAIN_FILE, EXAMPLES, STEPS, is_right, picture

from .console import ToolError, run, say


def main() -> None:
    """The command line."""
    example = EXAMPLES["three_turn_edit"]
    pipeline = Pipeline.load("tiny")
    chain = Chain.start(pipeline, picture(example.pictures[0]))
    for instruction, seed, truth in zip(example.instructions, example.seeds, example.truths, strict=True):
        chain = chain.edit(pipeline, instruction, seed=seed, steps=STEPS)
        if not is_right(chain.last.image, truth):
            raise ToolError(
                f"{instruction!r} gives no correct picture with seed {seed}: run tools.pick_seeds first."
            )
    save_chain(chain, CHAIN_FILE)
    say(f"wrote {CHAIN_FILE}")


if __name__ == "__main__":
    run(main, CheckpointError)
