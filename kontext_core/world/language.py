"""The world's English: every sentence that an instruction can be, as templates with named slots."""

import random
import re
from functools import cache

from .scenes import BACKGROUNDS, COLOURS, GRID, PALETTES, SHAPES, SIZES, TIMES, Cell, Scene, Thing

WORDS = (
    "sun", "cat", "hat", "dog", "sea", "map", "cup", "fox", "ice", "jam", "key", "owl",
    "pen", "tea", "van", "zoo", "bee", "pig", "log", "net", "box", "gym", "hut", "wax",
)  # fmt: skip

# Slots: {thing} "the red circle", {new} "a small red circle", {place} "row 2 column 3"; others are one word.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "recolour": ("make {thing} {colour}", "recolour {thing} to {colour}", "paint {thing} {colour}"),
    "remove": ("remove {thing}", "take away {thing}", "delete {thing}"),
    "add": ("add {new} at {place}", "put {new} at {place}", "draw {new} at {place}"),
    "move": ("move {thing} to {place}", "put {thing} at {place}", "shift {thing} to {place}"),
    "reshape": ("turn {thing} into a {shape}", "make {thing} a {shape}", "change {thing} into a {shape}"),
    "background": (
        "make the background {background}",
        "change the background to {background}",
        "set the background to {background}",
    ),
    "palette": ("make the colours {palette}", "use {palette} colours", "change the colours to {palette}"),
    "time": ("make it {time}", "change it to {time}", "turn it into {time}"),
    "text": (
        "change the word to {word}",
        "replace the word with {word}",
        "make the word say {word}",
        "change the word {old} to {word}",
    ),
    "style": (
        "use the style of picture 2",
        "draw it in the style of picture 2",
        "copy the style of picture 2",
    ),
    "character": (
        "put the thing of picture {number} at {place}",
        "add the thing of picture {number} at {place}",
        "draw the thing of picture {number} at {place}",
    ),
    "both": ("put the thing of picture 2 at {place} and the thing of picture 3 at {other}",),
    "text_to_image": ("{things} on {background}", "draw {things} on {background}"),
}

POINTED = "the thing in the red ellipse"

THING = (
    rf"(?:(?P<its_size>{'|'.join(SIZES)}) )?"
    rf"(?P<its_colour>{'|'.join(COLOURS)}) (?P<its_shape>{'|'.join(SHAPES)})"
)
_PLACE = f"row [1-{GRID}] column [1-{GRID}]"
_ITEM = rf"(?:a )?(?:small )?(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)}) (?:at )?{_PLACE}"
_SLOTS = {
    "thing": rf"(?:(?P<pointed>{POINTED})|the {THING})",
    "new": f"a {THING}",
    "place": rf"row (?P<row>[1-{GRID}]) column (?P<column>[1-{GRID}])",
    "colour": f"(?P<colour>{'|'.join(COLOURS)})",
    "shape": f"(?P<shape>{'|'.join(SHAPES)})",
    "background": f"(?P<background>{'|'.join(BACKGROUNDS)})",
    "palette": f"(?P<palette>{'|'.join(PALETTES)})",
    "time": f"(?P<time>{'|'.join(TIMES)})",
    "word": "(?P<word>[a-z]{3})",
    "old": "(?P<old>[a-z]{3})",
    "number": f"(?P<number>[1-{GRID}])",
    "other": _PLACE,
    "things": f"{_ITEM}(?: and {_ITEM})*",
}


def say(rng: random.Random, action: str, **slots: str) -> str:
    """One of the action's sentences, with its slots filled; a sentence may leave some of them out."""
    return rng.choice(TEMPLATES[action]).format(**slots)


def patterns(action: str) -> list[re.Pattern[str]]:
    """What recognises the sentences of an action; named groups hold what fills the slots."""
    pieces = [re.split(r"{(\w+)}", text) for text in TEMPLATES[action]]
    return [
        re.compile("".join(_SLOTS[piece] if i % 2 else re.escape(piece) for i, piece in enumerate(parts)))
        for parts in pieces
    ]


def is_sentence(text: str) -> bool:
    """Tell whether a text is one of the sentences; case, commas and a full stop do not matter."""
    words = plain_words(text)
    return any(pattern.fullmatch(words) for pattern in _sentences())


@cache
def _sentences() -> tuple[re.Pattern[str], ...]:
    return tuple(pattern for action in TEMPLATES for pattern in patterns(action))


def plain_words(text: str) -> str:
    """A text as the grammar reads it."""
    return " ".join(re.sub(r"[.,!]", " ", text.lower()).split())


def place(cell: Cell) -> str:
    """A cell in words; rows and columns are counted from 1."""
    return f"row {cell[0] + 1} column {cell[1] + 1}"


def describe(thing: Thing) -> str:
    """A thing in words, without article and place; `big` goes without saying."""
    size = "small " if thing.size == "small" else ""
    return f"{size}{thing.colour} {thing.shape}"


def matching(scene: Scene, colour: str, shape: str, size: str | None = None) -> list[Thing]:
    """The things that "the (size) (colour) (shape)" may mean."""
    return [t for t in scene.things if t.colour == colour and t.shape == shape and size in (None, t.size)]


def refer(thing: Thing, scene: Scene) -> str | None:
    """The shortest phrase that means this thing and no other; None if there is none."""
    if len(matching(scene, thing.colour, thing.shape)) == 1:
        return f"the {thing.colour} {thing.shape}"
    if len(matching(scene, thing.colour, thing.shape, thing.size)) == 1:
        return f"the {thing.size} {thing.colour} {thing.shape}"
    return None


def listing(rng: random.Random, things: tuple[Thing, ...]) -> str:
    """Things with their places; three are listed without articles, to stay short."""
    if len(things) > 2 or rng.random() < 0.3:
        return " and ".join(f"{describe(thing)} {place(thing.cell)}" for thing in things)
    return " and ".join(f"a {describe(thing)} at {place(thing.cell)}" for thing in things)


def vocabulary() -> list[str]:
    """Every word that a sampled instruction can hold, sorted."""
    text = " ".join(sentence for sentences in TEMPLATES.values() for sentence in sentences)
    spoken = set(re.sub(r"{\w+}", " ", text).split()) | set(POINTED.split())
    names = (*COLOURS, *SHAPES, *SIZES, *BACKGROUNDS, *PALETTES, *TIMES, *WORDS, "row", "column", "a", "and")
    return sorted(spoken | set(names) | {str(i + 1) for i in range(GRID)})
