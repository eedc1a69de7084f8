"""Instructions back to results: what a sentence of the world's grammar makes of a known scene."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache

from .changes import added, altered, removed, rewritten
from .language import matching, patterns, plain_words
from .scenes import Scene, Thing

Slots = dict[str, str | None]


def apply(instruction: str, scene: Scene) -> Scene | None:
    """The true result of an instruction that needs no second picture.

    Case, commas and a full stop do not matter; the empty instruction changes nothing.
    Returns: None if the sentence is not understood or does not fit the scene: it names a thing that is not
        there or that several could be, a place that is taken, or a word that is not written.
    """
    text = plain_words(instruction)
    if not text:
        return scene
    for action, change in _CHANGES.items():
        for pattern in _patterns(action):
            match = pattern.fullmatch(text)
            result = change(scene, match.groupdict()) if match else None
            if result is not None:
                return result
    return None


@cache
def _patterns(action: str) -> tuple[re.Pattern[str], ...]:
    return tuple(patterns(action))


def _meant(scene: Scene, slots: Slots) -> Thing | None:
    """The one thing that the sentence means."""
    if slots["pointed"]:
        things = [thing for thing in scene.things if thing.cell == scene.cue]
    else:
        things = matching(scene, _of(slots, "its_colour"), _of(slots, "its_shape"), slots["its_size"])
    return things[0] if len(things) == 1 else None


def _of(slots: Slots, name: str) -> str:
    value = slots[name]
    assert value is not None, f"the grammar leaves {name} out"
    return value


def _recolour(scene: Scene, slots: Slots) -> Scene | None:
    thing = _meant(scene, slots)
    return altered(scene, thing, colour=_of(slots, "colour")) if thing else None


def _remove(scene: Scene, slots: Slots) -> Scene | None:
    thing = _meant(scene, slots)
    return removed(scene, thing) if thing else None


def _reshape(scene: Scene, slots: Slots) -> Scene | None:
    thing = _meant(scene, slots)
    return altered(scene, thing, shape=_of(slots, "shape")) if thing else None


def _add(scene: Scene, slots: Slots) -> Scene | None:
    row, col = _cell(slots)
    if (row, col) not in scene.free_cells():
        return None
    shape, colour = _of(slots, "its_shape"), _of(slots, "its_colour")
    return added(scene, Thing(shape, colour, slots["its_size"] or "big", row, col))


def _move(scene: Scene, slots: Slots) -> Scene | None:
    thing = _meant(scene, slots)
    row, col = _cell(slots)
    if thing is None or (row, col) not in (thing.cell, *scene.free_cells()):
        return None
    return altered(scene, thing, row=row, col=col)


def _cell(slots: Slots) -> tuple[int, int]:
    return int(_of(slots, "row")) - 1, int(_of(slots, "column")) - 1


def _background(scene: Scene, slots: Slots) -> Scene:
    return replace(scene, background=_of(slots, "background"), cue=None)


def _palette(scene: Scene, slots: Slots) -> Scene:
    return replace(scene, palette=_of(slots, "palette"), cue=None)


def _time(scene: Scene, slots: Slots) -> Scene:
    return replace(scene, time=_of(slots, "time"), cue=None)


def _text(scene: Scene, slots: Slots) -> Scene | None:
    if scene.word is None or slots.get("old", scene.word.text) != scene.word.text:
        return None
    return rewritten(scene, _of(slots, "word"))


_CHANGES: dict[str, Callable[[Scene, Slots], Scene | None]] = {
    "recolour": _recolour,
    "remove": _remove,
    "add": _add,
    "move": _move,
    "reshape": _reshape,
    "background": _background,
    "palette": _palette,
    "time": _time,
    "text": _text,
}
