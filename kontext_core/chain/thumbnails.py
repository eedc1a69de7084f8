"""Previews of a chain's pictures as its record holds them: JPEG in base64, each made and read once."""

import base64
import io
import warnings
from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import DAMAGED
from ..images.picture_files import to_pil
from .limits import MOST_THUMBNAIL_PIXELS, THUMBNAIL_PX

_QUALITY = 88
_COARSEST = 8  # a JPEG is read at a half, a quarter or an eighth of its size without being read in full


def encode_thumbnails(images: Iterable[Tensor], side_px: int) -> dict[int, str]:
    """The preview of each picture (1, H, W, 3), by the `id` of its tensor."""
    texts: dict[int, str] = {}
    for image in images:
        if id(image) not in texts:
            texts[id(image)] = _encode(image, side_px)
    return texts


class Thumbnails:
    """The previews of a record: all are looked at before one is opened, and equal ones are one picture.

    Where they are too many for the memory, they are read smaller.
    """

    def __init__(self) -> None:
        self._pictures: dict[str, Tensor | None] = {}
        self._pixels = 0

    def look_at(self, text: str) -> None:
        """Count a preview by its header.

        Raises: ValueError if it is none, or larger than any that is written.
        """
        if text in self._pictures:
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                width, height = _open(text).size
        except Image.DecompressionBombError as error:
            raise ValueError(f"a preview is far larger than {THUMBNAIL_PX} px a side") from error
        except DAMAGED as error:
            raise ValueError(f"a preview is not a JPEG: {error}") from error
        if max(height, width) > THUMBNAIL_PX:
            raise ValueError(
                f"a preview is {width} x {height} px, but {THUMBNAIL_PX} px a side is the maximum"
            )
        self._pictures[text] = None
        self._pixels += height * width
        if self._pixels > _COARSEST**2 * MOST_THUMBNAIL_PIXELS:
            raise ValueError(
                f"with this turn there are {len(self._pictures)} different previews, which is too many"
            )

    def picture(self, text: str) -> Tensor:
        """The picture (1, H, W, 3) of a preview that was looked at. Raises: ValueError if it is damaged."""
        picture = self._pictures[text]
        if picture is None:
            picture = self._pictures[text] = _decode(text, self._shrink())
        return picture

    def _shrink(self) -> int:
        shrink = 1
        while self._pixels > shrink**2 * MOST_THUMBNAIL_PIXELS:
            shrink *= 2
        return shrink


def _encode(image: Tensor, side_px: int) -> str:
    picture = to_pil(image)
    picture.thumbnail((side_px, side_px))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _decode(text: str, shrink: int) -> Tensor:
    try:
        picture = _open(text)
        if shrink > 1:
            picture.draft("RGB", (picture.width // shrink, picture.height // shrink))
        values = np.array(picture.convert("RGB"), dtype=np.float32)
    except DAMAGED as error:
        raise ValueError(f"a preview is damaged: {error}") from error
    values /= 255
    return torch.from_numpy(values)[None]


def _open(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=("JPEG",))
