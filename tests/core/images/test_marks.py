import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from kontext_core.images.lettering import text_cover
from kontext_core.images.marks import COLOUR, Mark, draw_marks, parse_marks
from kontext_core.world import Scene, Thing, draw, right
from kontext_core.world.draw import CUE_COLOUR
from kontext_core.world.shapes import CUE_PX

WHITE = torch.ones(1, 100, 200, 3)
RED = torch.tensor([int(COLOUR[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def marks(*given: dict[str, Any], version: int = 1) -> str:
    return json.dumps({"version": version, "marks": list(given)})


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
        (marks(version=2), "the marks have version 2, but this pack reads version 1; update the pack"),
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
        ('{"version": true, "marks": []}', "the marks have version True, but this pack reads version 1"),
        (marks({"kind": "box", "points": [[0, 0], [1, 1]], "width": 10**400}), "mark 1: width a number of about 400 digits must"),
        (marks({"kind": "box", "points": [[0, 10**400], [1, 1]]}), "mark 1: its points must be pairs .*about 400 digits"),
        (marks({"kind": "box", "points": [[0, True], [1, 1]]}), (
            "mark 1: its points must be pairs .*True is not a number"
        )),
        (marks({"kind": "box", "points": [[0, 0], [1, 1]], "width": 1e999}), "mark 1: width inf must be a fraction"),
        (marks({"kind": "box" * 999, "points": []}), r"mark 1: kind 'boxbox[a-z]*\.\.\. is not known"),
        (f'{{"version": {"9" * 5000}, "marks": []}}', "the marks have version inf, but this pack reads version 1"),
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
