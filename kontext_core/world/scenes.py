"""What a picture of the small world holds: things on a grid, perhaps a word, and how they look."""

from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

GRID = 4
CELL_PX = 32
SIZE_PX = GRID * CELL_PX

SHAPES = ("circle", "square", "triangle", "star", "cross", "heart", "diamond", "moon")
SIZES = ("small", "big")
STYLES = ("solid", "outline", "inked")
PALETTES = ("normal", "warm", "cold", "grey")
TIMES = ("day", "night")

RGB = tuple[float, float, float]
Cell = tuple[int, int]

# Every two lie at least 0.35 apart (root mean square over R, G, B), and 0.27 under any palette but grey.
COLOURS: dict[str, RGB] = {
    "red": (0.88, 0.12, 0.14),
    "pink": (1.00, 0.46, 0.71),
    "yellow": (1.00, 0.86, 0.10),
    "green": (0.08, 0.65, 0.25),
    "blue": (0.05, 0.42, 0.97),
    "purple": (0.50, 0.08, 0.70),
    "white": (1.00, 1.00, 1.00),
    "black": (0.07, 0.07, 0.09),
}
BACKGROUNDS: dict[str, RGB] = {
    "sky": (0.48, 0.76, 0.96),
    "sand": (0.93, 0.77, 0.53),
    "grass": (0.55, 0.80, 0.34),
    "snow": (0.93, 0.95, 0.98),
    "clay": (0.74, 0.40, 0.28),
    "lake": (0.10, 0.34, 0.44),
}
DARK_BACKGROUNDS = ("lake",)
# The least distance (root mean square over R, G, B) at which a thing stands out clearly from its background.
CONTRAST = 0.30


@dataclass(frozen=True, slots=True)
class Thing:
    """One object, centred in the cell (row, column), both counted from 0."""

    shape: str
    colour: str
    size: str
    row: int
    col: int

    @property
    def cell(self) -> Cell:
        return self.row, self.col


@dataclass(frozen=True, slots=True)
class Word:
    """Three letters, one a cell, from the cell (row, column) to the right."""

    text: str
    colour: str
    row: int
    col: int

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple((self.row, self.col + i) for i in range(len(self.text)))


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture of the world; `cue` is the cell that a red ellipse is drawn around.

    Raises: ValueError if a name is unknown, a cell lies outside the grid, or two things share a cell.
    """

    background: str
    things: tuple[Thing, ...] = ()
    word: Word | None = None
    style: str = "solid"
    palette: str = "normal"
    time: str = "day"
    cue: Cell | None = None

    def __post_init__(self) -> None:
        _known("background", self.background, BACKGROUNDS)
        _known("style", self.style, STYLES)
        _known("palette", self.palette, PALETTES)
        _known("time", self.time, TIMES)
        for thing in self.things:
            _known("shape", thing.shape, SHAPES)
            _known("colour", thing.colour, COLOURS)
            _known("size", thing.size, SIZES)
        if self.word is not None:
            _known("colour", self.word.colour, COLOURS)
            if len(self.word.text) != 3 or not (self.word.text.isascii() and self.word.text.islower()):
                raise ValueError(f"a word is three lower-case letters, not {self.word.text!r}")
        cells = self._cells()
        if len(set(cells)) != len(cells):
            raise ValueError(f"two things share a cell: {sorted(cells)}")
        for row, col in (*cells, *((self.cue,) if self.cue else ())):
            if not (0 <= row < GRID and 0 <= col < GRID):
                raise ValueError(f"cell {(row, col)} lies outside the {GRID} x {GRID} grid")

    def _cells(self) -> list[Cell]:
        cells = [thing.cell for thing in self.things]
        return cells + list(self.word.cells) if self.word else cells

    def free_cells(self) -> list[Cell]:
        """The cells that hold neither a thing nor a letter, row by row."""
        taken = set(self._cells())
        return [cell for cell in ALL_CELLS if cell not in taken]

    def colours(self) -> set[str]:
        """The colours of the things and of the word."""
        used = {thing.colour for thing in self.things}
        return used | {self.word.colour} if self.word else used

    def is_clear(self) -> bool:
        """Whether everything in it stands out from the background, under its palette and time of day."""
        return self.colours() <= set(clear_colours(self.background, self.palette, self.time))


ALL_CELLS: tuple[Cell, ...] = tuple((row, col) for row in range(GRID) for col in range(GRID))


def shown(colour: RGB, palette: str, time: str, *, is_background: bool) -> RGB:
    """The colour as it appears in the picture; at night the ground goes dark and the things stay lit."""
    red, green, blue = colour
    if palette == "warm":
        red, green, blue = 0.12 + 0.88 * red, 0.90 * green, 0.60 * blue
    elif palette == "cold":
        red, green, blue = 0.66 * red, 0.86 * green, 0.18 + 0.82 * blue
    elif palette == "grey":
        red = green = blue = 0.299 * red + 0.587 * green + 0.114 * blue  # Rec. 601 luma
    if time == "night":
        if is_background:
            red, green, blue = 0.36 * red, 0.36 * green, 0.10 + 0.36 * blue
        else:
            red, green, blue = 0.86 * red, 0.86 * green, 0.94 * blue
    return red, green, blue


def distance(first: RGB, second: RGB) -> float:
    """Root mean square distance of two colours over their three channels."""
    return (sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) / 3) ** 0.5


@cache
def clear_colours(background: str, palette: str = "normal", time: str = "day") -> tuple[str, ...]:
    """The colours that are clearly seen on this background."""
    ground = shown(BACKGROUNDS[background], palette, time, is_background=True)
    things = {name: shown(colour, palette, time, is_background=False) for name, colour in COLOURS.items()}
    return tuple(name for name, colour in things.items() if distance(colour, ground) >= CONTRAST)


def to_json(scene: Scene) -> dict[str, Any]:
    """The scene as plain dicts, lists and strings."""
    data = asdict(scene)
    data["things"] = list(data["things"])
    data["cue"] = list(scene.cue) if scene.cue else None
    return data


def from_json(data: dict[str, Any]) -> Scene:
    """The inverse of `to_json`; what is left out takes its default.

    Raises: ValueError for a scene that cannot be; TypeError for an unknown field.
    """
    word, cue = data.get("word"), data.get("cue")
    parts: dict[str, Any] = {
        "things": tuple(Thing(**thing) for thing in data.get("things", ())),
        "word": Word(**word) if word else None,
        "cue": (cue[0], cue[1]) if cue else None,
    }
    return Scene(**{**data, **parts})


def _known(what: str, name: str, names: tuple[str, ...] | dict[str, RGB]) -> None:
    if name not in names:
        raise ValueError(f"unknown {what} {name!r}; known: {', '.join(names)}")
