"""Random scenes, and the edits of one scene that an instruction alone describes."""

import random
from collections.abc import Callable
from dataclasses import replace

from .changes import added, altered, removed, rewritten
from .language import POINTED, WORDS, describe, place, refer, say
from .scenes import (
    ALL_CELLS,
    BACKGROUNDS,
    COLOURS,
    GRID,
    PALETTES,
    SHAPES,
    SIZES,
    STYLES,
    Cell,
    Scene,
    Thing,
    Word,
    clear_colours,
    distance,
    shown,
)

# How a scene may look at the start of an edit (palette, time). Grey pictures hide the colours that are asked
# for by name, so grey is only ever a result.
PLAIN = ("normal", "day")
LOOKS = (("warm", "day"), ("cold", "day"), ("normal", "night"))
MAX_THINGS = 4
# The least change (root mean square over R, G, B) by which a new palette is seen: of the ground, of a thing.
SEEN_ON_GROUND, SEEN_ON_THING = 0.065, 0.2

Edit = tuple[str, Scene]


def edit(kind: str, scene: Scene, rng: random.Random) -> Edit | None:
    """An instruction of a single-reference kind for this scene, and its result; None for an unfit draw."""
    change = _EDITS[kind](scene, rng)
    return change if change is not None and change[1].is_clear() else None


def random_scene(
    rng: random.Random,
    least: int = 1,
    most: int = MAX_THINGS,
    *,
    word: bool | None = None,
    plain: bool = False,
) -> Scene:
    """A scene of `least` to `most` things; `word` None is left to chance, `plain` not tinted, not night."""
    palette, time = PLAIN if plain or rng.random() < 0.8 else rng.choice(LOOKS)
    background = rng.choice(tuple(BACKGROUNDS))
    colours = clear_colours(background, palette, time)
    cells = list(ALL_CELLS)
    written = None
    if word or (word is None and rng.random() < 0.15):
        written = Word(rng.choice(WORDS), rng.choice(colours), rng.randrange(GRID), rng.randrange(GRID - 2))
        cells = [cell for cell in cells if cell not in written.cells]
    spots = rng.sample(cells, rng.randint(least, most))
    things = tuple(_random_thing(rng, colours, cell) for cell in spots)
    style = "solid" if rng.random() < 0.6 else rng.choice(STYLES[1:])
    return Scene(background, things, written, style, palette, time)


def other(rng: random.Random, names: tuple[str, ...], than: str) -> str:
    """One of the names, but not that one."""
    return rng.choice([name for name in names if name != than])


def _random_thing(rng: random.Random, colours: tuple[str, ...], cell: Cell) -> Thing:
    return Thing(rng.choice(SHAPES), rng.choice(colours), rng.choice(SIZES), *cell)


def _choose(scene: Scene, rng: random.Random) -> tuple[Thing, str] | None:
    """A thing of the scene and the phrase that means it: by the ellipse if it has one, else by its looks."""
    if not scene.things:
        return None
    if scene.cue:
        return next(thing for thing in scene.things if thing.cell == scene.cue), POINTED
    thing = rng.choice(scene.things)
    name = refer(thing, scene)
    return (thing, name) if name else None


def _recolour(scene: Scene, rng: random.Random) -> Edit | None:
    if (chosen := _choose(scene, rng)) is None:
        return None
    thing, name = chosen
    colour = other(rng, clear_colours(scene.background, scene.palette, scene.time), thing.colour)
    return say(rng, "recolour", thing=name, colour=colour), altered(scene, thing, colour=colour)


def _remove(scene: Scene, rng: random.Random) -> Edit | None:
    if (chosen := _choose(scene, rng)) is None:
        return None
    thing, name = chosen
    return say(rng, "remove", thing=name), removed(scene, thing)


def _reshape(scene: Scene, rng: random.Random) -> Edit | None:
    if (chosen := _choose(scene, rng)) is None:
        return None
    thing, name = chosen
    shape = other(rng, SHAPES, thing.shape)
    return say(rng, "reshape", thing=name, shape=shape), altered(scene, thing, shape=shape)


def _add(scene: Scene, rng: random.Random) -> Edit | None:
    if len(scene.things) >= MAX_THINGS:
        return None
    colours = clear_colours(scene.background, scene.palette, scene.time)
    thing = _random_thing(rng, colours, rng.choice(scene.free_cells()))
    return say(rng, "add", new=f"a {describe(thing)}", place=place(thing.cell)), added(scene, thing)


def _move(scene: Scene, rng: random.Random) -> Edit | None:
    if (chosen := _choose(scene, rng)) is None:
        return None
    thing, name = chosen
    row, col = rng.choice(scene.free_cells())
    return say(rng, "move", thing=name, place=place((row, col))), altered(scene, thing, row=row, col=col)


def _background(scene: Scene, rng: random.Random) -> Edit:
    background = other(rng, tuple(BACKGROUNDS), scene.background)
    return say(rng, "background", background=background), replace(scene, background=background)


def _palette(scene: Scene, rng: random.Random) -> Edit | None:
    """Palette or time of day; one of the two is always plain."""
    if scene.time == "night" or (scene.palette == "normal" and rng.random() < 0.35):
        time = "day" if scene.time == "night" else "night"
        return say(rng, "time", time=time), replace(scene, time=time)
    palette = other(rng, PALETTES, scene.palette)
    changed = replace(scene, palette=palette)
    return (say(rng, "palette", palette=palette), changed) if _is_seen(scene, changed) else None


def _is_seen(scene: Scene, changed: Scene) -> bool:
    """Whether a change of palette shows; grey snow, for one, is snow."""
    was, now = (scene.palette, scene.time), (changed.palette, changed.time)
    ground = BACKGROUNDS[scene.background]
    if (
        distance(shown(ground, *was, is_background=True), shown(ground, *now, is_background=True))
        >= SEEN_ON_GROUND
    ):
        return True
    things = [COLOURS[name] for name in scene.colours()]
    return any(
        distance(shown(colour, *was, is_background=False), shown(colour, *now, is_background=False))
        >= SEEN_ON_THING
        for colour in things
    )


def _text(scene: Scene, rng: random.Random) -> Edit | None:
    if scene.word is None:
        return None
    word = other(rng, WORDS, scene.word.text)
    return say(rng, "text", word=word, old=scene.word.text), rewritten(scene, word)


_EDITS: dict[str, Callable[[Scene, random.Random], Edit | None]] = {
    "recolour": _recolour,
    "remove": _remove,
    "add": _add,
    "move": _move,
    "reshape": _reshape,
    "background": _background,
    "palette": _palette,
    "text": _text,
}
SINGLE_KINDS = tuple(_EDITS)
