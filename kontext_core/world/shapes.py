"""The outlines of the world's things and letters, as coverage masks of one grid cell."""

import math
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

from .scenes import CELL_PX, GRID, SHAPES, SIZE_PX, SIZES, STYLES

Point = tuple[float, float]

RADIUS_PX = {"small": 11.2, "big": 15.0}
STROKE_PX = {"small": 2.8, "big": 3.6}
INK_PX = {"small": 1.9, "big": 2.4}
CUE_PX = (20.0, 17.5, 2.6)  # half width, half height, stroke
SUPERSAMPLE = 4

# Each letter is a set of pen strokes "xy xy xy" on a grid of 3 columns (x) and 5 rows (y, downwards).
LETTERS = {
    "a": "04 01 10 21 24/02 22",
    "b": "00 04 14 23 12 02/12 21 10 00",
    "c": "20 10 01 03 14 24",
    "d": "00 04 14 23 21 10 00",
    "e": "20 00 04 24/02 12",
    "f": "20 00 04/02 12",
    "g": "20 10 01 03 14 24 22 12",
    "h": "00 04/20 24/02 22",
    "i": "10 14/00 20/04 24",
    "j": "20 23 14 03",
    "k": "00 04/20 02 24",
    "l": "00 04 24",
    "m": "04 00 12 20 24",
    "n": "04 00 24 20",
    "o": "10 01 03 14 23 21 10",
    "p": "04 00 10 21 12 02",
    "q": "10 01 03 14 23 21 10/12 24",
    "r": "04 00 10 21 12 02/12 24",
    "s": "21 10 01 12 23 14 03",
    "t": "00 20/10 14",
    "u": "00 03 14 23 20",
    "v": "00 14 20",
    "w": "00 04 12 24 20",
    "x": "00 24/20 04",
    "y": "00 12 20/12 14",
    "z": "00 20 04 24",
}
PEN_PX = 4.6
PEN_STEP_PX = (8.0, 5.6)


@cache
def thing_masks() -> tuple[Tensor, Tensor]:
    """Coverage of every thing by its own colour, and by ink over that.

    Returns: two of (styles, sizes, shapes, 32, 32), float32 in [0, 1], in the order of the names.
    """
    grid = _grid(CELL_PX)
    body = torch.zeros(len(STYLES), len(SIZES), len(SHAPES), CELL_PX, CELL_PX)
    ink = torch.zeros_like(body)
    for s, size in enumerate(SIZES):
        for k, shape in enumerate(SHAPES):
            away = _polygon_distance(grid, torch.tensor(_corners(shape)) * RADIUS_PX[size])
            inside = away < 0
            body[STYLES.index("solid"), s, k] = body[STYLES.index("inked"), s, k] = _coverage(inside)
            body[STYLES.index("outline"), s, k] = _coverage(inside & (away > -STROKE_PX[size]))
            ink[STYLES.index("inked"), s, k] = _coverage(inside & (away > -INK_PX[size]))
    return body, ink


@cache
def letter_masks() -> Tensor:
    """Coverage of every letter: (26, 32, 32), float32 in [0, 1], a to z."""
    grid = _grid(CELL_PX)
    return torch.stack(
        [_coverage(_pen_distance(grid, LETTERS[name]) < PEN_PX / 2) for name in sorted(LETTERS)]
    )


@cache
def cue_masks() -> Tensor:
    """Coverage of the ellipse around each cell: (16, 128, 128), float32 in [0, 1], row by row."""
    half_width, half_height, stroke = CUE_PX
    patch_px = 2 * CELL_PX  # the ellipse reaches into the neighbouring cells
    x, y = _grid(patch_px).unbind(-1)
    outer = (x / half_width) ** 2 + (y / half_height) ** 2 < 1
    inner = (x / (half_width - stroke)) ** 2 + (y / (half_height - stroke)) ** 2 < 1
    margin = (patch_px - CELL_PX) // 2
    masks = torch.zeros(GRID, GRID, SIZE_PX + 2 * margin, SIZE_PX + 2 * margin)
    for row in range(GRID):
        for col in range(GRID):
            top, left = row * CELL_PX, col * CELL_PX
            masks[row, col, top : top + patch_px, left : left + patch_px] = _coverage(outer & ~inner)
    return masks[..., margin : margin + SIZE_PX, margin : margin + SIZE_PX].flatten(0, 1)


