"""Pictures brought to sRGB from the colour space that their files declare.

The first of these that a file has counts: PNG's cICP, an embedded ICC profile, PNG's sRGB, PNG's gAMA and
cHRM, and the EXIF tags by which cameras, which embed no profile, declare Adobe RGB. A picture that declares
nothing is sRGB.

Rendering is relative colorimetric with black point compensation: colours that sRGB can show stay as they are,
white becomes white and black becomes black. Perceptual tables differ from maker to maker; the matrix profiles
of cameras, screens and phones have none, so that both intents give the same there.
"""

import logging
import zlib
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from ..checks.sentences import one_line
from ..errors import DAMAGED
from .icc import (
    ADOBE_CURVE,
    ADOBE_PRIMARIES,
    BT2020_PRIMARIES,
    P3_PRIMARIES,
    SRGB_CURVE,
    SRGB_PRIMARIES,
    Curve,
    Grey,
    Primaries,
    grey_profile,
    light_of_greys,
    rgb_profile,
    srgb_profile,
)

if TYPE_CHECKING:
    from PIL import ImageCms

log = logging.getLogger(__name__)

SAME = 1  # of 255: a profile that changes no colour by more is sRGB under another name, and its pixels stay
MOST_PROFILE_BYTES = 16 * 2**20  # the largest that printers' makers publish have about 3 MiB
CICP, ICCP = (
    "cicp",
    "iccp_chunk",
)  # of `Image.info`: chunks of a PNG that Pillow drops, or does not read in full
_EXIF, _INTEROP = 0x8769, 0xA005
_COLOUR_SPACE, _INTEROP_INDEX = 0xA001, 1  # tags of those two; DCF 2.0 names Adobe RGB there
_STEPS = 17  # colours a side of the cube that tells whether a profile is sRGB
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}
# ITU-T H.273, tables 2 and 3: those of still pictures
_CICP_PRIMARIES = {1: SRGB_PRIMARIES, 9: BT2020_PRIMARIES, 12: P3_PRIMARIES}
_CICP_CURVES = {1: SRGB_CURVE, 4: Curve(2.2), 5: Curve(2.8), 6: SRGB_CURVE, 8: Curve(1.0), 13: SRGB_CURVE}


class Colours(NamedTuple):
    """Primaries and tone curve that a file names without a profile."""

    primaries: Primaries
    curve: Curve


def declared(picture: Image.Image, name: str) -> bytes | Colours | None:
    """Find what a picture declares of its colours, before it is turned; None if that is nothing, or sRGB.

    Args:
        name: of the file, for warnings.
    """
    info: Mapping[Any, Any] = picture.info
    for keys, read in _DECLARATIONS:
        if any(info.get(key) is not None for key in keys):
            try:
                return read(*(info.get(key) for key in keys))
            except DAMAGED as error:
                _warn(name, error)
    return Colours(ADOBE_PRIMARIES, ADOBE_CURVE) if _camera_wrote_adobe(picture) else None


def to_srgb(picture: Image.Image, colours: bytes | Colours | None, name: str) -> Image.Image:
    """Bring a picture without alpha to sRGB: "L" stays grey where it can, anything else becomes "RGB".

    Args:
        picture: of mode L, RGB, CMYK or LAB.
        colours: from `declared`. What cannot be used is warned of, and the colours are taken as they are.
        name: of the file, for warnings.
    """
    if colours is not None:
        try:
            return _converted(picture, colours)
        except (*DAMAGED, ImportError) as error:  # not every Pillow has a colour engine
            _warn(name, error)
    return picture if picture.mode in ("L", "RGB") else picture.convert("RGB")


def greys_to_srgb(levels: Grey, colours: bytes | Colours | None, name: str) -> Grey:
    """Bring greys in [0, 1] to sRGB at full precision, which Pillow's colour engine does not keep.

    Args:
        colours, name: see `to_srgb`.
    """
    if colours is None:
        return levels
    ramp = np.linspace(0, 1, 1025, dtype=np.float32)
    try:
        if np.abs(_grey_in_srgb(ramp, colours) - ramp).max() <= SAME / 255:
            return levels
        return _grey_in_srgb(levels, colours)
    except DAMAGED as error:
        _warn(name, error)
        return levels


def _grey_in_srgb(levels: Grey, colours: bytes | Colours) -> Grey:
    light = (
        light_of_greys(colours, levels) if isinstance(colours, bytes) else colours.curve.light(levels)
    ).clip(0, 1)
    bright = 1.055 * light ** (1 / 2.4) - 0.055
    return np.where(light <= 0.0031308, 12.92 * light, bright).astype(np.float32)  # IEC 61966-2-1


