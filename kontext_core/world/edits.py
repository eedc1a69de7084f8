"""Samples of every kind of edit: reference scenes, an instruction, and the one right result."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from .changes import added
from .language import listing, place, say
from .scenes import STYLES, Cell, Scene, Thing
from .single import MAX_THINGS, SINGLE_KINDS, edit, other, random_scene


@dataclass(frozen=True, slots=True)
class Sample:
    """One edit: the references (picture 1, picture 2, ...), what is asked, and the right answer."""

    kind: str
    instruction: str
    references: tuple[Scene, ...]
    target: Scene


def sample(kind: str, rng: random.Random) -> Sample:
    """One random edit of this kind.

    Raises: ValueError if the kind is not one of KINDS.
    """
    if kind not in _SAMPLERS:
        raise ValueError(f"unknown kind {kind!r}; known: {', '.join(KINDS)}")
    while True:
        candidate = _SAMPLERS[kind](rng)
        if candidate is not None and candidate.target.is_clear():
            return candidate


def corpus(n: int, rng: random.Random) -> list[str]:
    """n instructions of all kinds to train tokenizers on, the empty one first."""
    return ["", *(sample(rng.choice(KINDS), rng).instruction for _ in range(n - 1))]


def _single(kind: str, rng: random.Random) -> Sample | None:
    most = 3 if kind in ("add", "text") else MAX_THINGS
    scene = random_scene(rng, most=most, word=True if kind == "text" else None)
    change = edit(kind, scene, rng)
    return Sample(kind, change[0], (scene,), change[1]) if change else None


def _pointed(rng: random.Random) -> Sample | None:
    scene = random_scene(rng)
    scene = replace(scene, cue=rng.choice(scene.things).cell)
    change = edit(rng.choice(("recolour", "remove", "reshape")), scene, rng)
    return Sample("pointed", change[0], (scene,), change[1]) if change else None


def _style(rng: random.Random) -> Sample:
    scene, model = random_scene(rng), random_scene(rng, least=2)
    model = replace(model, style=other(rng, STYLES, scene.style))
    return Sample("style", say(rng, "style"), (scene, model), replace(scene, style=model.style))


def _character(rng: random.Random) -> Sample:
    scene = random_scene(rng, most=3, plain=True)
    portrait = _portrait(rng, scene)
    cell = rng.choice(scene.free_cells())
    text = say(rng, "character", number="2", place=place(cell))
    return Sample("character", text, (scene, portrait), added(scene, _placed(portrait, cell)))


def _three(rng: random.Random) -> Sample | None:
    """Two portraits beside the scene: the one that is named goes into it, sometimes both."""
    scene = random_scene(rng, most=2, plain=True)
    second, third = _portrait(rng, scene), _portrait(rng, scene)
    if _placed(second, (0, 0)) == _placed(third, (0, 0)):
        return None
    cell, other_cell = rng.sample(scene.free_cells(), 2)
    if rng.random() < 0.25:
        text = say(rng, "both", place=place(cell), other=place(other_cell))
        target = added(scene, _placed(second, cell), _placed(third, other_cell))
    else:
        number, portrait = rng.choice((("2", second), ("3", third)))
        text = say(rng, "character", number=number, place=place(cell))
        target = added(scene, _placed(portrait, cell))
    return Sample("three", text, (scene, second, third), target)


def _portrait(rng: random.Random, scene: Scene) -> Scene:
    """A picture of one thing to be put into the scene, in the scene's style."""
    return replace(random_scene(rng, most=1, word=False, plain=True), style=scene.style)


def _placed(portrait: Scene, cell: Cell) -> Thing:
    return replace(portrait.things[0], row=cell[0], col=cell[1])


def _text_to_image(rng: random.Random) -> Sample:
    target = replace(random_scene(rng, most=3, word=False, plain=True), style="solid")
    text = say(rng, "text_to_image", things=listing(rng, target.things), background=target.background)
    return Sample("text_to_image", text, (), target)


def _none(rng: random.Random) -> Sample:
    scene = random_scene(rng)
    return Sample("none", "", (scene,), scene)


_SAMPLERS: dict[str, Callable[[random.Random], Sample | None]] = {
    **{kind: partial(_single, kind) for kind in SINGLE_KINDS},
    "pointed": _pointed,
    "style": _style,
    "character": _character,
    "three": _three,
    "text_to_image": _text_to_image,
    "none": _none,
}
KINDS = tuple(_SAMPLERS)