def _corners(shape: str) -> list[Point]:
    """The outline as a polygon around (0, 0), about 1 in radius, y downwards."""
    match shape:
        case "circle":
            return _arc((0, 0), 0.94, 0, 360)
        case "square":
            return [(-0.97, -0.97), (0.97, -0.97), (0.97, 0.97), (-0.97, 0.97)]
        case "triangle":
            return [(0, -1.0), (1.02, 0.88), (-1.02, 0.88)]
        case "star":
            tips = _arc((0, 0.1), 1.2, -90, 270, 5)
            notches = _arc((0, 0.1), 0.6, -54, 306, 5)
            return [point for pair in zip(tips, notches, strict=True) for point in pair]
        case "cross":
            a, b = 1.0, 0.37
            return [(-b, -a), (b, -a), (b, -b), (a, -b), (a, b), (b, b),
                    (b, a), (-b, a), (-b, b), (-a, b), (-a, -b), (-b, -b)]  # fmt: skip
        case "heart":
            return [_heart(2 * math.pi * i / 48) for i in range(48)]
        case "diamond":
            return [(0, -1.08), (0.78, 0), (0, 1.08), (-0.78, 0)]
        case "moon":
            return _moon()
        case _:
            raise ValueError(f"unknown shape {shape!r}")


def _arc(centre: Point, radius: float, start: float, end: float, n: int = 48) -> list[Point]:
    """n points from one angle towards another, in degrees; the end itself is left out."""
    angles = [math.radians(start + (end - start) * i / n) for i in range(n)]
    return [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles]


def _moon() -> list[Point]:
    """A disc less a smaller disc to its right."""
    (x, radius), (bite_x, bite) = (0.08, 1.02), (0.68, 0.72)
    gap = bite_x - x
    tip = math.degrees(math.acos((radius**2 + gap**2 - bite**2) / (2 * radius * gap)))
    bite_tip = math.degrees(math.acos((radius**2 - bite**2 - gap**2) / (2 * bite * gap)))
    return _arc((x, 0), radius, tip, 360 - tip, 32) + _arc((bite_x, 0), bite, 360 - bite_tip, bite_tip, 24)


def _heart(angle: float) -> Point:
    x = 16 * math.sin(angle) ** 3
    y = 13 * math.cos(angle) - 5 * math.cos(2 * angle) - 2 * math.cos(3 * angle) - math.cos(4 * angle)
    return x / 15.2, -(y + 2.5) / 14.2


def _grid(size_px: int) -> Tensor:
    """Sample points (n, n, 2) as (x, y) in px from the centre, n = size_px * SUPERSAMPLE."""
    n = size_px * SUPERSAMPLE
    line = (torch.arange(n) + 0.5) / SUPERSAMPLE - size_px / 2
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], -1)


def _coverage(inside: Tensor) -> Tensor:
    """How much of each pixel lies inside: the mean over its sample points."""
    return torch.nn.functional.avg_pool2d(inside.float()[None, None], SUPERSAMPLE)[0, 0]


def _segment_distance(points: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Distance of points (..., 2) to the segment from start to end, both (2,)."""
    along = end - start
    share = ((points - start) @ along / (along @ along)).clamp(0, 1)
    away = points - start - share[..., None] * along
    return away.square().sum(-1).sqrt()


def _polygon_distance(points: Tensor, corners: Tensor) -> Tensor:
    """Signed distance of points (..., 2) to a closed polygon (n, 2): negative inside (even-odd rule)."""
    away = torch.full(points.shape[:-1], torch.inf)
    inside = torch.zeros(points.shape[:-1], dtype=torch.bool)
    x, y = points.unbind(-1)
    for start, end in zip(corners, corners.roll(-1, 0), strict=True):
        away = torch.minimum(away, _segment_distance(points, start, end))
        if start[1] != end[1]:
            crosses = (start[1] > y) != (end[1] > y)
            inside ^= crosses & (x < start[0] + (y - start[1]) / (end[1] - start[1]) * (end[0] - start[0]))
    return torch.where(inside, -away, away)


def _pen_distance(points: Tensor, strokes: str) -> Tensor:
    """Distance of points (..., 2) to the nearest stroke of a letter."""
    away = torch.full(points.shape[:-1], torch.inf)
    for stroke in strokes.split("/"):
        knots = torch.tensor([[float(knot[0]) - 1, float(knot[1]) - 2] for knot in stroke.split()])
        knots = knots * torch.tensor(PEN_STEP_PX)
        for start, end in pairwise(knots):
            away = torch.minimum(away, _segment_distance(points, start, end))
    return away
