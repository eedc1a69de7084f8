"""Marks drawn upon a picture for the model to see: the paper's "visual cues". Areas, which it does not see.

Stored as vectors, drawn at any size. The areas of a document are together a mask: where an edit may reach.

Coordinates are fractions of the picture's width and height, from its upper left corner; a stroke's width and
a text's height are fractions of the shorter side. So a mark means the same on every size of a picture.
Source: arXiv:2506.15742 section 5, prompting with visual cues.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor

from ..checks.json_values import listing, number, read_json, words
from ..checks.shorten import short
from .filling import fill
from .fitting import Placement, Size, check_image, is_stretched, resize, undo_fit
from .lettering import text_cover

VERSION = 2  # 1 has no areas
MARK_KINDS = ("ellipse", "box", "arrow", "freehand", "text")
AREA_KINDS = ("ellipse", "box", "freehand", "brush")
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
        kind: one of `MARK_KINDS`; of an area one of `AREA_KINDS`.
        points: two corners of an ellipse's or a box's bounds; an arrow's start and tip; a line's points; the
            upper left corner of a text.
        colour: "#rrggbb".
        width: of the stroke; of a text its height. The outline of an area has none, only a brush.
        mask: whether it is an area: all within the ellipse, the box or the closed line, or a brush's stroke.
        erase: whether a brush takes its stroke away from the areas before it.
    """

    kind: str
    points: tuple[Point, ...]
    colour: str = COLOUR
    width: float = WIDTH
    text: str = ""
    mask: bool = False
    erase: bool = False


