"""Samples: every kind asks for exactly what its target shows, in few words, and is repeatable by seed."""

import hashlib
import json
import random

import pytest

from kontext_core.world import KINDS, SINGLE_KINDS, apply, corpus, sample, to_json, vocabulary

N = 150


@pytest.mark.parametrize("kind", KINDS)
def test_scenes_are_clear_and_instructions_short(kind: str) -> None:
    rng = random.Random(1)
    for _ in range(N):
        made = sample(kind, rng)
        assert all(scene.is_clear() for scene in (*made.references, made.target))
        assert made.target.cue is None
        assert len(made.target.things) <= 5
        assert len(made.instruction.split()) <= (26 if kind == "text_to_image" else 24)
        if kind != "none" and made.references:
            assert made.target != made.references[0]


@pytest.mark.parametrize("kind", [*SINGLE_KINDS, "pointed", "none"])
def test_the_grammar_reads_every_instruction_back(kind: str) -> None:
    rng = random.Random(2)
    for _ in range(N):
        made = sample(kind, rng)
        assert apply(made.instruction, made.references[0]) == made.target, made.instruction


def test_number_of_references_by_kind() -> None:
    rng = random.Random(3)
    wanted = {"text_to_image": 0, "style": 2, "character": 2, "three": 3}
    for kind in KINDS:
        assert len(sample(kind, rng).references) == wanted.get(kind, 1)


def test_pointed_edits_differ_from_the_reference_only_at_the_cue() -> None:
    rng = random.Random(4)
    for _ in range(N):
        made = sample("pointed", rng)
        (reference,) = made.references
        changed = set(reference.things) ^ set(made.target.things)
        assert changed
        assert {thing.cell for thing in changed} == {reference.cue}


def test_style_takes_only_the_style_of_picture_two() -> None:
    rng = random.Random(5)
    for _ in range(N):
        made = sample("style", rng)
        scene, model = made.references
        assert made.target.style == model.style != scene.style
        assert (made.target.things, made.target.background) == (scene.things, scene.background)


def test_character_and_three_add_what_the_named_picture_shows() -> None:
    rng = random.Random(6)
    for _ in range(N):
        made = sample(rng.choice(("character", "three")), rng)
        words = made.instruction.split()
        new = [thing for thing in made.target.things if thing not in made.references[0].things]
        numbers = [int(words[i + 1]) for i, word in enumerate(words) if word == "picture"]
        cells = [(int(words[i + 1]) - 1, int(words[i + 3]) - 1) for i, w in enumerate(words) if w == "row"]
        shown = [made.references[number - 1].things[0] for number in numbers]
        assert [(t.shape, t.colour, t.size) for t in new] == [(t.shape, t.colour, t.size) for t in shown]
        assert [thing.cell for thing in new] == cells


def test_text_to_image_says_all_there_is() -> None:
    rng = random.Random(7)
    for _ in range(N):
        made = sample("text_to_image", rng)
        target = made.target
        assert (target.style, target.palette, target.time, target.word) == ("solid", "normal", "day", None)
        assert made.instruction.endswith(f" on {target.background}")
        for thing in target.things:
            size = "small " if thing.size == "small" else ""
            assert f"{size}{thing.colour} {thing.shape} " in made.instruction
            assert f"row {thing.row + 1} column {thing.col + 1}" in made.instruction


def test_the_corpus_holds_the_empty_prompt_and_only_known_words() -> None:
    sentences = corpus(1500, random.Random(8))
    assert len(sentences) == 1500
    assert sentences[0] == ""
    words = {word for sentence in sentences for word in sentence.split()}
    assert words == set(vocabulary())


def test_a_seed_repeats_on_every_python() -> None:
    rng = random.Random(9)
    made = [sample(kind, rng) for kind in KINDS for _ in range(10)]
    text = json.dumps([(m.instruction, [to_json(s) for s in (*m.references, m.target)]) for m in made])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "3f3eb0fb4029bff4"


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ValueError, match="enlarge"):
        sample("enlarge", random.Random(0))
