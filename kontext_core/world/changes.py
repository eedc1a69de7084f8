"""What an edit does to a scene: the operations that instructions are words for."""

from dataclasses import replace

from .scenes import Scene, Thing


def added(scene: Scene, *things: Thing) -> Scene:
    """The scene with more things in it."""
    return replace(scene, things=(*scene.things, *things), cue=None)


def removed(scene: Scene, thing: Thing) -> Scene:
    """The scene without one of its things."""
    return replace(scene, things=tuple(t for t in scene.things if t is not thing), cue=None)


def altered(scene: Scene, thing: Thing, **fields: str | int) -> Scene:
    """The scene with one of its things altered: colour, shape, row, col."""
    new = replace(thing, **fields)  # type: ignore[arg-type]
    return replace(scene, things=tuple(new if t is thing else t for t in scene.things), cue=None)


def rewritten(scene: Scene, text: str) -> Scene:
    """The scene with another text in place of its word.

    Raises: ValueError if it has no word.
    """
    if scene.word is None:
        raise ValueError("the scene has no word to replace")
    return replace(scene, word=replace(scene.word, text=text), cue=None)