def parse_marks(text: str) -> tuple[Mark, ...]:
    """Read marks from {"version": 1, "marks": [{"kind": ..., "points": [[x, y], ...], ...}]}; "" is none.

    Areas need version 2, which packs without them refuse.

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
    if isinstance(version, bool) or version not in range(1, VERSION + 1):
        raise ValueError(
            f"the marks have version {short(version)}, but this pack reads versions up to {VERSION}; update the "
            "pack"
        )
    marks = marks_from(document["marks"])
    for place, mark in enumerate(marks, start=1):
        if mark.mask and version == 1:
            raise ValueError(
                f'mark {place}: it is an area, which version 1 of the marks does not have: write "version": 2'
            )
    return marks


def marks_from(marks: Any) -> tuple[Mark, ...]:
    """Marks from what `marks_to` made of them. Raises: ValueError in one sentence that names the mark."""
    if not isinstance(marks, list):
        raise ValueError("the marks are not a list")
    entries = cast("list[Any]", marks)
    if len(entries) > MOST_MARKS:
        raise ValueError(f"there are {len(entries)} marks, but {MOST_MARKS} is the maximum")
    return tuple(_mark(i, entry) for i, entry in enumerate(entries, start=1))


def marks_to(marks: tuple[Mark, ...]) -> list[dict[str, Any]]:
    """Marks as JSON can hold them, every number as it is; those that are no area as before there were any."""
    return [
        {name: value for name, value in asdict(mark).items() if value or name not in ("mask", "erase")}
        | {"points": [list(point) for point in mark.points]}
        for mark in marks
    ]


def areas_of(marks: tuple[Mark, ...]) -> tuple[Mark, ...]:
    """Those that say where an edit may reach."""
    return tuple(mark for mark in marks if mark.mask)


def cues_of(marks: tuple[Mark, ...]) -> tuple[Mark, ...]:
    """Those that are drawn for the model to see."""
    return tuple(mark for mark in marks if not mark.mask)


def mask_of(marks: tuple[Mark, ...], height: int, width: int, *, drawn_at: Size | None = None) -> Tensor:
    """Where a picture may change: (height, width) in [0, 1], white within the areas; all white without any.

    Areas add up, and a brush that erases takes away from those before it.

    Args:
        drawn_at: (height, width) in pixels before the picture was stretched; None: it was not.
    Raises: ValueError in one sentence if it would take minutes, which nobody could stop.
    """
    areas = areas_of(marks)
    if not areas:
        return torch.ones(height, width)
    own = drawn_at or (height, width)
    _check_work(marks, *own, areas=True)
    mask = torch.zeros(height, width)
    for area in areas:
        if area.kind == "brush":  # its width was that of the picture as it came, and is stretched with it
            cover = _line_cover(area, height, width, drawn_at)
        else:
            cover = fill(_segments(area, height, width, 0), height, width)
        mask = mask * (1 - cover) if area.erase else torch.maximum(mask, cover)
    return mask


def mask_on_canvas(marks: tuple[Mark, ...], canvas: Size, place: Placement | None) -> Tensor:
    """The mask of the areas upon a picture that lies on a canvas, of the canvas's size; 0 beside the picture.

    Only what lies on the canvas is made, however large the picture.

    Args:
        marks: of which one at least is an area.
        canvas: (height, width) in pixels.
        place: None: the picture is all of it.
    Raises: ValueError in one sentence if nothing of them is left, or it would take minutes.
    """
    if place is None:
        mask = mask_of(marks, *canvas)
    else:
        mask = torch.zeros(canvas)
        rows, columns = (
            slice(max(start, 0), start + size)
            for start, size in ((place.top, place.height), (place.left, place.width))
        )
        laid = tuple(_laid(area, place) for area in areas_of(marks))
        drawn_at = _unstretched(place) if (place.height, place.width) == canvas else None
        mask[rows, columns] = mask_of(laid, *canvas, drawn_at=drawn_at)[rows, columns]
    if not bool((mask > 0).any()):
        raise ValueError(
            "the drawn area is empty, so nothing may change: it lies outside the picture, or all of it was "
            "erased; draw an area on the picture, or delete what is drawn of it"
        )
    return mask


def draw_marks(
    image: Tensor, marks: tuple[Mark, ...], *, right: float | None = None, drawn_at: Size | None = None
) -> Tensor:
    """Pictures (B, H, W, 3) in [0, 1] with the marks upon each, later ones above; areas are not drawn.

    The pictures themselves stay.

    Args:
        right: the column in pixels at which words go on below; None: the right edge.
        drawn_at: (height, width) in pixels before the picture was stretched; None: it was not.
    Raises: ValueError in one sentence if it would take minutes, which nobody could stop.
    """
    check_image(image)
    size: Size = image.shape[1], image.shape[2]
    height, width = drawn_at or size
    _check_work(marks, height, width, areas=False)
    drawn = image.clone()
    for mark in cues_of(marks):
        colour = torch.tensor([int(mark.colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        words = mark.kind == "text"
        cover = _text_cover(mark, height, width, right) if words else _line_cover(mark, height, width)
        cover = resize(cover[None, ..., None], size)[0, ..., 0]
        drawn = torch.lerp(drawn, colour.to(drawn).expand_as(drawn), cover[None, :, :, None].to(drawn))
    return drawn


def draw_on_canvas(canvas: Tensor, marks: tuple[Mark, ...], place: Placement | None) -> Tensor:
    """A canvas (B, H, W, 3) with the marks upon the picture that lies on it, fitted as the picture is.

    Args:
        place: None: the picture is all of it.
    """
    if place is None:
        return draw_marks(canvas, marks)
    if min(place.top, place.left) < 0:
        laid = tuple(_laid(mark, place) for mark in marks)
        return draw_marks(canvas, laid, right=place.left + place.width)
    drawn = canvas.clone()
    marked = draw_marks(undo_fit(canvas, place), marks, drawn_at=_unstretched(place))
    undo_fit(drawn, place).copy_(marked)
    return drawn


def _mark(place: int, entry: Any) -> Mark:
    def wrong(what: str) -> ValueError:
        return ValueError(f"mark {place}: {what}")

    if not isinstance(entry, dict):
        raise wrong("it must be an object with 'kind' and 'points'")
    values = cast("Mapping[str, Any]", entry)
    kind: Any = values.get("kind")
    mask, erase = values.get("mask", False), values.get("erase", False)
    for name, value in (("mask", mask), ("erase", erase)):
        if not isinstance(value, bool):
            raise wrong(f"{name} {short(value)} must be true or false")
    if kind not in (AREA_KINDS if mask else MARK_KINDS):
        if not mask and kind == "brush":
            raise wrong('a brush paints an area, so it needs "mask": true')
        what = "kind of area " if mask else "kind "
        raise wrong(
            f"{what}{short(kind)} is not known; choose one of {', '.join(AREA_KINDS if mask else MARK_KINDS)}"
        )
    if erase and kind != "brush":
        raise wrong(f"only a brush can erase, and this is of kind {kind}")
    points = values.get("points")
    least, most = {
        "freehand": (3 if mask else 2, MOST_POINTS),
        "brush": (1, MOST_POINTS),
        "text": (1, 1),
    }.get(kind, (2, 2))
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
    return Mark(
        kind=kind,
        points=pairs,
        colour=colour,
        width=stroke,
        text=words(text, MOST_LETTERS),
        mask=mask,
        erase=erase,
    )


def _point(entry: Any) -> Point:
    x, y = listing(entry, 2, least=2)
    return number(x, -1, 2), number(y, -1, 2)


def _laid(mark: Mark, place: Placement) -> Mark:
    """A mark upon a picture as it would be drawn upon the canvas that the picture lies on."""
    height, width = place.canvas
    points = tuple(
        ((place.left + x * place.width) / width, (place.top + y * place.height) / height)
        for x, y in mark.points
    )
    stroke = mark.width * min(place.height, place.width) / min(height, width)
    return replace(mark, points=points, width=stroke)


def _unstretched(place: Placement) -> Size | None:
    """A size of as many pixels in the picture's own shape; None where it still has that."""
    if not is_stretched(place):
        return None
    height, width = place.original
    scale = math.sqrt(place.height * place.width / (height * width))
    return max(round(height * scale), 1), max(round(width * scale), 1)


