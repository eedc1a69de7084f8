import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from kontext_core.images.fitting import Placement, fit_image
from kontext_core.images.lettering import text_cover, wrapped
from kontext_core.images.marks import (
    COLOUR,
    Mark,
    areas_of,
    cues_of,
    draw_marks,
    draw_on_canvas,
    marks_from,
    marks_to,
    mask_of,
    mask_on_canvas,
    parse_marks,
)
from kontext_core.world import Scene, Thing, draw, right
from kontext_core.world.draw import CUE_COLOUR
from kontext_core.world.shapes import CUE_PX

WHITE = torch.ones(1, 100, 200, 3)
BOX = {"kind": "box", "points": [[0.1, 0.2], [0.5, 0.6]]}
BRUSH = {"kind": "brush", "points": [[0.5, 0.5]], "mask": True}
RED = torch.tensor([int(COLOUR[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def marks(*given: dict[str, Any], version: int = 1) -> str:
    return json.dumps({"version": version, "marks": list(given)})


def area(*given: dict[str, Any]) -> str:
    return marks(*given, version=2)


def inked(mark: Mark, size: tuple[int, int] = (100, 200)) -> torch.Tensor:
    """Return how much of each pixel the mark covers, (H, W)."""
    drawn = draw_marks(torch.zeros(1, *size, 3), (replace(mark, colour="#ffffff"),))
    return drawn[0, :, :, 0]


def test_an_ellipse_goes_around_and_leaves_its_middle() -> None:
    cover = inked(Mark(kind="ellipse", points=((0.25, 0.2), (0.75, 0.8)), width=0.04))
    assert cover[50, 100] == 0
    for y, x in ((50, 50), (50, 150), (20, 100), (80, 100)):
        assert cover[y, x] > 0.9, (y, x)
    assert cover[20, 50] == 0, "not in the corner of its bounds"
    circumference = 2 * torch.pi * ((50**2 + 30**2) / 2) ** 0.5
    assert cover.sum().item() == pytest.approx(circumference * 4, rel=0.03)


def test_a_box_has_four_sides() -> None:
    cover = inked(Mark(kind="box", points=((0.75, 0.8), (0.25, 0.2)), width=0.04))
    assert all(cover[y, x] > 0.9 for y, x in ((20, 50), (20, 100), (50, 150), (80, 150), (80, 60)))
    assert cover[50, 100] == 0


def test_an_arrow_points_at_its_tip() -> None:
    cover = inked(Mark(kind="arrow", points=((0.1, 0.5), (0.9, 0.5)), width=0.04))
    assert cover[50, 100] > 0.9
    near_tip, near_start = cover[:, 150:180].sum(), cover[:, 20:50].sum()
    assert near_tip > 1.5 * near_start


def test_a_line_goes_through_its_points() -> None:
    cover = inked(Mark(kind="freehand", points=((0.1, 0.1), (0.5, 0.9), (0.9, 0.1)), width=0.04))
    assert all(cover[y, x] > 0.5 for y, x in ((10, 20), (50, 60), (89, 100), (50, 140)))


def test_words_are_written_where_they_stand() -> None:
    cover = inked(Mark(kind="text", points=((0.5, 0.5),), text="sky", width=0.3))
    assert cover[50:, 100:].sum() > 100
    assert not cover[:50].any()
    assert not cover[:, :99].any()


def test_marks_mean_the_same_at_every_size() -> None:
    mark = Mark(kind="ellipse", points=((0.2, 0.2), (0.7, 0.6)), width=0.05)
    small, large = inked(mark, (100, 100)), inked(mark, (400, 400))
    shrunk = torch.nn.functional.avg_pool2d(large[None], 4)[0]
    assert (shrunk - small).abs().mean() < 0.002


def test_later_marks_lie_above_and_the_picture_stays() -> None:
    line = ((0.0, 0.5), (1.0, 0.5))
    below, above = (Mark(kind="freehand", points=line, width=0.1, colour=c) for c in ("#00ff00", "#0000ff"))
    before = WHITE.clone()
    drawn = draw_marks(WHITE, (below, above))
    assert drawn[0, 50, 100].tolist() == pytest.approx([0, 0, 1])
    assert drawn[0, 10, 100].tolist() == [1, 1, 1]
    assert torch.equal(before, WHITE)


def test_each_picture_of_a_batch_is_drawn_upon() -> None:
    drawn = draw_marks(
        WHITE.repeat(3, 1, 1, 1), parse_marks(marks({"kind": "box", "points": [[0, 0], [1, 1]]}))
    )
    assert torch.equal(drawn[0], drawn[2])
    assert torch.allclose(drawn[1, 50, 0], RED, atol=1e-5)


def test_outside_the_picture_nothing_breaks() -> None:
    drawn = draw_marks(WHITE, (Mark(kind="ellipse", points=((-1, -1), (2, 2)), width=0.02),))
    assert torch.equal(drawn, WHITE)
    assert draw_marks(WHITE, (Mark(kind="arrow", points=((0.5, 0.5), (0.5, 0.5))),)).isfinite().all()


def test_a_letter_over_a_whole_photograph_takes_no_more_than_the_photograph(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Drawn four times as large, it would exceed what Pillow can make."""
    pages: list[int] = []
    new = Image.new

    def recorded(mode: str, size: tuple[int, int], *rest: Any) -> Image.Image:
        pages.append(size[0] * size[1])
        return new(mode, size, *rest)

    monkeypatch.setattr(Image, "new", recorded)
    large = text_cover("W", 0, 0, 3000, height=3000, width=3000)
    assert max(pages) <= 2**26
    assert large.mean().item() == pytest.approx(
        text_cover("W", 0, 0, 60, height=60, width=60).mean().item(), rel=0.02
    )


@pytest.mark.parametrize(("count", "width", "size"), [(10_000, 1.0, (1024, 1024)), (10_000, 0.001, (64, 64))])
def test_marks_that_would_take_minutes_are_refused(count: int, width: float, size: tuple[int, int]) -> None:
    points = tuple((i % 7 / 7, i % 5 / 5) for i in range(count))
    line = Mark(kind="freehand", points=points, width=width)
    with pytest.raises(
        ValueError, match=r"^the marks up to mark \d+ would take minutes to draw on \d+ x \d+ px"
    ):
        draw_marks(torch.ones(1, *size, 3), (line,) * 20)


def test_it_is_the_ellipse_of_the_tiny_models_lessons() -> None:
    """This node points at a thing exactly as the tiny model's world does."""
    scene = Scene("sand", (Thing("star", "blue", "big", 1, 2),), cue=(1, 2))
    plain = draw([replace(scene, cue=None)]).permute(0, 2, 3, 1)
    colour = "#" + "".join(f"{round(255 * part):02x}" for part in CUE_COLOUR)
    half = CUE_PX[2] / 2  # the world measures to the outer edge, a mark to the middle of its stroke
    points = (((60 + half) / 128, (30.5 + half) / 128), ((100 - half) / 128, (65.5 - half) / 128))
    drawn = draw_marks(plain, (Mark(kind="ellipse", points=points, colour=colour, width=CUE_PX[2] / 128),))
    assert right(drawn.permute(0, 3, 1, 2), draw([scene])).all()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "the marks are not JSON"),
        ("[]", r'the marks must be \{"version": 1'),
        ('{"version": 1, "marks": {}}', "the marks must be"),
        (marks(version=3), "the marks have version 3, but this pack reads versions up to 2; update the pack"),
        (marks(version=0), "the marks have version 0, but this pack reads versions up to 2"),
        (marks(BOX | {"mask": True}), 'mark 1: it is an area, which version 1 of the marks does not have'),
        (area(BOX | {"mask": 1}), "mark 1: mask 1 must be true or false"),
        (area({**BRUSH, "erase": "yes"}), "mark 1: erase 'yes' must be true or false"),
        (area({**BRUSH, "mask": False}), 'mark 1: a brush paints an area, so it needs "mask": true'),
        (area({**BOX, "mask": True, "erase": True}), "mark 1: only a brush can erase, and this is of kind box"),
        (area({**BOX, "kind": "arrow", "mask": True}), (
            "mark 1: kind of area 'arrow' is not known; choose one of ellipse, box, freehand, brush"
        )),
        (area({**BOX, "kind": "text", "mask": True}), "mark 1: kind of area 'text' is not known"),
        (area({**BOX, "kind": "freehand", "mask": True}), "mark 1: its points must be 3 to 10000 pairs"),
        (area({**BRUSH, "points": []}), "mark 1: its points must be 1 to 10000 pairs"),
        (area({**BRUSH, "points": [[0, 0]] * 10_001}), "mark 1: its points must be 1 to 10000 pairs"),
        (area({**BRUSH, "width": 1.5}), "mark 1: width 1.5 must be a fraction"),
        (marks(*[{}] * 501), "there are 501 marks, but 500 is the maximum"),
        (marks({"kind": "spiral", "points": []}), "mark 1: kind 'spiral' is not known; choose one of ellipse"),
        (marks({"kind": "box", "points": [[0, 0]]}), r"mark 1: its points must be 2 pairs \[x, y\]"),
        (marks({"kind": "freehand", "points": [[0, 0]]}), "its points must be 2 to 10000 pairs"),
        (marks({"kind": "box", "points": [[0, 0], [0, "1"]]}), "mark 1: its points must be pairs"),
        (marks({"kind": "box", "points": [[0, 0], [0, 7]]}), "numbers from -1 to 2"),
        (
            marks({"kind": "box", "points": [[0, 0], [1, 1]]}, {"kind": "box", "points": [[0, 0], [1, 1]], "colour": "red"}),
            "mark 2: colour 'red' must be written #rrggbb",
        ),
        (marks({"kind": "box", "points": [[0, 0], [1, 1]], "width": 0}), "width 0 must be a fraction"),
        (marks({"kind": "box", "points": [[0, 0], [1, 1]], "width": True}), "width True must be"),
        (marks({"kind": "text", "points": [[0, 0]], "text": " "}), "its text must have 1 to 200 letters"),
        (marks({"kind": "text", "points": [[0, 0]], "text": "x" * 201}), "its text must have 1 to 200"),
        ('{"version": 1, "marks": [{"kind": "box", "points": [[NaN, 0], [1, 1]]}]}', "must be pairs"),
        ("[" * 100_000, "the marks are not JSON"),
        ('{"version": true, "marks": []}', "the marks have version True, but this pack reads versions up to 2"),
        (marks({"kind": "box", "points": [[0, 0], [1, 1]], "width": 10**400}), "mark 1: width a number of about 400 digits must"),
        (marks({"kind": "box", "points": [[0, 10**400], [1, 1]]}), "mark 1: its points must be pairs .*about 400 digits"),
        (marks({"kind": "box", "points": [[0, True], [1, 1]]}), (
            "mark 1: its points must be pairs .*True is not a number"
        )),
        (marks({"kind": "box", "points": [[0, 0], [1, 1]], "width": 1e999}), "mark 1: width inf must be a fraction"),
        (marks({"kind": "box" * 999, "points": []}), r"mark 1: kind 'boxbox[a-z]*\.\.\. is not known"),
        (f'{{"version": {"9" * 5000}, "marks": []}}', "the marks have version inf, but this pack reads versions up to 2"),
    ],
)  # fmt: skip
def test_marks_that_are_none(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_marks(text)


def test_nothing_written_is_no_mark() -> None:
    assert parse_marks(" \n") == ()
    assert torch.equal(draw_marks(WHITE, ()), WHITE)


@pytest.mark.parametrize("axis", [0, 1])
def test_points_reach_one_picture_beyond_each_edge_and_no_further(axis: int) -> None:
    def parsed(place: float) -> tuple[Mark, ...]:
        return parse_marks(
            marks({"kind": "box", "points": [[0.5, 0.5], [place, 0] if axis == 0 else [0, place]]})
        )

    assert [parsed(place)[0].points[1][axis] for place in (-1, 2)] == [-1, 2]
    for place in (-1.001, 2.001):
        with pytest.raises(ValueError, match="numbers from -1 to 2"):
            parsed(place)


def test_half_a_letter_of_a_mark_is_replaced() -> None:
    [mark] = parse_marks(marks({"kind": "text", "points": [[0, 0]], "text": "a\ud83d"}))
    assert mark.text == "a\ufffd"
    draw_marks(WHITE, (mark,))


# Areas


def test_an_area_is_all_that_its_outline_goes_around() -> None:
    ellipse = mask_of((Mark(kind="ellipse", points=((0.25, 0.2), (0.75, 0.8)), mask=True),), 100, 200)
    assert ellipse.sum().item() == pytest.approx(torch.pi * 50 * 30, rel=0.002)
    assert ellipse[50, 100] == 1
    assert ellipse[20, 50] == 0, "not the corner of its bounds"
    box = mask_of((Mark(kind="box", points=((0.755, 0.8), (0.25, 0.2)), mask=True, width=0.5),), 100, 200)
    assert box[20:80, 50:151].eq(1).all(), "its width is of no account"
    assert box.sum().item() == pytest.approx(60 * 101)
    edge = mask_of((Mark(kind="box", points=((0.1, 0.1), (0.505, 0.5)), mask=True),), 100, 100)
    assert edge[20, 49:52].tolist() == pytest.approx([1, 128 / 255, 0]), "edges are soft"
    triangle = ((0.1, 0.1), (0.9, 0.1), (0.1, 0.9))
    line = mask_of((Mark(kind="freehand", points=triangle, mask=True),), 100, 100)
    assert line.sum().item() == pytest.approx(80 * 80 / 2, rel=0.002)
    twice = mask_of((Mark(kind="freehand", points=triangle * 2, mask=True),), 100, 100)
    assert twice[line == 1].eq(1).all(), "a line that goes around twice leaves no hole"
    bow = ((0.1, 0.1), (0.9, 0.9), (0.9, 0.1), (0.1, 0.9))
    both_ways = mask_of((Mark(kind="freehand", points=bow, mask=True),), 100, 100)
    assert both_ways.sum().item() == pytest.approx(80 * 80 / 2, rel=0.01)


def test_brushes_paint_and_take_away_in_their_order() -> None:
    stroke = Mark(kind="brush", points=((0.2, 0.5), (0.8, 0.5)), width=0.2, mask=True)
    painted = mask_of((stroke,), 100, 100)
    assert painted.sum().item() == pytest.approx(60 * 20 + torch.pi * 100, rel=0.01), "with round ends"
    dot = Mark(kind="brush", points=((0.5, 0.5),), width=0.4, mask=True, erase=True)
    left = mask_of((stroke, dot), 100, 100)
    assert left[50, 50] == 0
    assert left[50, 25] == 1
    assert mask_of((dot, stroke), 100, 100)[50, 50] == 1, "what comes later is not erased"


def test_without_an_area_all_may_change() -> None:
    plain = Mark(kind="box", points=((0.1, 0.1), (0.5, 0.5)))
    assert mask_of((plain,), 4, 6).eq(1).all()
    assert mask_of((), 4, 6).shape == (4, 6)


def test_beside_an_area_the_mask_is_nothing_at_all() -> None:
    """What is not exactly 0 would be changed."""
    points = tuple((0.5 + 0.4 * (i % 7 - 3) / 7, 0.5 + 0.3 * (i % 11 - 5) / 9) for i in range(300))
    mask = mask_of((Mark(kind="freehand", points=points, mask=True),), 333, 517)
    assert mask[:, 400:].eq(0).all()
    assert mask[:100].eq(0).all()
    assert mask.eq(1).any()
    assert ((mask * 255).round() - mask * 255).abs().max() < 1e-4


def test_the_model_does_not_see_an_area() -> None:
    (drawn, brush), plain = marks_from([BOX | {"mask": True}, BRUSH]), marks_from([BOX])
    assert torch.equal(draw_marks(WHITE, (drawn, brush)), WHITE)
    assert torch.equal(draw_marks(WHITE, (brush, *plain)), draw_marks(WHITE, plain))
    assert areas_of((brush, *plain)) == (brush,)
    assert cues_of((brush, *plain)) == plain


def test_areas_are_written_as_they_are_and_marks_as_before() -> None:
    parsed = parse_marks(area(BOX, BOX | {"mask": True}, BRUSH | {"erase": True}))
    entries = marks_to(parsed)
    assert list(entries[0]) == ["kind", "points", "colour", "width", "text"]
    assert entries[1]["mask"] is True
    assert "erase" not in entries[1]
    assert entries[2]["erase"] is True
    assert marks_from(json.loads(json.dumps(entries))) == parsed
    assert parse_marks(marks(BOX | {"mask": False})) == parse_marks(area(BOX))


@pytest.mark.parametrize(
    ("fit", "size"), [("crop", (64, 64)), ("pad", (64, 64)), ("stretch", (48, 64)), ("none", None)]
)
def test_an_area_lies_where_its_part_of_the_picture_does(fit: str, size: tuple[int, int] | None) -> None:
    """As the picture of the area, white on black, is fitted."""
    drawn = (Mark(kind="box", points=((0.25, 0.3), (0.75, 0.95)), mask=True),)
    picture = mask_of(drawn, 240, 400)[None, ..., None].expand(-1, -1, -1, 3)
    canvas, place = fit_image(picture, size, fit)
    laid = mask_on_canvas(drawn, place.canvas, place)
    assert laid.shape == place.canvas
    assert (laid - canvas[0, ..., 0]).abs().mean() < 0.02


CUES = (
    Mark(kind="ellipse", points=((0.3, 0.2), (0.7, 0.9)), width=0.03),
    Mark(kind="box", points=((0.35, 0.1), (0.6, 0.6)), width=0.03),
    Mark(kind="arrow", points=((0.3, 0.8), (0.65, 0.3)), width=0.03),
    Mark(kind="freehand", points=((0.3, 0.3), (0.5, 0.8), (0.7, 0.4)), width=0.03),
    Mark(kind="text", points=((0.4, 0.4),), width=0.1, text="a hat"),
    Mark(
        kind="text",
        points=((0.35, 0.2),),
        width=0.1,
        text="the hat that goes on below where the picture ends",
    ),
)


@pytest.mark.parametrize(
    ("fit", "size"), [("crop", (512, 512)), ("pad", (512, 512)), ("stretch", (384, 512)), ("none", None)]
)
@pytest.mark.parametrize("shape", [(480, 800), (800, 480)], ids=["wide", "high"])
@pytest.mark.parametrize("mark", CUES, ids=lambda mark: mark.kind)
def test_a_mark_lies_where_it_was_drawn_on_the_whole_picture(
    mark: Mark, shape: tuple[int, int], fit: str, size: tuple[int, int] | None
) -> None:
    """As the picture with the mark upon it is fitted: at the same place, within 1 % of a side."""
    mark, black = replace(mark, colour="#ffffff"), torch.zeros(1, *shape, 3)
    whole, place = fit_image(draw_marks(black, (mark,)), size, fit)
    laid = draw_on_canvas(fit_image(black, size, fit)[0], (mark,), place)
    assert laid.shape == whole.shape
    lines = [picture[0, ..., 0].amax(axis) for picture in (whole, laid) for axis in (0, 1)]
    ends = [(line > 0.5).nonzero()[[0, -1], 0] for line in lines]
    for wanted, there, side in zip(ends[:2], ends[2:], (place.canvas[1], place.canvas[0]), strict=True):
        assert (wanted - there).abs().max() <= 0.01 * side
    if fit == "crop":
        assert (whole - laid).abs().mean() < 0.01, "and so are its lines"


BRUSHES = (
    Mark(kind="brush", points=((0.4, 0.5),), width=0.3, mask=True),
    Mark(kind="brush", points=((0.35, 0.4), (0.6, 0.7)), width=0.2, mask=True),
)


@pytest.mark.parametrize(
    ("fit", "size"), [("crop", (512, 512)), ("pad", (512, 512)), ("stretch", (384, 512)), ("none", None)]
)
@pytest.mark.parametrize("shape", [(480, 800), (800, 480), (200, 800)], ids=["wide", "high", "very wide"])
@pytest.mark.parametrize("brush", BRUSHES, ids=["dot", "stroke"])
def test_a_brush_is_as_wide_as_it_was_on_the_whole_picture(
    brush: Mark, shape: tuple[int, int], fit: str, size: tuple[int, int] | None
) -> None:
    """Where the picture is stretched, so is the brush: at the same place, within 1 % of a side."""
    picture = mask_of((brush,), *shape)[None, ..., None].expand(-1, -1, -1, 3)
    whole, place = fit_image(picture, size, fit)
    laid = mask_on_canvas((brush,), place.canvas, place)
    for axis, side in ((0, place.canvas[1]), (1, place.canvas[0])):
        ends = [(mask.amax(axis) > 0.5).nonzero()[[0, -1], 0] for mask in (whole[0, ..., 0], laid)]
        assert (ends[0] - ends[1]).abs().max() <= 0.01 * side
    assert (whole[0, ..., 0] - laid).abs().mean() < 0.01
    assert laid.min() == 0
    assert laid.max() == 1


def test_an_eraser_is_stretched_as_the_brush_is() -> None:
    brush, eraser = BRUSHES[0], replace(BRUSHES[0], erase=True, width=0.34)
    place = Placement((384, 512), 0, 0, 384, 512, (200, 800))
    dot = replace(brush, points=((0.9, 0.1),), width=0.05)
    left = mask_on_canvas((brush, eraser, dot), place.canvas, place)
    assert torch.equal(left > 0, mask_on_canvas((dot,), place.canvas, place) > 0)


def test_beside_the_picture_no_area_reaches() -> None:
    place = Placement((64, 64), 16, 0, 32, 64, (100, 200))
    everywhere = (Mark(kind="box", points=((-1, -1), (2, 2)), mask=True),)
    laid = mask_on_canvas(everywhere, (64, 64), place)
    assert laid[:, 3].tolist() == [0] * 16 + [1] * 32 + [0] * 16


@pytest.mark.parametrize(
    "drawn",
    [
        [{"kind": "box", "points": [[1.2, 1.2], [1.5, 1.5]], "mask": True}],
        [BRUSH | {"erase": True}],
        [BOX | {"mask": True}, BRUSH | {"points": [[0.3, 0.4]], "width": 1, "erase": True}],
    ],
    ids=["outside", "erased alone", "all erased"],
)
def test_an_area_of_nothing_is_refused(drawn: list[dict[str, Any]]) -> None:
    with pytest.raises(
        ValueError, match=r"^the drawn area is empty, so nothing may change: .*; draw an area"
    ):
        mask_on_canvas(marks_from(drawn), (64, 64), None)


def test_areas_that_would_take_minutes_are_refused() -> None:
    points = tuple((i % 7 / 7, i % 5 / 5) for i in range(10_000))
    stroke = Mark(kind="brush", points=points, width=1.0, mask=True)
    for kind in ("brush", "freehand"):
        with pytest.raises(ValueError, match=r"^the marks up to mark \d+ would take minutes to draw on"):
            mask_of((replace(stroke, kind=kind),) * 20, 1024, 1024)


# Words


@pytest.mark.parametrize(
    ("text", "room", "lines"),
    [
        ("one two three", 100, ["one two three"]),
        ("one  two ", 100, ["one  two "]),
        ("ii ii ii", 1.2, ["ii ii", "ii"]),
        ("iiiiiiiiiiii ii", 1.0, ["iiiiiiiiiiii", "ii"]),
        ("ii\nii ii", 0.6, ["ii", "ii", "ii"]),
        ("ii\n\nii", 5, ["ii", "", "ii"]),
        ("   ", -1, ["   "]),
    ],
)
def test_lines_go_on_below_where_they_are_full(text: str, room: float, lines: list[str]) -> None:
    assert wrapped(text, room) == lines


def test_words_that_would_leave_the_picture_are_written_below() -> None:
    mark = Mark(kind="text", points=((0.5, 0.1),), text="sky sea sand", width=0.2)
    assert torch.equal(inked(mark), inked(replace(mark, text="sky sea\nsand")))
    assert inked(mark)[:, -1].sum() == 0, "no letter is cut off"
    assert torch.equal(
        inked(mark, (100, 400)), inked(replace(mark, text="sky sea  sand".replace("  ", " ")), (100, 400))
    )
