"""ICC profiles of version 4, made from primaries and a tone curve, with the same bytes on every machine.

Source: ICC.1:2022, sections 7 (layout), 10.6 (curveType), 10.15 (multiLocalizedUnicodeType), 10.18
(parametricCurveType), annex E (chromatic adaptation from the medium's white to D50, by Bradford's matrix).
"""

import functools
import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Chromaticity = tuple[float, float]
Matrix = NDArray[np.float64]
Grey = NDArray[np.float32]

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


class Curve(NamedTuple):
    """A tone curve from a stored value x to light: (a x + b) ^ gamma + e from x = d on, c x + f below.

    The defaults are a plain power.
    """

    gamma: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0
    e: float = 0.0
    f: float = 0.0

    def light(self, values: Grey) -> Grey:
        """The light of stored values in [0, 1]."""
        with np.errstate(all="ignore"):  # of exponents that nobody means
            powers = np.maximum(self.a * values + self.b, 0) ** self.gamma + self.e
        light = np.where(values >= self.d, powers, self.c * values + self.f)
        return np.nan_to_num(light).astype(np.float32)


class Primaries(NamedTuple):
    """Chromaticities (x, y) of white, red, green and blue."""

    white: Chromaticity
    red: Chromaticity
    green: Chromaticity
    blue: Chromaticity


_PARAMETERS = (1, 3, 4, 5, 7)  # of the kinds of parametric curves
_D65 = (0.3127, 0.3290)
SRGB_CURVE = Curve(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # IEC 61966-2-1
SRGB_PRIMARIES = Primaries(_D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))  # also BT.709's
P3_PRIMARIES = Primaries(_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060))  # SMPTE EG 432-1
BT2020_PRIMARIES = Primaries(_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
ADOBE_PRIMARIES = Primaries(_D65, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06))  # Adobe RGB (1998), section 4.3
ADOBE_CURVE = Curve(563 / 256)


@functools.cache
def srgb_profile() -> bytes:
    """The profile that every written picture carries."""
    return rgb_profile("sRGB", SRGB_PRIMARIES, SRGB_CURVE)


def rgb_profile(name: str, primaries: Primaries, curve: Curve) -> bytes:
    """A profile of three primaries with one tone curve.

    Raises: ValueError if no such colours can be: a chromaticity out of range, or three on one line.
    """
    white = _xyz(primaries.white)
    own = np.stack([_xyz(primary) for primary in primaries[1:]], axis=1)
    if abs(np.linalg.det(own)) < 1e-6:
        raise ValueError("its primaries span no colours")
    adapted = _adaptation(white)
    columns = adapted @ (own * np.linalg.solve(own, white))
    tags = [(kind, _xyz_type(columns[:, i])) for i, kind in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))]
    tags += [(kind, _curve_type(curve)) for kind in (b"rTRC", b"gTRC", b"bTRC")]
    return _profile(name, b"RGB ", [*tags, (b"chad", _numbers(b"sf32", adapted.flatten()))])


def grey_profile(name: str, curve: Curve) -> bytes:
    """A profile of greys with a tone curve."""
    return _profile(name, b"GRAY", [(b"kTRC", _curve_type(curve))])


def light_of_greys(data: bytes, values: Grey) -> Grey:
    """The light of greys by the tone curve of somebody's profile, of greys or of colours, at full precision.

    Args:
        data: of the profile.
        values: in [0, 1].
    Raises: ValueError if it has none, or is damaged.
    """
    if len(data) < 132:
        raise ValueError("it is cut off")
    space, meeting = data[16:20], data[20:24]
    tag = {b"GRAY": b"kTRC", b"RGB ": b"rTRC"}.get(space)  # a grey has all three colours of one curve
    if tag is None:
        raise ValueError(f"it is for {space.decode('latin-1').strip()}, but the picture is GRAY")
    if meeting != b"XYZ ":
        raise ValueError("it goes by way of Lab, which greys of more than 8 bit cannot")
    try:
        for i in range(struct.unpack(">I", data[128:132])[0]):
            kind, start, length = struct.unpack(">4sII", data[132 + 12 * i : 144 + 12 * i])
            if kind == tag:
                return _light(data[start : start + length], values)
    except (struct.error, IndexError) as error:
        raise ValueError("it is cut off") from error
    raise ValueError("it has no tone curve")


def _light(body: bytes, values: Grey) -> Grey:
    if body[:4] == b"para":
        kind = struct.unpack(">H", body[8:10])[0]
        numbers = [value / 65536 for value in struct.unpack_from(f">{_PARAMETERS[kind]}i", body, 12)]
        gamma, a, b, c, d, e, f = (*numbers, *(0.0,) * (7 - len(numbers)))
        curves = {
            0: Curve(gamma),
            1: Curve(gamma, a, b, d=-b / a if a else 0.0),
            2: Curve(gamma, a, b, d=-b / a if a else 0.0, e=c, f=c),
            3: Curve(gamma, a, b, c, d),
            4: Curve(gamma, a, b, c, d, e, f),
        }
        return curves[kind].light(values)
    if body[:4] != b"curv":
        raise ValueError("its tone curve is of no known kind")
    count = struct.unpack(">I", body[8:12])[0]
    table = struct.unpack(f">{count}H", body[12 : 12 + 2 * count])
    if count < 2:
        return Curve(table[0] / 256 if table else 1.0).light(values)
    return np.interp(values, np.linspace(0, 1, count), np.array(table) / 65535).astype(np.float32)


def _xyz(chromaticity: Chromaticity) -> Matrix:
    x, y = chromaticity
    if not (0 <= x <= 1 and 0 < y <= 1):
        raise ValueError(f"its chromaticity ({x:g}, {y:g}) is none")
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _adaptation(white: Matrix) -> Matrix:
    """The matrix that brings colours seen under a white to how they look under D50."""
    return np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD


def _profile(name: str, space: bytes, tags: list[tuple[bytes, bytes]]) -> bytes:
    tags = [
        (b"desc", _text_type(name)),
        (b"cprt", _text_type("No copyright")),
        (b"wtpt", _xyz_type(_D50)),
        *tags,
    ]
    table, data, starts = struct.pack(">I", len(tags)), b"", dict[bytes, int]()
    for kind, body in tags:
        if body not in starts:  # equal curves are written once
            starts[body] = 128 + 4 + 12 * len(tags) + len(data)
            data += body + bytes(-len(body) % 4)
        table += struct.pack(">4sII", kind, starts[body], len(body))
    head = struct.pack(
        ">I4sI4s4s4s", 128 + len(table) + len(data), bytes(4), 0x04300000, b"mntr", space, b"XYZ "
    )
    head += struct.pack(">6H", 2025, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(_D50)
    return head + bytes(128 - len(head)) + table + data


def _text_type(text: str) -> bytes:
    body = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">4xII2s2sII", 1, 12, b"en", b"US", len(body), 28) + body


def _xyz_type(values: Matrix) -> bytes:
    return _numbers(b"XYZ ", values)


def _curve_type(curve: Curve) -> bytes:
    if curve[1:] == Curve(curve.gamma)[1:]:
        return b"para" + struct.pack(">4xHxx", 0) + _fixed(np.array([curve.gamma]))
    return b"para" + struct.pack(">4xHxx", 3) + _fixed(np.array(curve[:5]))


def _numbers(kind: bytes, values: Matrix) -> bytes:
    return kind + bytes(4) + _fixed(values)


def _fixed(values: Matrix) -> bytes:
    if not np.abs(values).max() < 2**15:
        raise ValueError("its numbers are larger than a profile can hold")
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)
