"""Typed instructions: which are understood, and which are not."""

import random
from dataclasses import replace

import pytest

from kontext_core.world import KINDS, Scene, Thing, Word, apply, sample
from kontext_core.world.language import is_sentence

RED = Thing("circle", "red", "big", 0, 0)
SMALL = Thing("circle", "red", "small", 1, 1)
STAR = Thing("star", "blue", "big", 2, 2)
MOVED = Thing("star", "blue", "big", 0, 3)
MOON = Thing("moon", "pink", "big", 0, 3)
SCENE = Scene("sky", (RED, SMALL, STAR), Word("cat", "black", 3, 0))


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("make the blue star green", replace(SCENE, things=(RED, SMALL, replace(STAR, colour="green")))),
        ("Make the big red circle a moon.", replace(SCENE, things=(replace(RED, shape="moon"), SMALL, STAR))),
        ("remove the small red circle", replace(SCENE, things=(RED, STAR))),
        ("put the blue star at row 1 column 4", replace(SCENE, things=(RED, SMALL, MOVED))),
        ("put a pink moon at row 1 column 4", replace(SCENE, things=(*SCENE.things, MOON))),
        ("change the word cat to dog", replace(SCENE, word=Word("dog", "black", 3, 0))),
        ("make the colours grey", replace(SCENE, palette="grey")),
        ("make it night", replace(SCENE, time="night")),
        ("set the background to clay", replace(SCENE, background="clay")),
        ("", SCENE),
    ],
)  # fmt: skip
def test_what_is_understood(text: str, result: Scene) -> None:
    assert apply(text, SCENE) == result


@pytest.mark.parametrize(
    "text",
    [
        "make the red circle blue",  # two of them
        "remove the green star",  # none of them
        "add a green star at row 1 column 1",  # taken
        "move the blue star to row 4 column 2",  # a letter is there
        "add a green star at row 5 column 1",
        "change the word dog to fox",  # it says cat
        "change the word to house",
        "remove the thing in the red ellipse",  # there is no ellipse
        "use the style of picture 2",
        "put the thing of picture 2 at row 1 column 4",
        "make me a sandwich",
    ],
)
def test_what_is_not(text: str) -> None:
    assert apply(text, SCENE) is None


def test_the_ellipse_means_its_cell_and_goes_away() -> None:
    assert apply("remove the thing in the red ellipse", replace(SCENE, cue=(2, 2))) == replace(
        SCENE, things=(RED, SMALL)
    )
    assert apply("remove the thing in the red ellipse", replace(SCENE, cue=(0, 3))) is None


def test_every_sentence_is_known() -> None:
    rng = random.Random(5)
    for kind in KINDS:
        for _ in range(40):
            text = sample(kind, rng).instruction
            assert is_sentence(text) == (text != ""), text
            assert is_sentence(f"{text.upper()}!") == (text != "")


@pytest.mark.parametrize(
    "text", ["", "make it", "make the background", "make the red circle blue and", "change the word to house"]
)
def test_what_is_no_sentence(text: str) -> None:
    assert not is_sentence(text)
