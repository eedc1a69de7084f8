"""A contact sheet: pictures in a row, each with a caption and, where one is due, a verdict."""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont, ImageOps

from ..images.picture_files import to_pil
from .turns import Chain

TILE_PX, GAP_PX, FONT_PX, LINE_PX = 256, 16, 16, 21
COLUMNS = 4
PER_SHEET = 40  # pictures of one sheet of several: ten rows, about 1,100 x 3,500 px
MOST_SHEETS = 16  # at once: as tensors 0.8 GB, or 1.2 GB with the longest captions
MOST_LINES = 12  # of a caption
_MOST_LETTERS = 2_000  # of a caption that are looked at
_DOTS = "..."
MOST_SIDE_PX, MOST_PIXELS = 65_535, 2**26  # what JPEG holds, and what other programs open without asking
PAPER, INK, RIGHT, WRONG = "#ffffff", "#202020", "#14803a", "#b91c1c"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Tile(NamedTuple):
    """One picture; `right` None means that nobody can tell."""

    picture: Image.Image
    caption: str
    right: bool | None = None


def contact_sheet(tiles: Sequence[Tile], *, least_height: int = 0) -> Image.Image:
    """The tiles in reading order, with long captions on several lines.

    Args:
        least_height: in pixels; a lower sheet has empty paper below.
    Raises: ValueError in one sentence, before any memory is taken, if no program could open the sheet.
    """
    font = ImageFont.load_default(FONT_PX)
    wrapped_captions = [wrapped(tile.caption, font, TILE_PX) for tile in tiles]
    size, tops = _layout([len(lines) for lines in wrapped_captions], least_height)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    for i, (tile, lines) in enumerate(zip(tiles, wrapped_captions, strict=True)):
        top, left = tops[i // COLUMNS], GAP_PX + i % COLUMNS * (TILE_PX + GAP_PX)
        sheet.paste(_square(tile.picture), (left, top))
        for line, text in enumerate(lines):
            pen.text((left, top + TILE_PX + 8 + line * LINE_PX), text, INK, font)
        if tile.right is not None:
            below = top + TILE_PX + 8 + len(lines) * LINE_PX
            pen.text((left, below), "right" if tile.right else "wrong", RIGHT if tile.right else WRONG, font)
    return sheet


def chain_sheet(chain: Chain) -> Image.Image:
    """Every picture of a chain, each with its instruction and its seed.

    Raises: ValueError in one sentence if that is too much for one sheet, see `chain_sheets`.
    """
    _layout(_lines(captions(chain, 0)))
    return contact_sheet(_tiles(chain, range(len(chain.turns))))


def chain_sheets(chain: Chain, first: int = 0) -> list[Image.Image]:
    """The same on as many sheets as it takes, of one size: `PER_SHEET` pictures each.

    Args:
        first: the turn to begin with; 0 is the picture at the start, -1 the last turn, -2 the one before.
    Raises: ValueError in one sentence, before any memory is taken, if there are too many, or no such turn.
    """
    begin = len(chain.back_to(first))
    starts = range(begin, len(chain.turns), PER_SHEET)
    if len(starts) > MOST_SHEETS:
        raise ValueError(
            f"from turn {begin} on this chain has {len(chain.turns) - begin} pictures, but {MOST_SHEETS} "
            f"sheets show only {MOST_SHEETS * PER_SHEET}: start with a later turn, or go back to an earlier "
            "one"
        )
    pages = [range(start, min(start + PER_SHEET, len(chain.turns))) for start in starts]
    lines = _lines(captions(chain, begin))
    heights = [_layout(lines[page.start - begin : page.stop - begin])[0][1] for page in pages]
    return [contact_sheet(_tiles(chain, page), least_height=max(heights)) for page in pages]


def wrapped(text: str, font: Font, width_px: int) -> list[str]:
    """The text in at most `MOST_LINES` lines of at most this width; a word too long for a line is broken.

    Where there is more, dots end the last line.
    """
    lines = [""]
    for word in text[:_MOST_LETTERS].split():
        if font.getlength(f"{lines[-1]} {word}") <= width_px:
            lines[-1] = f"{lines[-1]} {word}".strip()
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width_px:
                lines.append("")
            lines[-1] += letter
    if len(lines) > MOST_LINES or len(text) > _MOST_LETTERS:
        lines = lines[:MOST_LINES]
        while lines[-1] and font.getlength(lines[-1] + _DOTS) > width_px:
            lines[-1] = lines[-1][:-1]
        lines[-1] += _DOTS
    return lines


def _lines(captions: Sequence[str]) -> list[int]:
    """How many lines each caption has."""
    font = ImageFont.load_default(FONT_PX)
    return [len(wrapped(caption, font, TILE_PX)) for caption in captions]


def _layout(lines: Sequence[int], least_height: int = 0) -> tuple[tuple[int, int], list[int]]:
    """The sheet's (width, height) in pixels and the top of each row, from how many lines each caption has."""
    rows = [lines[start : start + COLUMNS] for start in range(0, len(lines), COLUMNS)]
    tops = [GAP_PX]
    for row in rows:
        tops.append(tops[-1] + TILE_PX + 8 + LINE_PX * (1 + max(row)) + GAP_PX)
    width = GAP_PX + min(len(lines), COLUMNS) * (TILE_PX + GAP_PX)
    height = max(tops[-1], least_height)
    if height > MOST_SIDE_PX or width * height > MOST_PIXELS:
        raise ValueError(
            f"{len(lines)} pictures make a sheet of {width} x {height} px, which other programs do not open: "
            "use fewer, or several sheets (chain_sheets)"
        )
    return (width, height), tops


def captions(chain: Chain, first: int) -> list[str]:
    """The number, instruction and seed of a turn and all behind it."""
    return [
        f"{number}. {turn.instruction.strip() or '(no instruction)'} (seed {turn.seed})"
        if number
        else "start"
        for number, turn in enumerate(chain.turns[first:], start=first)
    ]


def _tiles(chain: Chain, turns: range) -> list[Tile]:
    texts = captions(chain, turns.start)
    return [
        Tile(_square(to_pil(chain.turns[turn].image)), caption)
        for turn, caption in zip(turns, texts, strict=False)
    ]


def _square(picture: Image.Image) -> Image.Image:
    return ImageOps.pad(picture.convert("RGB"), (TILE_PX, TILE_PX), color=PAPER)