def _check_work(marks: tuple[Mark, ...], height: int, width: int, *, areas: bool) -> None:
    pixels = 0
    for place, mark in enumerate(marks, start=1):
        stroke = mark.width * min(height, width)
        passed_over = mark.mask != areas or mark.kind == "text"
        for start, end in () if passed_over else _segments(mark, height, width, stroke):
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


def _line_cover(mark: Mark, height: int, width: int, drawn_at: Size | None = None) -> Tensor:
    """How much of each pixel the stroke covers: (H, W) in [0, 1]. Ends are round where it was drawn."""
    own_height, own_width = drawn_at or (height, width)
    stroke = mark.width * min(own_height, own_width)
    row, column = own_height / height, own_width / width  # of a pixel, in those that it was drawn upon
    edge = max(row, column)  # over which it fades, so that no pixel lies between two that it misses
    cover = torch.zeros(height, width)
    for start, end in _segments(mark, own_height, own_width, stroke):
        top, bottom, left, right = _box(start, end, stroke + 2 * (edge - 1), own_height, own_width)
        if top >= bottom or left >= right:
            continue
        top, bottom = math.floor(top / row), min(math.ceil(bottom / row), height)
        left, right = math.floor(left / column), min(math.ceil(right / column), width)
        y, x = (torch.arange(top, bottom)[:, None] + 0.5) * row, (torch.arange(left, right) + 0.5) * column
        along_x, along_y = end[0] - start[0], end[1] - start[1]
        length = along_x**2 + along_y**2
        share = ((x - start[0]) * along_x + (y - start[1]) * along_y) / length if length else torch.zeros(())
        share = share.clamp(0, 1)
        away = torch.hypot(x - start[0] - share * along_x, y - start[1] - share * along_y)
        part = cover[top:bottom, left:right]
        torch.maximum(part, ((stroke / 2 + 0.5 * edge - away) / edge).clamp(0, 1), out=part)
    return cover


def _span(first: float, second: float, reach: float, size: int) -> tuple[int, int]:
    return max(math.floor(min(first, second) - reach), 0), min(math.ceil(max(first, second) + reach), size)


def _segments(mark: Mark, height: int, width: int, stroke: float) -> Iterator[tuple[Point, Point]]:
    """Straight pieces in pixels."""
    points = [(x * width, y * height) for x, y in mark.points]
    if mark.kind in ("freehand", "brush"):
        if len(points) == 1 or (mark.mask and mark.kind == "freehand"):
            points.append(points[0])  # a dot; a closed line
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


def _text_cover(mark: Mark, height: int, width: int, right: float | None) -> Tensor:
    (x, y) = mark.points[0]
    size = max(mark.width * min(height, width), 1.0)
    return text_cover(mark.text, x * width, y * height, size, height=height, width=width, right=right)
