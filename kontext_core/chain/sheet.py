"""A contact sheet: pictures in a row, each with a caption and, where one is due, a verdict."""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont, ImageOps

from ..images import to_pil
from .turns import Chain

TILE_PX, GAP_PX, FONT_PX, LINE_PX = 256, 16, 16, 21
COLUMNS = 4
PAPER, INK, RIGHT, WRONG = "#ffffff", "#202020", "#14803a", "#b91c1c"


class Tile(NamedTuple):
    """One picture; `right` None means that nobody can tell."""

    picture: Image.Image
    caption: str
    right: bool | None = None


def contact_sheet(tiles: Sequence[Tile]) -> Image.Image:
    """The tiles in reading order, with long captions on several lines."""
    font = ImageFont.load_default(FONT_PX)
    captions = [wrapped(tile.caption, font, TILE_PX) for tile in tiles]
    columns = min(len(tiles), COLUMNS)
    rows = [range(start, min(start + COLUMNS, len(tiles))) for start in range(0, len(tiles), COLUMNS)]
    heights = [TILE_PX + 8 + LINE_PX * (1 + max(len(captions[i]) for i in row)) + GAP_PX for row in rows]
    sheet = Image.new("RGB", (GAP_PX + columns * (TILE_PX + GAP_PX), GAP_PX + sum(heights)), PAPER)
    pen = ImageDraw.Draw(sheet)
    top = GAP_PX
    for row, height in zip(rows, heights, strict=True):
        for column, i in enumerate(row):
            left = GAP_PX + column * (TILE_PX + GAP_PX)
            sheet.paste(
                ImageOps.pad(tiles[i].picture.convert("RGB"), (TILE_PX, TILE_PX), color=PAPER), (left, top)
            )
            for line, text in enumerate(captions[i]):
                pen.text((left, top + TILE_PX + 8 + line * LINE_PX), text, INK, font)
            if (right := tiles[i].right) is not None:
                below = top + TILE_PX + 8 + len(captions[i]) * LINE_PX
                pen.text((left, below), "right" if right else "wrong", RIGHT if right else WRONG, font)
        top += height
    return sheet


def chain_sheet(chain: Chain) -> Image.Image:
    """Every picture of a chain, each with its instruction and its seed."""
    start, *turns = chain.turns
    tiles = [Tile(to_pil(start.image), "start")]
    for number, turn in enumerate(turns, start=1):
        words = turn.instruction.strip() or "(no instruction)"
        tiles.append(Tile(to_pil(turn.image), f"{number}. {words} (seed {turn.seed})"))
    return contact_sheet(tiles)


def wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int) -> list[str]:
    """The text in lines of at most this width; a word too long for a line is broken."""
    lines = [""]
    for word in text.split():
        if font.getlength(f"{lines[-1]} {word}") <= width_px:
            lines[-1] = f"{lines[-1]} {word}".strip()
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width_px:
                lines.append("")
            lines[-1] += letter
    return lines
