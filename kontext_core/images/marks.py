"""Marks drawn upon a picture for the model to see: the paper's "visual cues".

Stored as vectors, drawn at any size.

Coordinates are fractions of the picture's width and height, from its upper left corner; a stroke's width and
a text's height are fractions of the shorter side. So a mark means the same on every size of a picture.
Source: arXiv:2506.15742 section 5, prompting with visual cues.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor

from ..checks.json_values import listing, number, read_json, words
from ..checks.shorten import short
from .fitting import Placement, check_image, undo_fit
from .lettering import text_cover

VERSION = 1
MARK_KINDS = ("ellipse", "box", "arrow", "freehand", "text")
MOST_MARKS, MOST_POINTS, MOST_LETTERS = 500, 10_000, 200
COLOUR = "#ee0d14"
WIDTH = 0.02
_HEAD = 4.5  # length of an arrow's head, in stroke widths
_CORNERS = 96  # of the polygon that stands for an ellipse
_MOST_DRAWN = 2**33  # pixels that all lines together pass over, about a minute
_LEAST_DRAWN = 2**17  # that take as long as a short piece of a thin line

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One mark.

    Args:
        kind: one of `KINDS`.
        points: two corners of an ellipse's or a box's bounds; an arrow's start and tip; a line's points; the
            upper left corner of a text.
        colour: "#rrggbb".
        width: of the stroke; of a text its height.
    """

    kind: str
    points: tuple[Point, ...]
    colour: str = COLOUR
    width: float = WIDTH
    text: str = ""


