"""Words written upon a picture in the font that comes along: alike on every machine.

The page draws the same from the same file (web/js/marks/font.js): letters stand at their own widths, without
kerning, and nothing is rounded to whole pixels. A line that would leave the picture goes on below.
"""

import functools
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

FONT = Path(__file__).parent / "fonts" / "Aileron-Regular.ttf"
UNITS = 1000  # of the font's em square, which is as high as a text's size
ASCENT, LINE = 0.97, 1.2  # from the upper edge to the baseline, and from line to line, in em
_FINEST, _COARSEST, _LARGE_PX = 16, 4, 1024  # letters are drawn that many times as large, and shrunk
_MOST_DRAWN = 2**26  # pixels of a letter drawn large; letters over a whole photograph are fine enough without
_SLACK = 1e-6  # em by which a line may be too long, so that one that just fits does so on every size
_FREE = 4  # an em of that many units a pixel undoes the rounding of widths to pixels


def text_cover(
    text: str, left: float, top: float, size: float, *, height: int, width: int, right: float | None = None
) -> Tensor:
    """How much of each pixel a text covers: (height, width) in [0, 1].

    Args:
        left: of its upper left corner in px.
        top: likewise.
        size: of the font in px.
        right: where a line goes on below; None: at the right edge.
    """
    cover = torch.zeros(height, width)
    for row, line in enumerate(wrapped(text, ((width if right is None else right) - left) / size)):
        baseline, pen = top + (ASCENT + LINE * row) * size, left
        for letter in line:
            advance = _advance(letter) * size
            _draw(cover, letter, pen, baseline, advance, size)
            pen += advance
    return cover


def wrapped(text: str, room: float) -> list[str]:
    """Break a text into lines of at most so many em, between words; a word alone may be longer.

    A line that fits stays as it is, with all its spaces.
    """
    lines: list[str] = []
    for line in text.split("\n"):
        if _length(line) <= room + _SLACK:
            lines.append(line)
            continue
        parts: list[str] = []
        for word in filter(None, line.split(" ")):
            longer = f"{parts[-1]} {word}" if parts else word
            if parts and _length(longer) <= room + _SLACK:
                parts[-1] = longer
            else:
                parts.append(word)
        lines += parts or [line]
    return lines


def _length(line: str) -> float:
    """How long a line is in em."""
    length = 0.0
    for letter in line:  # as the page adds up, to the last bit; Python's own sum is finer from 3.12 on
        length += _advance(letter)
    return length


def _draw(cover: Tensor, letter: str, pen: float, baseline: float, advance: float, size: float) -> None:
    height, width = cover.shape
    left, right = max(math.floor(pen - size / 2), 0), min(math.ceil(pen + advance + size / 2), width)
    top, bottom = max(math.floor(baseline - size), 0), min(math.ceil(baseline + size / 2), height)
    if left >= right or top >= bottom:
        return
    fine = min(max(math.ceil(_LARGE_PX / size), _COARSEST), _FINEST)
    fine = max(min(fine, math.isqrt(_MOST_DRAWN // ((right - left) * (bottom - top)))), 1)
    page = Image.new("L", ((right - left) * fine, (bottom - top) * fine))
    start = ((pen - left) * fine, (baseline - top) * fine)
    ImageDraw.Draw(page).text(start, letter, 255, _font(size * fine), anchor="ls")
    part = cover[top:bottom, left:right]
    torch.maximum(part, torch.from_numpy(np.asarray(page.reduce(fine), dtype=np.float32) / 255), out=part)


@functools.lru_cache(maxsize=8)
def _font(size: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONT, size, layout_engine=ImageFont.Layout.BASIC)


@functools.lru_cache(maxsize=256)
def _advance(letter: str) -> float:
    """Width of a letter in em."""
    return round(_font(UNITS * _FREE).getlength(letter) / _FREE) / UNITS
