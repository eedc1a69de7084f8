"""The one way from picture files to tensors and back. Pictures are float (B, H, W, 3) in [0, 1], in sRGB."""

import logging
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError
from torch import Tensor

from ..checks.sentences import one_line
from ..errors import DAMAGED
from .colour import CICP, ICCP, Colours, declared, greys_to_srgb, to_srgb
from .icc import Grey, srgb_profile
from .png_chunks import TEXT_KINDS, Png, is_png

log = logging.getLogger(__name__)

MOST_PIXELS = (
    178_956_970  # of a picture, as the header says; Pillow's own limit, which the host may have moved
)
_MOST_HELD = 2**30  # bytes of a PNG that is taken apart before Pillow sees it; larger ones have no long texts
OVER = 2.0  # greys in floating point may pass their white by this factor, as sharpened ones do
_WHITES = (1.0, 255.0, 65535.0)  # of greys in floating point, by the brightest
_WHITES_32 = (255.0, 65535.0, 2.0**31 - 1, 2.0**32 - 1)  # of whole numbers of 32 bit
_RANGES = "save it with 0 as black and 1, 255 or 65535 as white"
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF 6.0
_UNSIGNED, _WHITE_IS_ZERO = 1, 0
_ONE_PICTURE = ("MPO", "PSD")  # their further frames are previews, depth or layers of the first
_PROGRAMS = ("EPS", "WMF")  # drawn by running what is in them
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_GREY_STEPS: Mapping[object, int] = {"L;2": 85, "L;4": 17}  # from one grey of so many bits to the next, of 8
ORIENTATION = 0x0112  # a tag of EXIF 2.3, 4.6.4
_TURNS: Mapping[Any, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class _PictureError(ValueError):
    """What is wrong with a picture, in a whole sentence."""


def from_file(path: Path) -> Tensor:
    """Any picture file as (1, H, W, 3) in [0, 1], see `from_pil`.

    Raises: ValueError in one sentence if it cannot be read.
    """
    with reading(str(path)):
        return from_pil(open_file(path), str(path))


def from_bytes(data: bytes, name: str) -> Tensor:
    """The same of a picture file's bytes.

    Args:
        name: what a fault calls it.
    """
    with reading(name):
        return from_pil(open_bytes(data, name), name)


def from_png(png: Png, name: str) -> Tensor:
    """The same of a PNG file whose chunks are known. Its texts, of any size, are passed over."""
    with reading(name):
        return from_pil(_open_png(png, name), name)


@contextmanager
def reading(name: str) -> Generator[None]:
    """Say that a picture needs too much memory in one sentence, and nothing about tags and sizes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow; none is about what is seen
            yield
    except MemoryError as error:
        raise ValueError(f"{name} does not fit into memory; make it smaller first") from error


def open_file(path: Path) -> Image.Image:
    """Decode a picture file, which `from_pil` then turns and brings to sRGB.

    Raises: ValueError in one sentence if it cannot be read.
    """
    try:
        if path.is_dir():
            raise ValueError(f"{path} is a folder, not a picture")
        if not path.is_file():
            raise ValueError(f"there is no file {path}")
        with path.open("rb") as file:
            png = is_png(file.read(8)) and path.stat().st_size <= _MOST_HELD
            file.seek(0)
            return open_bytes(file.read(), str(path)) if png else _open(file, str(path))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error


def open_bytes(data: bytes, name: str) -> Image.Image:
    """The same of a picture file's bytes."""
    if not is_png(data):
        return _open(BytesIO(data), name)
    try:
        png = Png(data)
    except ValueError:  # Pillow says better what is wrong, or mends it
        return _open(BytesIO(data), name)
    return _open_png(png, name)


def _open_png(png: Png, name: str) -> Image.Image:
    chunks = {ICCP: png.first(b"iCCP"), CICP: png.first(b"cICP")}
    bare = png.without(TEXT_KINDS | {b"iCCP"})
    picture = _open(BytesIO(bare), name)
    picture.info.update({key: chunk for key, chunk in chunks.items() if chunk is not None})
    return picture


def from_pil(picture: Image.Image, name: str = "the picture") -> Tensor:
    """Make a tensor (1, H, W, 3) in [0, 1] of any PIL picture.

    It is turned as EXIF says, and brought to sRGB from the colour space that it declares, see `colour`.
    Transparent parts lie on white. Greys of more than 8 bit keep their steps.

    Args:
        name: what warnings and faults call it.
    Raises: ValueError in one sentence if it holds no such picture.
    """
    return decode(picture, name).shown


@dataclass(frozen=True)
class Decoded:
    """A picture as it is to be seen, and what it was made of.

    Args:
        shown: (1, H, W, 3) in [0, 1], see `from_pil`.
        stored: the upright picture without alpha, in the colours of its file; None for greys of more than 8
            bit.
        srgb: the same in sRGB: itself where nothing had to change.
        cover: how much of each pixel is opaque; None: all is.
        colours: of `stored`, see `colour.declared`.
    """

    shown: Tensor
    stored: Image.Image | None = None
    srgb: Image.Image | None = None
    cover: Image.Image | None = None
    colours: bytes | Colours | None = None


def decode(picture: Image.Image, name: str) -> Decoded:
    """Do what `from_pil` does, and keep its parts. Raises: as that does."""
    try:
        return _decoded(picture, name)
    except _PictureError:
        raise
    except DAMAGED as error:  # some damage shows only when colours are taken out of what was decoded
        raise _unreadable(name, error) from error


def to_pil(image: Tensor) -> Image.Image:
    """The first picture of (B, H, W, 3) in [0, 1], rounded to 8 bit."""
    pixels = (image[0].detach().float().cpu().clamp(0, 1) * 255).round().byte().numpy()
    return Image.fromarray(pixels)


def write_png(
    picture: Image.Image,
    file: Path | IO[bytes],
    texts: PngImagePlugin.PngInfo | None = None,
    *,
    profile: bytes | None = None,
    exif: bytes | None = None,
) -> None:
    """Write a picture as PNG that says what its colours are.

    Args:
        texts: what else it says of itself.
        profile: of its colours; None: sRGB.
        exif: tags of EXIF, as `Image.Exif.tobytes` gives them.
    """
    picture.save(file, "PNG", icc_profile=profile or srgb_profile(), pnginfo=texts, exif=exif or b"")


def check_size(height_px: int, width_px: int, most_pixels: int, name: str) -> None:
    """Raises: ValueError if a picture, by its header, has more pixels than are taken."""
    if height_px * width_px > most_pixels:
        raise _PictureError(
            f"{name} is too large a picture, {width_px} x {height_px} px; {most_pixels / 1e6:.0f} million "
            "pixels is the maximum: make it smaller first"
        )


def _decoded(picture: Image.Image, name: str) -> Decoded:
    picture.load()  # Pillow turns a TIFF while it loads, which changes what its EXIF says
    turn = _turn(picture, name)  # asked first: damaged EXIF is only noticed once
    colours, tags = declared(picture, name), _tags(picture)
    if turn is not None:
        picture = picture.transpose(turn)
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        levels, seen = _deep_grey(picture, tags, name)
        return Decoded(_on_white(greys_to_srgb(levels, colours, name), seen))
    stored, cover = _split(picture)
    srgb = to_srgb(stored, colours, name)
    pixels = srgb.convert("RGB")
    if cover is not None:
        pixels.putalpha(cover)
        pixels = Image.alpha_composite(Image.new("RGBA", pixels.size, "white"), pixels).convert("RGB")
    values = np.array(pixels, dtype=np.float32)
    values /= 255
    return Decoded(torch.from_numpy(values)[None], stored, srgb, cover, colours)


def _unreadable(name: str, error: Exception) -> ValueError:
    reason = one_line(str(error)) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        reason = "it does not start like a picture, or is damaged"
    return ValueError(f"{name} is not a picture that can be read ({reason})")


def _open(file: IO[bytes], name: str) -> Image.Image:
    """A picture that is decoded, its header found good before. Raises: ValueError in one sentence."""
    try:
        picture = Image.open(file)
        check_size(picture.height, picture.width, MOST_PIXELS, name)
        if picture.format in _PROGRAMS:
            raise _PictureError(
                f"{name} is not a picture but a program that draws one ({picture.format}); save it as PNG "
                "first"
            )
        frames = getattr(picture, "n_frames", 1)
        if frames > 1 and picture.format not in _ONE_PICTURE:
            log.warning("%s holds %d pictures; the first one is used", name, frames)
        stored = picture.tile[0][3] if picture.format == "PNG" and picture.tile else ""
        picture.load()
        _bring_key_to_8_bit(picture, stored)
        return picture
    except _PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise ValueError(f"{name} is too large a picture; make it smaller first") from error
    except DAMAGED as error:
        raise _unreadable(name, error) from error


def _bring_key_to_8_bit(picture: Image.Image, stored: object) -> None:
    """Give the transparent colour the depth of the decoded pixels, as Pillow does for some depths alone.

    Args:
        stored: how Pillow calls the pixels in the file.
    """
    key = picture.info.get("transparency")
    if stored in _GREY_STEPS and isinstance(key, int):
        picture.info["transparency"] = key * _GREY_STEPS[stored]
    elif stored == "RGB;16B" and isinstance(key, tuple):
        picture.info["transparency"] = tuple(part >> 8 for part in key)


def _tags(picture: Image.Image) -> Mapping[int, Any]:
    """Those of a TIFF file; none of any other."""
    return getattr(picture, "tag_v2", {}) if picture.format == "TIFF" else {}


def _turn(picture: Image.Image, name: str) -> Image.Transpose | None:
    """What brings a picture from how it is stored to how EXIF says that it is to be seen."""
    try:
        return _TURNS.get(picture.getexif().get(ORIENTATION))
    except DAMAGED as error:
        log.warning("%s: its EXIF is damaged, so its orientation is not known (%s)", name, error)
        return None


def _split(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The colours, as L, RGB, CMYK or LAB, and how much they cover, where a picture says so."""
    grey = picture.mode in ("1", "L", "LA", "La")
    if "transparency" in picture.info or picture.mode in _WITH_ALPHA:
        whole = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
        return whole.getchannel("R") if grey else whole.convert("RGB"), whole.getchannel("A")
    if picture.mode in ("L", "CMYK", "LAB"):
        return picture, None
    return picture.convert("L" if grey else "RGB"), None


def _deep_grey(
    picture: Image.Image, tags: Mapping[int, Any], name: str
) -> tuple[Grey, NDArray[np.bool_] | None]:
    """Greys of more than 8 bit in [0, 1], and where they are seen, where a picture says so.

    Raises: ValueError in one sentence if they have no white: numbers below 0, not finite, or beyond 65535.
    """
    stored = np.asarray(picture)
    if picture.mode == "I" and tags.get(_BITS) == (32,) and tags.get(_SAMPLE_FORMAT, (1,)) == (_UNSIGNED,):
        stored = stored.view(np.uint32)  # which Pillow reads as if it had a sign
    key = picture.info.get("transparency")
    seen = stored != key if isinstance(key, int) else None
    if not bool(np.isfinite(stored).all()):
        raise _PictureError(f"{name} holds greys that are not finite (NaN or infinity); save it without them")
    if stored.min() < 0:
        raise _PictureError(f"{name} holds greys below 0, down to {stored.min():g}; {_RANGES}")
    brightest = float(stored.max())
    white = _white(picture.mode, brightest, tags)
    if white is None:
        raise _PictureError(f"{name} holds greys up to {brightest:g}; {_RANGES}")
    if brightest > white:
        log.warning(
            "%s holds greys up to %g where %g is white; what is brighter is white too", name, brightest, white
        )
    levels = (stored.astype(np.float32) / np.float32(white)).clip(0, 1)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        levels = 1 - levels  # Pillow turns 8 bit around, and nothing deeper
    return levels, seen


def _white(mode: str, brightest: float, tags: Mapping[int, Any]) -> float | None:
    """Find the grey that is white, by the format or else by the brightest; None if nobody can tell."""
    if mode == "F":
        return next((white for white in _WHITES if brightest <= OVER * white), None)
    bits, signed = tags.get(_BITS, (16,))[0], tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0] != _UNSIGNED
    if bits <= 16 and brightest <= 65535:
        return 2.0 ** (bits - signed) - 1
    return next((white for white in _WHITES_32 if brightest <= white), None)


def _on_white(levels: Grey, seen: NDArray[np.bool_] | None) -> Tensor:
    if seen is not None:
        levels = np.where(seen, levels, np.float32(1))
    return torch.from_numpy(np.repeat(levels[None, ..., None], 3, axis=-1))
