"""A picture as its file holds it, for edits at its own size to be written back into.

What an edit left alone keeps the file's own numbers in the file's own colours, which sRGB may not be able to
show, and its transparency; what the file says of itself in EXIF goes along.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..errors import DAMAGED
from .colour import from_srgb, profile_of
from .picture_files import (
    ORIENTATION,
    Decoded,
    decode,
    open_bytes,
    open_file,
    reading,
    to_pil,
    write_png,
)

log = logging.getLogger(__name__)

# Tags of TIFF 6.0 that say how its pixels are stored, and its own profile
_OF_TIFF = (*range(254, 260), 262, 266, *range(273, 280), 284, *range(317, 326), *range(330, 348), 34675)

_Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Original:
    """A picture that edits come from.

    Args:
        shown: as the model is given it, (1, H, W, 3) in [0, 1], in sRGB and on white.
        on_white: (H, W, 3), the same in 8 bit.
        pixels: (H, W, 3) in the colours of `profile`.
        cover: (H, W), what is opaque; None: all is.
        profile: None: sRGB.
        exif: what the file says of itself, but for the orientation, since `pixels` are upright.
    """

    shown: Tensor
    on_white: _Pixels
    pixels: _Pixels
    cover: _Pixels | None = None
    profile: bytes | None = None
    exif: bytes | None = None

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read any picture file. Raises: ValueError in one sentence if it cannot be read."""
        with reading(str(path)):
            return cls._of(open_file(path), str(path))

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Self:
        """The same of a picture file's bytes.

        Args:
            name: what a fault calls it.
        """
        with reading(name):
            return cls._of(open_bytes(data, name), name)

    @classmethod
    def _of(cls, picture: Image.Image, name: str) -> Self:
        decoded = decode(picture, name)
        on_white = _pixels(to_pil(decoded.shown))
        exif = _exif(picture)
        if decoded.stored is None or decoded.srgb is None:  # written with 8 bits, as all results are
            return cls(decoded.shown, on_white, on_white, exif=exif)
        cover = None if decoded.cover is None else _pixels(decoded.cover)
        profile = _profile(decoded, name)
        own = _pixels((decoded.srgb if profile is None else decoded.stored).convert("RGB"))
        return cls(decoded.shown, on_white, own, cover, profile, exif)

    def write_edit(self, image: Tensor, file: Path | IO[bytes]) -> None:
        """Write an edit of this picture as PNG: where it shows what the picture shows, the file's own pixels.

        Args:
            image: (1, H, W, 3) in [0, 1]. Of another size, it is written as it is.
        """
        edit, before = to_pil(image), self.on_white
        if (edit.height, edit.width) != before.shape[:2]:
            write_png(edit, file)
            return
        changed = (np.asarray(edit) != before).any(-1)
        new = edit if self.profile is None else from_srgb(edit, self.profile)
        pixels = np.where(changed[..., None], np.asarray(new), self.pixels)
        if self.cover is not None:
            pixels = np.dstack(_uncovered(pixels, self.cover, changed, np.asarray(edit), np.asarray(new)))
        write_png(Image.fromarray(pixels), file, profile=self.profile, exif=self.exif)


def _uncovered(
    pixels: _Pixels, cover: _Pixels, changed: NDArray[np.bool_], edit: _Pixels, new: _Pixels
) -> tuple[_Pixels, _Pixels]:
    """Take the white that was laid below transparent parts out of what an edit changed there.

    A pixel becomes as opaque as it must be to look on white as the edit does, and no less than it was.

    Args:
        pixels: (H, W, 3), the file's own and the edit's.
        cover: (H, W), the file's.
        changed: (H, W), which are the edit's.
        edit: (H, W, 3) in sRGB.
        new: the same in the file's colours.
    """
    needed = 255 - edit.min(-1)
    opaque = np.where(changed, np.maximum(cover, needed), cover)
    share = opaque[..., None].astype(np.float32) / 255
    bare = (new - 255 * (1 - share)) / np.maximum(share, 1 / 255)
    thin = changed & (opaque < 255)
    return np.where(thin[..., None], bare.round().clip(0, 255).astype(np.uint8), pixels), opaque


def _pixels(picture: Image.Image) -> _Pixels:
    return np.asarray(picture)


def _profile(decoded: Decoded, name: str) -> bytes | None:
    """The profile that edits can be brought to; None: sRGB, which all else becomes.

    Args:
        name: of the file, for a warning.
    """
    stored, colours = decoded.stored, decoded.colours
    if colours is None or stored is None or stored.mode != "RGB" or decoded.srgb is stored:
        return None
    profile = profile_of(colours)
    try:
        from_srgb(Image.new("RGB", (1, 1)), profile)
    except DAMAGED as error:  # that of a scanner, for instance, leads one way only
        log.warning(
            "%s: no edit can be brought to its colour profile, so the results are sRGB (%s)", name, error
        )
        return None
    return profile


def _exif(picture: Image.Image) -> bytes | None:
    """What a picture says of itself, as it is upright; None if that is nothing, or damaged."""
    try:
        tags = picture.getexif()
        for tag in (ORIENTATION, *_OF_TIFF):
            tags.pop(tag, None)
        return tags.tobytes() if len(tags) else None
    except DAMAGED:  # which reading its orientation has said
        return None


def write_edit(image: Tensor, file: Path | IO[bytes], original: Original | None) -> None:
    """Write a result as PNG, into the picture that it was made from where that is given.

    Args:
        image: (1, H, W, 3) in [0, 1].
    """
    if original is None:
        write_png(to_pil(image), file)
    else:
        original.write_edit(image, file)
