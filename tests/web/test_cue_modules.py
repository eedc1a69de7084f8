"""The pure parts of drawing on the picture: the format, geometry, history, view, and that
pixels are those of Python.
"""

from __future__ import annotations

import base64
import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import ImageFont

from kontext_core.images import lettering
from kontext_core.images.marks import (
    AREA_KINDS,
    MARK_KINDS,
    Mark,
    draw_marks,
    marks_to,
    mask_of,
    parse_marks,
)
from tools.paths import ROOT

from .modules import call

CUE = "../../tests/web/cue.mjs"  # all of marks/*.js
SIZE = {"width": 200, "height": 100}
ELLIPSE = {"kind": "ellipse", "points": [[0.25, 0.2], [0.75, 0.8]]}
MARKS = (
    Mark(kind="ellipse", points=((0.2, 0.2), (0.7, 0.5))),
    Mark(kind="box", points=((0.9, 0.9), (0.1, 0.13)), width=0.01, colour="#0060ff"),
    Mark(kind="arrow", points=((0.1, 0.9), (0.43, 0.5)), width=0.05),
    Mark(kind="freehand", points=((0.1, 0.1), (0.2, 0.15), (0.3, 0.1), (-0.2, 0.6)), width=0.004),
    Mark(kind="freehand", points=((0.5, 0.5), (0.5, 0.5)), width=0.1),
    Mark(kind="text", points=((0.1, 0.5),), text="Make it Blue, 1 & é", width=0.08),
    Mark(kind="text", points=((0.81, 0.7),), text="cut\noff gy", width=0.15),
    Mark(kind="text", points=((0.6, 0.05),), text="goes on  below where a line is full", width=0.07),
    Mark(kind="box", points=((1.2, 1.2), (1.5, 1.5))),
)
SPIRAL = tuple(
    (0.5 + i / 130 * math.cos(i / 4), 0.5 + i / 150 * math.sin(i / 4)) for i in range(60)
)  # also out of the picture
AREAS = (
    Mark(kind="ellipse", points=((0.2, 0.2), (0.7, 0.5)), mask=True),
    Mark(kind="box", points=((0.903, 0.907), (-0.1, 0.133)), mask=True, width=0.3),
    Mark(kind="freehand", points=SPIRAL, mask=True),
    Mark(kind="freehand", points=((0.1, 0.1), (0.9, 0.9), (0.9, 0.1), (0.1, 0.9)) * 2, mask=True),
    Mark(kind="brush", points=((0.1, 0.9), (0.43, 0.5), (0.6, 0.95)), width=0.13, mask=True),
    Mark(kind="brush", points=((0.5, 0.5),), width=0.4, mask=True),
)


def written(*marks: Mark) -> str:
    version = 2 if any(mark.mask for mark in marks) else 1
    return json.dumps({"version": version, "marks": marks_to(marks)})


def test_both_sides_have_the_same_font_and_its_licence() -> None:
    for name in ("Aileron-Regular.ttf", "LICENSE.txt"):
        assert (ROOT / "web" / "fonts" / name).read_bytes() == (lettering.FONT.parent / name).read_bytes()
    assert ImageFont.truetype(lettering.FONT, 10).getname() == ("Aileron", "Regular")


def covers(marks: tuple[Mark, ...], width: int, height: int) -> list[torch.Tensor]:
    """How much of each pixel the page says that each mark covers, (H, W) from 0 to 255."""
    font = base64.b64encode(lettering.FONT.read_bytes()).decode()
    code = """
      const {coverOf, readFont, readMarks} = module
      const letters = readFont(Uint8Array.from(atob(font), one => one.charCodeAt(0)).buffer)
      return readMarks(text).map(mark => {
        const cover = coverOf(mark, size, letters)
        return cover && {...cover, values: [...cover.values].map(value => Math.round(value * 255))}
      })"""
    size = {"width": width, "height": height}
    pages = []
    for cover in call(CUE, code, font=font, text=written(*marks), size=size):
        page = torch.zeros(height, width)
        if cover:
            left, top, wide, high = (cover[name] for name in ("left", "top", "width", "height"))
            page[top : top + high, left : left + wide] = torch.tensor(cover["values"]).view(high, wide)
        pages.append(page)
    return pages


