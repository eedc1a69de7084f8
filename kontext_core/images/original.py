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
from .colour import declared, from_srgb, profile_of, to_srgb
from .picture_files import (
    ORIENTATION,
    from_pil,
    open_bytes,
    open_file,
    reading,
    split_alpha,
    to_pil,
    turn_of,
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
        pixels: (H, W, 3) in the colours of `profile`.
        cover: (H, W), what is opaque; None: all is.
        profile: None: sRGB.
        exif: what the file says of itself, but for the orientation, since `pixels` are upright.
    """

    shown: Tensor
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
        shown = from_pil(picture, name)
        on_white = np.asarray(to_pil(shown))
        turn, exif = turn_of(picture, name), _exif(picture)
        colours = declared(picture, name)
        if turn is not None:
            picture = picture.transpose(turn)
        if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
            return cls(shown, on_white, exif=exif)  # written with 8 bits, as all results are
        base, cover = split_alpha(picture)
        pixels, profile = base, None
        srgb = to_srgb(base, colours, name)
        if colours is not None and base.mode == "RGB" and srgb is not base:
            profile = profile_of(colours)
        else:
            pixels = srgb
        seen = None if cover is None else np.asarray(cover)
        return cls(shown, np.asarray(pixels.convert("RGB")), seen, profile, exif)

    def write_edit(self, image: Tensor, file: Path | IO[bytes]) -> None:
        """Write an edit of this picture as PNG: where it shows what the picture shows, the file's own pixels.

        Args:
            image: (1, H, W, 3) in [0, 1]. Of another size, it is written as it is.
        """
        edit, before = to_pil(image), np.asarray(to_pil(self.shown))
        if (edit.height, edit.width) != before.shape[:2]:
            write_png(edit, file)
            return
        changed = (np.asarray(edit) != before).any(-1)
        new = edit if self.profile is None else from_srgb(edit, self.profile)
        pixels = np.where(changed[..., None], np.asarray(new), self.pixels)
        if self.cover is not None:
            over = np.asarray(edit), np.asarray(new)
            pixels = np.dstack(_uncovered(pixels, self.cover, changed, *over))
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


def _exif(picture: Image.Image) -> bytes | None:
    """What a picture says of itself, as it is upright; None if that is nothing, or damaged."""
    try:
        tags = picture.getexif()
        for tag in (ORIENTATION, *_OF_TIFF):
            tags.pop(tag, None)
        return tags.tobytes() if len(tags) else None
    except DAMAGED:  # which reading its orientation has said
        return None