def parse_marks(text: str) -> tuple[Mark, ...]:
    """Read marks from {"version": 1, "marks": [{"kind": ..., "points": [[x, y], ...], ...}]}; "" is none.

    Raises: ValueError in one sentence that names the mark.
    """
    if not text.strip():
        return ()
    try:
        document = read_json(text)
    except ValueError as error:
        raise ValueError(f"the marks are not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("marks"), list):
        raise ValueError('the marks must be {"version": 1, "marks": [...]}')
    version = document.get("version")
    if isinstance(version, bool) or version != VERSION:
        raise ValueError(
            f"the marks have version {short(version)}, but this pack reads version {VERSION}; update the pack"
        )
    return marks_from(document["marks"])


def marks_from(marks: Any) -> tuple[Mark, ...]:
    """Marks from what `marks_to` made of them. Raises: ValueError in one sentence that names the mark."""
    if not isinstance(marks, list):
        raise ValueError("the marks are not a list")
    entries = cast("list[Any]", marks)
    if len(entries) > MOST_MARKS:
        raise ValueError(f"there are {len(entries)} marks, but {MOST_MARKS} is the maximum")
    return tuple(_mark(i, entry) for i, entry in enumerate(entries, start=1))


def marks_to(marks: tuple[Mark, ...]) -> list[dict[str, Any]]:
    """Marks as JSON can hold them, every number as it is."""
    return [asdict(mark) | {"points": [list(point) for point in mark.points]} for mark in marks]


def draw_marks(image: Tensor, marks: tuple[Mark, ...]) -> Tensor:
    """Pictures (B, H, W, 3) in [0, 1] with the marks upon each, later ones above.

    The pictures themselves stay.

    Raises: ValueError in one sentence if it would take minutes, which nobody could stop.
    """
    check_image(image)
    height, width = image.shape[1:3]
    _check_work(marks, height, width)
    drawn = image.clone()
    for mark in marks:
        colour = torch.tensor([int(mark.colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        cover = _text_cover(mark, height, width) if mark.kind == "text" else _line_cover(mark, height, width)
        drawn = torch.lerp(drawn, colour.to(drawn).expand_as(drawn), cover[None, :, :, None].to(drawn))
    return drawn


def draw_on_canvas(canvas: Tensor, marks: tuple[Mark, ...], place: Placement | None) -> Tensor:
    """A canvas (B, H, W, 3) with the marks upon the picture that lies on it.

    Args:
        place: None: the picture is all of it.
    """
    if place is None:
        return draw_marks(canvas, marks)
    drawn = canvas.clone()
    undo_fit(drawn, place).copy_(draw_marks(undo_fit(canvas, place), marks))
    return drawn


def _mark(place: int, entry: Any) -> Mark:
    def wrong(what: str) -> ValueError:
        return ValueError(f"mark {place}: {what}")

    if not isinstance(entry, dict):
        raise wrong("it must be an object with 'kind' and 'points'")
    values = cast("Mapping[str, Any]", entry)
    kind = values.get("kind")
    if kind not in MARK_KINDS:
        raise wrong(f"kind {short(kind)} is not known; choose one of {', '.join(MARK_KINDS)}")
    points = values.get("points")
    least, most = {"freehand": (2, MOST_POINTS), "text": (1, 1)}.get(kind, (2, 2))
    if not isinstance(points, list) or not least <= len(cast("list[Any]", points)) <= most:
        raise wrong(f"its points must be {least if least == most else f'{least} to {most}'} pairs [x, y]")
    try:
        pairs = tuple(_point(point) for point in cast("list[Any]", points))
    except ValueError as error:
        raise wrong(
            "its points must be pairs [x, y] of numbers from -1 to 2, where 0 to 1 is the picture: "
            + str(error)
        ) from error
    colour, width, text = values.get("colour", COLOUR), values.get("width", WIDTH), values.get("text", "")
    if not isinstance(colour, str) or not re.fullmatch(r"#[0-9a-fA-F]{6}", colour):
        raise wrong(f"colour {short(colour)} must be written #rrggbb")
    try:
        stroke = number(width, 0, 1)
    except ValueError:
        stroke = 0.0
    if stroke == 0:
        raise wrong(f"width {short(width)} must be a fraction of the picture, above 0 and up to 1")
    if not isinstance(text, str) or len(text) > MOST_LETTERS or (kind == "text" and not text.strip()):
        raise wrong(f"its text must have 1 to {MOST_LETTERS} letters")
    return Mark(kind=kind, points=pairs, colour=colour, width=stroke, text=words(text, MOST_LETTERS))


def _point(entry: Any) -> Point:
    x, y = listing(entry, 2, least=2)
    return number(x, -1, 2), number(y, -1, 2)


def _check_work(marks: tuple[Mark, ...], height: int, width: int) -> None:
    pixels = 0
    for place, mark in enumerate(marks, start=1):
        stroke = mark.width * min(height, width)
        for start, end in () if mark.kind == "text" else _segments(mark, height, width, stroke):
            top, bottom, left, right = _box(start, end, stroke, height, width)
            pixels += max((bottom - top) * (right - left), _LEAST_DRAWN)
            if pixels > _MOST_DRAWN:
                raise ValueError(
                    f"the marks up to mark {place} would take minutes to draw on {width} x {height} px: draw "
                    "thinner lines, or lines of fewer points, or scale the picture down first"
                )


def _box(start: Point, end: Point, stroke: float, height: int, width: int) -> tuple[int, int, int, int]:
    """What a straight piece passes over: top, bottom, left, right in pixels."""
    reach = stroke / 2 + 1
    return *_span(start[1], end[1], reach, height), *_span(start[0], end[0], reach, width)


def _line_cover(mark: Mark, height: int, width: int) -> Tensor:
    """How much of each pixel the stroke covers: (H, W) in [0, 1]. Ends are round."""
    stroke = mark.width * min(height, width)
    cover = torch.zeros(height, width)
    for start, end in _segments(mark, height, width, stroke):
        top, bottom, left, right = _box(start, end, stroke, height, width)
        if top >= bottom or left >= right:
            continue
        y, x = torch.arange(top, bottom)[:, None] + 0.5, torch.arange(left, right) + 0.5
        along_x, along_y = end[0] - start[0], end[1] - start[1]
        length = along_x**2 + along_y**2
        share = ((x - start[0]) * along_x + (y - start[1]) * along_y) / length if length else torch.zeros(())
        share = share.clamp(0, 1)
        away = torch.hypot(x - start[0] - share * along_x, y - start[1] - share * along_y)
        part = cover[top:bottom, left:right]
        torch.maximum(part, (stroke / 2 + 0.5 - away).clamp(0, 1), out=part)
    return cover


def _span(first: float, second: float, reach: float, size: int) -> tuple[int, int]:
    return max(math.floor(min(first, second) - reach), 0), min(math.ceil(max(first, second) + reach), size)


def _segments(mark: Mark, height: int, width: int, stroke: float) -> Iterator[tuple[Point, Point]]:
    """Straight pieces in pixels."""
    points = [(x * width, y * height) for x, y in mark.points]
    if mark.kind == "freehand":
        yield from pairwise(points)
        return
    (x0, y0), (x1, y1) = points
    if mark.kind == "box":
        corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
        yield from pairwise(corners)
    elif mark.kind == "ellipse":
        turns = [2 * math.pi * i / _CORNERS for i in range(_CORNERS + 1)]
        middle, half = ((x0 + x1) / 2, (y0 + y1) / 2), ((x1 - x0) / 2, (y1 - y0) / 2)
        yield from pairwise(
            [(middle[0] + half[0] * math.cos(t), middle[1] + half[1] * math.sin(t)) for t in turns]
        )
    else:
        yield (x0, y0), (x1, y1)
        back = math.atan2(y0 - y1, x0 - x1)
        for turn in (-math.pi / 6, math.pi / 6):
            length = _HEAD * stroke
            tip = x1 + length * math.cos(back + turn), y1 + length * math.sin(back + turn)
            yield (x1, y1), tip


def _text_cover(mark: Mark, height: int, width: int) -> Tensor:
    (x, y) = mark.points[0]
    size = max(mark.width * min(height, width), 1.0)
    return text_cover(mark.text, x * width, y * height, size, height=height, width=width)