SIZES = pytest.mark.parametrize(("width", "height"), [(128, 128), (333, 200), (384, 640)])


@SIZES
def test_the_page_covers_the_pixels_that_python_covers(width: int, height: int) -> None:
    """Of every kind alone, at most two pixels in a thousand differ by more than 16 of 255; lines by none."""
    for mark, page in zip(MARKS, covers(MARKS, width, height), strict=True):
        white = replace(mark, colour="#ffffff")
        wanted = 255 * draw_marks(torch.zeros(1, height, width, 3), (white,))[0, :, :, 0]
        differs = ((page - wanted).abs() > 16).float().mean().item()
        assert differs <= (0.002 if mark.kind == "text" else 0), mark
        assert (mark is MARKS[-1]) == (wanted.sum() == 0), "only what lies outside covers nothing"


@SIZES
def test_the_page_fills_the_areas_that_python_fills(width: int, height: int) -> None:
    for area, page in zip(AREAS, covers(AREAS, width, height), strict=True):
        wanted = 255 * mask_of((area,), height, width)
        assert ((page - wanted).abs() > 1).sum() == 0, area
        assert 0 < wanted.mean() < 255


def test_what_the_page_writes_python_reads_as_it_was() -> None:
    code = "return module.writeMarks(module.readMarks(text))"
    text = call(CUE, code, text=written(*MARKS))
    assert parse_marks(text) == MARKS
    assert text.startswith('{"version": 1,')
    assert "mask" not in text
    assert call(CUE, code, text=text) == text, "and writing it again changes nothing"
    erased = replace(AREAS[-1], erase=True)
    areas = call(CUE, code, text=written(MARKS[0], *AREAS[:2], erased))
    assert areas.startswith('{"version": 2,')
    assert parse_marks(areas) == (MARKS[0], *AREAS[:2], erased)
    assert call(CUE, code, text=" \n") == ""


def test_marks_keep_five_digits_and_stay_legal() -> None:
    thin = {**ELLIPSE, "colour": "#000000", "width": 1e-9, "text": ""}
    text = call(CUE, "return module.writeMarks([mark])", mark=thin)
    assert parse_marks(text)[0].width == 1e-5
    assert call(CUE, "return [module.KINDS, module.AREA_KINDS]") == [list(MARK_KINDS), list(AREA_KINDS)]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"version": 3, "marks": []}',
        json.dumps({"version": 1, "marks": [ELLIPSE | {"mask": True}]}),
        *(
            json.dumps({"version": 2, "marks": [mark]})
            for mark in (
                ELLIPSE | {"mask": 1},
                ELLIPSE | {"mask": True, "erase": True},
                ELLIPSE | {"kind": "brush"},
                ELLIPSE | {"kind": "arrow", "mask": True},
                ELLIPSE | {"kind": "freehand", "mask": True},
                ELLIPSE | {"kind": "brush", "mask": True, "erase": 0},
                {"kind": "brush", "points": [], "mask": True},
            )
        ),
        json.dumps({"version": 1, "marks": [{}] * 501}),
        *(
            json.dumps({"version": 1, "marks": [mark]})
            for mark in (
                {"kind": "spiral", "points": [[0, 0], [1, 1]]},
                {"kind": "box", "points": [[0, 0]]},
                {"kind": "box", "points": [[0, 0], [0, "1"]]},
                {"kind": "box", "points": [[0, 0], [0, 7]]},
                {**ELLIPSE, "colour": "red"},
                {**ELLIPSE, "width": 0},
                {**ELLIPSE, "width": True},
                {"kind": "text", "points": [[0, 0]], "text": " "},
                {"kind": "text", "points": [[0, 0]], "text": "x" * 201},
                {"kind": "text", "points": [[0, 0]], "text": 7},
                None,
            )
        ),
    ],
)
def test_what_python_refuses_the_page_refuses(text: str) -> None:
    code = "try { module.readMarks(text) } catch (error) { return error.message }"
    said = call(CUE, code, text=text)
    with pytest.raises(ValueError, match="mark"):
        parse_marks(text)
    assert "mark" in said


