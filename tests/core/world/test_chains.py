"""Chains: each turn follows from the one before, and untouched cells are."""

import random

import torch

from kontext_core.world import Chain, Scene, Thing, Turn, apply, draw, sample_chain, untouched_cells


def test_every_turn_follows_from_the_last() -> None:
    rng = random.Random(0)
    for _ in range(60):
        chain = sample_chain(rng)
        assert len(chain.turns) == 5
        scene = chain.start
        for turn in chain.turns:
            assert apply(turn.instruction, scene) == turn.truth != scene
            assert turn.truth.palette != "grey"
            scene = turn.truth


def test_untouched_cells_are_those_no_turn_changed() -> None:
    circle = Thing("circle", "red", "big", 0, 1)
    start = Scene("sky", (circle,))
    there = Scene("sky", (Thing("circle", "red", "big", 3, 3),))
    chain = Chain(start, (Turn("move", "", there), Turn("move", "", start)))
    mask = untouched_cells(chain)
    assert mask.dtype == torch.bool
    assert (~mask).nonzero().tolist() == [[0, 1], [3, 3]]
    assert not untouched_cells(Chain(start, (Turn("background", "", Scene("sand", (circle,))),))).any()


def test_most_chains_leave_cells_alone() -> None:
    rng = random.Random(1)
    chains = [sample_chain(rng) for _ in range(40)]
    left = [int(untouched_cells(chain).sum()) for chain in chains]
    assert sum(n >= 6 for n in left) >= 20
    picture = draw([chains[0].start])
    assert picture.shape == (1, 3, 128, 128)
