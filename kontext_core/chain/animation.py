"""A chain as an animated picture: each turn is a frame with its caption."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont, ImageOps

from ..disk import whole
from ..images.picture_files import to_pil
from .sheet import FONT_PX, INK, LINE_PX, PAPER, captions, wrapped
from .turns import Chain, Turn

FORMATS = {"gif": "GIF", "webp": "WEBP"}  # Pillow's names, by the ending of the file
FRAME_MS, LAST_MS = 1_200, 3_600
MOST_FRAMES = 200
MOST_PIXELS = 2**26  # of all frames together, which the encoder of WebP holds at once: 0.2 GB
MOST_SIDE_PX, LEAST_SIDE_PX = 768, 256  # of the longer side of a picture
_MARGIN_PX = 8
_QUALITY = 90
_LAST_TAG = 0x0110  # of EXIF: from here down ComfyUI's page looks for the graph in a WebP


class _Layout(NamedTuple):
    """Sizes in pixels that all frames share, and the lines of each caption."""

    width: int
    picture_height: int
    height: int
    lines: list[list[str]]


def save_animation(
    chain: Chain, path: str | Path, *, first: int = 0, texts: Mapping[str, str] | None = None
) -> int:
    """Write the pictures of a chain as an animated GIF or WebP, by the ending of the path.

    A picture is shown for 1.2 s, the last for 3.6 s, and it starts again. The file is complete or, when
    writing fails, what it was before.

    Args:
        first: the turn to begin with; 0 is the picture at the start, -2 the one before the last.
        texts: what a WebP is to say of itself, by keyword; a GIF has no place for it.
    Returns: the number of frames.
    Raises: ValueError in one sentence, before any memory is taken, if there are too many frames, no such
        turn, or another ending; OSError if the file cannot be written.
    """
    path = Path(path)
    kind = FORMATS.get(path.suffix[1:].lower())
    if kind is None:
        raise ValueError(f"an animation is a .gif or .webp file, not {path.name}")
    Image.init()
    if kind not in Image.SAVE_ALL:
        raise ValueError(f"this Pillow writes no animated {kind}: install Pillow's own build")
    begin = len(chain.back_to(first))
    turns = chain.turns[begin:]
    if len(turns) > MOST_FRAMES:
        raise ValueError(
            f"from turn {begin} on this chain has {len(turns)} pictures, but an animation has at most "
            f"{MOST_FRAMES}: start with a later turn"
        )
    layout = _layout(turns, captions(chain, begin))
    frames = _frames(turns, layout)
    options: dict[str, object] = {"duration": [FRAME_MS] * (len(turns) - 1) + [LAST_MS], "loop": 0}
    if kind == "WEBP":
        options |= {"quality": _QUALITY, "exif": _exif(texts or {})}
    with whole(path) as (partial,):
        next(frames).save(partial, kind, save_all=True, append_images=frames, **options)
    return len(turns)


def _layout(turns: tuple[Turn, ...], texts: list[str]) -> _Layout:
    """Choose the largest frames of which all fit into `MOST_PIXELS`."""
    font = ImageFont.load_default(FONT_PX)
    height, width = turns[0].image.shape[1:3]
    side = MOST_SIDE_PX
    while True:
        scale = min(side / max(height, width), max(1.0, LEAST_SIDE_PX / max(height, width)))
        frame_width = max(round(width * scale), LEAST_SIDE_PX)
        picture_height = max(round(height * scale), 1)
        lines = [wrapped(text, font, frame_width - 2 * _MARGIN_PX) for text in texts]
        frame_height = picture_height + 2 * _MARGIN_PX + LINE_PX * max(map(len, lines))
        if side <= LEAST_SIDE_PX or len(turns) * frame_width * frame_height <= MOST_PIXELS:
            return _Layout(frame_width, picture_height, frame_height, lines)
        side -= 32


def _frames(turns: tuple[Turn, ...], layout: _Layout) -> Iterator[Image.Image]:
    """Draw the frames one after the other."""
    font = ImageFont.load_default(FONT_PX)
    for turn, lines in zip(turns, layout.lines, strict=True):
        frame = Image.new("RGB", (layout.width, layout.height), PAPER)
        picture = to_pil(turn.image).convert("RGB")
        frame.paste(ImageOps.pad(picture, (layout.width, layout.picture_height), color=PAPER), (0, 0))
        pen = ImageDraw.Draw(frame)
        for number, text in enumerate(lines):
            top = layout.picture_height + _MARGIN_PX + number * LINE_PX
            pen.text((_MARGIN_PX, top), text, INK, font)
        yield frame


def _exif(texts: Mapping[str, str]) -> Image.Exif:
    """Say of a WebP what `texts` say, where ComfyUI's own nodes say it."""
    exif = Image.Exif()
    for place, (keyword, text) in enumerate(texts.items()):
        exif[_LAST_TAG - place] = f"{keyword}:{text}"
    return exif