def hit(x: float, y: float, *marks: dict[str, Any], reach: float = 2) -> int:
    code = "return module.hit(marks, at, size, reach)"
    full = [{"width": 0.04, "text": "", **mark} for mark in marks]
    return call(CUE, code, marks=full, at=[x, y], size=SIZE, reach=reach)


def test_a_mark_is_hit_on_its_line_and_the_uppermost_first() -> None:
    assert hit(50, 50, ELLIPSE) == 0
    assert hit(100, 50, ELLIPSE) == -1, "not in its middle"
    assert hit(50, 20, ELLIPSE) == -1, "not in the corner of its bounds"
    assert hit(50, 50, ELLIPSE, ELLIPSE) == 1
    words = {"kind": "text", "points": [[0.5, 0.5]], "text": "sky", "width": 0.2}
    assert hit(110, 60, words) == 0
    assert hit(90, 60, words) == -1


def test_an_area_is_hit_all_within() -> None:
    area = ELLIPSE | {"mask": True}
    assert hit(100, 50, area) == 0
    assert hit(55, 22, area) == -1, "not in the corner of its bounds"
    loop = {"kind": "freehand", "points": [[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]] * 2, "mask": True}
    assert hit(100, 40, loop) == 0
    assert hit(30, 80, loop) == -1
    brush = {"kind": "brush", "points": [[0.5, 0.5]], "width": 0.4, "mask": True}
    assert hit(115, 50, brush) == 0
    assert hit(130, 50, brush) == -1


def test_a_moved_mark_keeps_its_shape_at_the_edge_of_what_is_allowed() -> None:
    mark = {**ELLIPSE, "width": 0.02, "colour": "#000000", "text": ""}
    code = "return module.moved(mark, by).points"
    assert call(CUE, code, mark=mark, by=[0.1, -0.1]) == [
        pytest.approx([0.35, 0.1]),
        pytest.approx([0.85, 0.7]),
    ]
    (x0, y0), (x1, y1) = call(CUE, code, mark=mark, by=[9, -9])
    assert (x1, y0) == (2, -1)
    assert (x1 - x0, y1 - y0) == pytest.approx((0.5, 0.6))


def test_a_drawn_line_loses_points_and_no_shape() -> None:
    wave = [[i / 400, 0.5 + 0.3 * math.sin(i / 30)] for i in range(401)]
    code = "return module.simplified(points, size, 0.3)"
    points = call(CUE, code, points=wave, size=SIZE)
    assert 8 < len(points) < 120
    assert (points[0], points[-1]) == (wave[0], wave[-1])
    before, after = (
        draw_marks(torch.zeros(1, 100, 200, 3), (Mark(kind="freehand", points=tuple(map(tuple, line))),))
        for line in (wave, points)
    )
    assert (before - after).abs().max() < 0.35
    assert call(CUE, code, points=[[0.1, 0.2]], size=SIZE) == [[0.1, 0.2], [0.1, 0.2]]


def test_history_goes_back_and_forth_and_forgets_what_was_undone() -> None:
    code = """
      const {begin, did, undone, redone} = module
      let now = did(did(begin('a'), 'b'), 'c')
      const seen = []
      for (const step of [undone, undone, undone, redone]) seen.push((now = step(now)).now)
      now = did(now, 'd')
      return [...seen, redone(now).now, undone(now).now, did(now, 'd').past.length]"""
    assert call(CUE, code) == ["b", "a", "a", "b", "d", "b", 2]