def from_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Bring an RGB picture from sRGB to other colours of mode RGB; what those cannot show is clipped.

    Raises: ValueError about a profile that cannot be used.
    """
    return _transformed(picture, srgb_profile(), profile, "RGB")


def profile_of(colours: bytes | Colours) -> bytes:
    """Return the profile of what `declared` found for an RGB picture."""
    return rgb_profile("RGB", *colours) if isinstance(colours, Colours) else colours


def _converted(picture: Image.Image, colours: bytes | Colours) -> Image.Image:
    from PIL import ImageCms

    grey = picture.mode == "L"
    if isinstance(colours, Colours) and grey:
        data = grey_profile("grey", colours.curve)
    else:
        data = profile_of(colours)
    if data == srgb_profile() and picture.mode == "RGB":
        return picture
    opened: Any = ImageCms.ImageCmsProfile(BytesIO(data)).profile  # of Pillow's engine, without types
    space = str(opened.xcolor_space).strip()
    if picture.mode == "L" and space == "RGB":
        picture, grey = picture.convert("RGB"), False
    if _SPACES[picture.mode] != space:
        raise ValueError(f"it is for {space}, but the picture is {_SPACES[picture.mode]}")
    target = grey_profile("grey", SRGB_CURVE) if grey else srgb_profile()
    return _transformed(picture, data, target, picture.mode if grey else "RGB")


def _transformed(picture: Image.Image, source: bytes, target: bytes, mode: str) -> Image.Image:
    from PIL import ImageCms

    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(BytesIO(source)),
            ImageCms.ImageCmsProfile(BytesIO(target)),
            picture.mode,
            mode,
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except ImageCms.PyCMSError as error:
        raise ValueError(str(error)) from error
    if picture.mode in ("L", "RGB") and _changes_nothing(transform, picture.mode):
        return picture
    converted = ImageCms.applyTransform(picture, transform)
    assert converted is not None, "only a transform in place gives none"
    return converted


def _changes_nothing(transform: "ImageCms.ImageCmsTransform", mode: str) -> bool:
    from PIL import ImageCms

    values = np.linspace(0, 255, 256 if mode == "L" else _STEPS).round().astype(np.uint8)
    if mode == "RGB":
        values = np.stack(np.meshgrid(values, values, values), axis=-1).reshape(_STEPS, -1, 3)
    else:
        values = values[None]
    converted = ImageCms.applyTransform(Image.fromarray(values), transform)
    return bool((np.abs(np.asarray(converted, dtype=np.int16) - values.astype(np.int16)) <= SAME).all())


def _of_cicp(data: bytes) -> Colours | None:
    primaries, curve, matrix, full = data[:4]
    if matrix != 0 or full != 1 or primaries not in _CICP_PRIMARIES or curve not in _CICP_CURVES:
        raise ValueError(
            f"its cICP chunk names colours that are not read here ({', '.join(map(str, data[:4]))})"
        )
    return _unless_srgb(_CICP_PRIMARIES[primaries], _CICP_CURVES[curve])


def _of_gamma(gamma: float | None, chromaticity: tuple[float, ...] | None) -> Colours | None:
    """Colours of a PNG that gives numbers in place of a profile.

    Args:
        gamma: of the file, 1 / 2.2 for sRGB.
        chromaticity: x and y of white, red, green and blue.
    """
    curve = SRGB_CURVE
    if gamma is not None:
        if not 0.1 <= gamma <= 10:
            raise ValueError(f"its gamma of {gamma:g} is none")
        if abs(1 / gamma - 2.2) > 0.02:  # within this, the number stands for the curve of sRGB
            curve = Curve(1 / gamma)
    primaries = SRGB_PRIMARIES
    if chromaticity is not None:
        pairs = [(x, y) for x, y in zip(chromaticity[::2], chromaticity[1::2], strict=True)]
        primaries = Primaries(*pairs)
    return _unless_srgb(primaries, curve)


def _unless_srgb(primaries: Primaries, curve: Curve) -> Colours | None:
    distances = np.abs(np.array(primaries) - np.array(SRGB_PRIMARIES))
    return None if curve == SRGB_CURVE and distances.max() < 0.002 else Colours(primaries, curve)


def _none(_: object) -> None:
    """What sRGB is brought to sRGB by."""


def _inflated(chunk: bytes) -> bytes:
    """The profile in an iCCP chunk: a name, a null, the method 0, and the profile deflated."""
    inflater = zlib.decompressobj()
    data = inflater.decompress(chunk[chunk.index(b"\0") + 2 :], MOST_PROFILE_BYTES)
    if not inflater.eof:
        raise ValueError(f"it is cut off, or has more than {MOST_PROFILE_BYTES // 2**20} MiB")
    return data


# By keys of `Image.info`, in the order in which they count; what cannot be used gives way to the next.
_DECLARATIONS: tuple[tuple[tuple[str, ...], Callable[..., bytes | Colours | None]], ...] = (
    ((CICP,), _of_cicp),
    ((ICCP,), _inflated),
    (("icc_profile",), bytes),
    (("srgb",), _none),
    (("gamma", "chromaticity"), _of_gamma),
)


def _camera_wrote_adobe(picture: Image.Image) -> bool:
    try:
        exif = picture.getexif()
        if exif.get_ifd(_EXIF).get(_COLOUR_SPACE) == 2:
            return True
        return str(exif.get_ifd(_INTEROP).get(_INTEROP_INDEX)).startswith("R03")
    except DAMAGED:  # the picture does not depend on it; older Pillows also miss an index that is not there
        return False


def _warn(name: str, error: Exception) -> None:
    log.warning("%s: its colour profile is ignored (%s)", name, one_line(str(error)))
