"""Profiles that we build, opened by Pillow's colour engine."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from kontext_core.images.icc import (
    ADOBE_CURVE,
    ADOBE_PRIMARIES,
    BT2020_PRIMARIES,
    P3_PRIMARIES,
    SRGB_CURVE,
    SRGB_PRIMARIES,
    Curve,
    Primaries,
    grey_profile,
    light_of_greys,
    rgb_profile,
    srgb_profile,
)


def opened(data: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(data))


def test_our_srgb_is_the_engines() -> None:
    """Every grey, and a cube of colours, survives both directions unchanged."""
    steps = np.linspace(0, 255, 18).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(18, -1, 3)
    greys = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=-1)
    there = ImageCms.buildTransform(opened(srgb_profile()), ImageCms.createProfile("sRGB"), "RGB", "RGB")
    for values in (cube, greys):
        assert (np.asarray(ImageCms.applyTransform(Image.fromarray(values), there)) == values).all()


def test_the_bytes_are_the_same_everywhere_and_few() -> None:
    data = srgb_profile()
    assert data == rgb_profile("sRGB", SRGB_PRIMARIES, SRGB_CURVE)
    assert struct.unpack(">I", data[:4])[0] == len(data) < 600
    assert data[12:20] == b"mntrRGB "
    assert opened(data).profile.version == pytest.approx(4.3)
    assert ImageCms.getProfileDescription(opened(data)).strip() == "sRGB"


@pytest.mark.parametrize(
    ("primaries", "red", "green", "blue"),
    [
        (SRGB_PRIMARIES, (0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)),
        (ADOBE_PRIMARIES, (0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)),
        (P3_PRIMARIES, (0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)),
        (BT2020_PRIMARIES, (0.6734, 0.2790, -0.0019), (0.1656, 0.6753, 0.0299), (0.1251, 0.0456, 0.7968)),
    ],
)
def test_primaries_are_those_that_makers_of_profiles_publish(
    primaries: Primaries, red: tuple[float, ...], green: tuple[float, ...], blue: tuple[float, ...]
) -> None:
    """XYZ under D50, of sRGB IEC61966-2.1, Adobe RGB (1998), Display P3 and Rec. 2020."""
    profile = opened(rgb_profile("a", primaries, ADOBE_CURVE)).profile
    for own, published in (
        (profile.red_colorant, red), (profile.green_colorant, green), (profile.blue_colorant, blue),
    ):  # fmt: skip
        assert own[0] == pytest.approx(published, abs=2e-4)
    assert np.sum([profile.red_colorant[0], profile.green_colorant[0], profile.blue_colorant[0]], axis=0) == (
        pytest.approx((0.9642, 1, 0.8249), abs=1e-4)
    ), "all three make white"


def test_greys_have_a_curve_alone() -> None:
    profile = opened(grey_profile("grey", Curve(1.0)))
    assert profile.profile.xcolor_space == "GRAY"
    there = ImageCms.buildTransform(profile, opened(grey_profile("grey", Curve(2.0))), "L", "L")
    ramp = Image.fromarray(np.array([[0, 16, 64, 255]], np.uint8))
    assert np.asarray(ImageCms.applyTransform(ramp, there)).tolist() == [[0, 64, 128, 255]]


def of_greys(curve: bytes, kind: bytes = b"kTRC", space: bytes = b"GRAY", meeting: bytes = b"XYZ ") -> bytes:
    """A minimal profile with a tone curve."""
    head = bytearray(128)
    head[16:24] = space + meeting
    return bytes(head) + struct.pack(">I4sII", 1, kind, 144, len(curve)) + curve


def curv(*values: int) -> bytes:
    return b"curv" + struct.pack(f">4xI{len(values)}H", len(values), *values)


def para(kind: int, *values: float) -> bytes:
    return b"para" + struct.pack(f">4xHxx{len(values)}i", kind, *(round(value * 65536) for value in values))


@pytest.mark.parametrize(
    ("curve", "light"),
    [
        (curv(), [0, 0.25, 0.5, 1]),
        (curv(512), [0, 0.0625, 0.25, 1]),
        (curv(0, 0, 65535), [0, 0, 0, 1]),
        (curv(0, 13107, 65535), [0, 0.1, 0.2, 1]),
        (para(0, 2.0), [0, 0.0625, 0.25, 1]),
        (para(1, 2.0, 2.0, -1.0), [0, 0, 0, 1]),
        (para(2, 2.0, 1.0, 0.0, 0.25), [0.25, 0.3125, 0.5, 1.25]),
        (para(3, 2.0, 1.0, 0.0, 0.5, 0.4), [0, 0.125, 0.25, 1]),
        (para(4, 2.0, 1.0, 0.0, 0.5, 0.4, 0.1, 0.2), [0.2, 0.325, 0.35, 1.1]),
    ],
    ids=["linear", "gamma", "three", "table", "para 0", "para 1", "para 2", "para 3", "para 4"],
)
def test_tone_curves_of_every_kind(curve: bytes, light: list[float]) -> None:
    """ICC.1:2022, 10.6 and 10.18."""
    values = np.array([0, 0.25, 0.5, 1], np.float32)
    assert light_of_greys(of_greys(curve), values).tolist() == pytest.approx(light, abs=1e-4)
    assert light_of_greys(of_greys(curve, b"rTRC", b"RGB "), values).tolist() == pytest.approx(
        light, abs=1e-4
    )


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "it is cut off"),
        (of_greys(curv())[:140], "it is cut off"),
        (of_greys(curv(1, 2, 3)[:-1]), "it is cut off"),
        (of_greys(para(9, 1.0)), "it is cut off"),
        (of_greys(para(4, 1.0)), "it is cut off"),
        (of_greys(b"none" + bytes(12)), "its tone curve is of no known kind"),
        (of_greys(curv(), b"gTRC"), "it has no tone curve"),
        (of_greys(curv(), space=b"CMYK"), "it is for CMYK, but the picture is GRAY"),
        (of_greys(curv(), meeting=b"Lab "), "it goes by way of Lab"),
    ],
)  # fmt: skip
def test_profiles_without_a_tone_curve(data: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        light_of_greys(data, np.zeros(1, np.float32))


def test_no_number_of_a_curve_makes_light_that_is_none() -> None:
    for curve in (para(0, -2.0), para(1, 0.0, 0.0, -1.0), para(0, 30000.0), curv(0)):
        assert np.isfinite(light_of_greys(of_greys(curve), np.linspace(0, 1, 9, dtype=np.float32))).all()


@pytest.mark.parametrize(
    ("primaries", "sentence"),
    [
        (Primaries((0.31, 0.33), (0.2, 0.2), (0.3, 0.3), (0.4, 0.4)), "its primaries span no colours"),
        (Primaries((0.31, 0.0), (0.64, 0.33), (0.3, 0.6), (0.15, 0.06)), r"its chromaticity \(0.31, 0\) is none"),
        (Primaries((0.31, 0.33), (1.64, 0.33), (0.3, 0.6), (0.15, 0.06)), r"its chromaticity \(1.64, 0.33\) is none"),
    ],
)  # fmt: skip
def test_primaries_that_are_none(primaries: Primaries, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        rgb_profile("a", primaries, SRGB_CURVE)