def test_zoom_keeps_the_point_under_the_pointer_and_fit_shows_all() -> None:
    code = """
      const {fitted, inWindow, onPicture, zoomed} = module
      const view = fitted(size, {width: 800, height: 300})
      const near = zoomed(view, 3, [200, 100])
      return [inWindow(view, [0, 0]), inWindow(view, [200, 100]), onPicture(view, [200, 100]), onPicture(near, [200, 100]),
              near.scale / view.scale, zoomed(view, 1e9, [0, 0]).scale]"""
    first, last, before, after, factor, most = call(CUE, code, size=SIZE)
    assert all(0 < x < 800 and 0 < y < 300 for x, y in (first, last))
    assert first[0] + last[0] == pytest.approx(800)
    assert before == pytest.approx(after)
    assert factor == pytest.approx(3)
    assert most == 32


@pytest.mark.parametrize(
    ("text", "room", "lines"),
    [
        ("one two three", 100, "one two three"),
        ("one two three", 7, "one two\nthree"),
        ("one  two\nthree", 3, "one\ntwo\nthree"),
        ("unbreakable is", 4, "unbreakable\nis"),
        ("kept  as it is ", 100, "kept  as it is "),
        ("a\n\nb", 4, "a\n\nb"),
        (" ", 0, " "),
    ],
)
def test_words_go_to_the_next_line_where_a_line_is_full(text: str, room: float, lines: str) -> None:
    code = "return module.wrapped(text, room, text => [text.length, 1])"
    assert call(CUE, code, text=text, room=room) == lines


def test_words_outside_of_the_picture_are_known() -> None:
    code = """
      const mark = (x, y, text) => ({kind: "text", points: [[x, y]], colour: "#000000", width: 0.1, text})
      const measure = text => [Math.max(...text.split("\\n").map(line => line.length)), 1.2]
      const out = (...given) => module.runsOut(mark(...given), size, measure)
      return [out(0.5, 0.5, "ten letter"), out(0.5, 0.5, "elevenmores"), out(0.5, 0.5, "eleven more"), out(0.5, 0.95, "low"), out(-0.1, 0.5, "left"),
        module.roomFor(mark(0.5, 0, ""), size), module.runsOut({...mark(0.9, 0.9, ""), kind: "box"}, size, measure)]
    """
    assert call(CUE, code, size=SIZE) == [False, True, False, True, True, 10, False]


def test_the_outline_of_an_area_goes_where_its_edge_does() -> None:
    code = "return module.pathOf(mark, size)"
    box = {"kind": "box", "points": [[0.1, 0.2], [0.5, 0.6]], "width": 0.02, "mask": True}
    assert call(CUE, code, mark=box, size=SIZE) == "M20 20L100 20L100 60L20 60L20 20"
    dot = {"kind": "brush", "points": [[0.5, 0.5]], "width": 0.1, "mask": True}
    assert call(CUE, code, mark=dot, size=SIZE) == "M100 50L100 50"


@pytest.mark.parametrize(
    ("drawn_upon", "size", "corners"),
    [
        # a wide picture, cropped to its middle
        (
            {"size": [100, 300], "part": [0, 1 / 3, 1, 1 / 3]},
            {"width": 128, "height": 128},
            (-128, 0, 256, 128),
        ),
        ({"size": [100, 300], "part": [0, 0, 1, 1]}, {"width": 128, "height": 128}, (0, 0, 128, 128)),
    ],
    ids=["cropped", "stretched"],
)
def test_an_outline_lies_where_a_picture_shows_the_one_drawn_upon(
    drawn_upon: dict[str, Any], size: dict[str, int], corners: tuple[float, ...]
) -> None:
    code = """
      const [across, down, x, y] = module.placeIn(drawnUpon, size).match(/-?[\\d.]+(e-\\d+)?/g).map(Number)
      const [height, width] = drawnUpon.size
      return [across * x, down * y, across * (width + x), down * (height + y)]
    """
    assert call(CUE, code, drawnUpon=drawn_upon, size=size) == pytest.approx(corners)
