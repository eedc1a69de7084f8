"""Scenes: what they refuse, how they are stored, and that their colours are distinguishable."""

import json
import random
from itertools import combinations

import pytest

from kontext_core.world import KINDS, Scene, Thing, Word, from_json, sample, to_json
from kontext_core.world.scenes import BACKGROUNDS, COLOURS, clear_colours, distance, shown
from kontext_core.world.single import LOOKS, PLAIN

CIRCLE = Thing("circle", "red", "big", 1, 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"background": "lava"},
        {"style": "dotted"},
        {"palette": "pastel"},
        {"time": "noon"},
        {"things": (Thing("blob", "red", "big", 0, 0),)},
        {"things": (Thing("circle", "mauve", "big", 0, 0),)},
        {"things": (Thing("circle", "red", "huge", 0, 0),)},
        {"things": (Thing("circle", "red", "big", 4, 0),)},
        {"things": (CIRCLE, Thing("star", "blue", "small", 1, 1))},
        {"things": (CIRCLE,), "word": Word("cat", "black", 1, 0)},
        {"word": Word("cat", "black", 0, 2)},
        {"word": Word("cats", "black", 0, 0)},
        {"word": Word("CAT", "black", 0, 0)},
        {"cue": (0, -1)},
    ],
)
def test_impossible_scenes_are_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match=r"unknown|share|outside|letters"):
        Scene(**{"background": "sky", **fields})


def test_json_brings_back_every_scene() -> None:
    rng = random.Random(0)
    for kind in KINDS:
        made = sample(kind, rng)
        for scene in (*made.references, made.target):
            assert from_json(json.loads(json.dumps(to_json(scene)))) == scene


def test_json_may_leave_out_defaults_but_not_invent_fields() -> None:
    assert from_json({"background": "sky"}) == Scene("sky")
    with pytest.raises(TypeError):
        from_json({"background": "sky", "weather": "rain"})


@pytest.mark.parametrize(("palette", "time"), [PLAIN, *LOOKS])
def test_colours_are_far_apart_and_leave_a_choice_on_every_background(palette: str, time: str) -> None:
    colours = [shown(colour, palette, time, is_background=False) for colour in COLOURS.values()]
    assert min(distance(*pair) for pair in combinations(colours, 2)) > 0.265
    assert all(len(clear_colours(background, palette, time)) >= 3 for background in BACKGROUNDS)


def test_free_cells_leave_out_things_and_letters() -> None:
    scene = Scene("sky", (CIRCLE,), Word("cat", "black", 3, 1))
    assert set(scene.free_cells()).isdisjoint({(1, 1), (3, 1), (3, 2), (3, 3)})
    assert len(scene.free_cells()) == 12
