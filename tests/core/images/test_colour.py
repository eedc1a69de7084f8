"""Pictures of every file type and mode are converted to sRGB from their declared colours; checked by our own
arithmetic.
"""

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, features

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
    rgb_profile,
)
from kontext_core.images.picture_files import from_bytes, from_pil

ADOBE = rgb_profile("Adobe RGB (1998)", ADOBE_PRIMARIES, ADOBE_CURVE)
P3 = rgb_profile("Display P3", P3_PRIMARIES, SRGB_CURVE)
COLOURS = ((40, 180, 60), (200, 30, 90), (128, 128, 128), (255, 255, 255), (0, 0, 0), (17, 60, 140))
KINDS = ["PNG", "JPEG", "TIFF", "WEBP", *(["AVIF"] if features.check("avif") else [])]
TO_SRGB = np.array(  # from XYZ under D65, IEC 61966-2-1
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)


def light(value: float, curve: Curve) -> float:
    if curve == SRGB_CURVE:
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
    return value**curve.gamma


def shown(linear: np.ndarray) -> list[float]:
    linear = linear.clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).tolist()


def in_srgb(stored: Sequence[int], primaries: Primaries, curve: Curve) -> list[float]:
    """Convert a colour to sRGB by way of XYZ. All whites here are D65."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries[1:]]).T
    white = np.array([primaries.white[0] / primaries.white[1], 1, 0])
    white[2] = (1 - sum(primaries.white)) / primaries.white[1]
    linear = np.array([light(value / 255, curve) for value in stored])
    return shown(TO_SRGB @ (columns * np.linalg.solve(columns, white)) @ linear)


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {}), **options)
    return file.getvalue()


def pixel(data: bytes) -> list[float]:
    return from_bytes(data, "photo")[0, 4, 4].tolist()


def near(values: Sequence[float]) -> Any:
    return pytest.approx(values, abs=2 / 255)


@pytest.mark.parametrize("colour", COLOURS, ids=str)
@pytest.mark.parametrize(
    ("data", "primaries", "curve"),
    [(ADOBE, ADOBE_PRIMARIES, ADOBE_CURVE), (P3, P3_PRIMARIES, SRGB_CURVE)],
    ids=["Adobe RGB", "Display P3"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_profile_is_followed(
    kind: str, data: bytes, primaries: Primaries, curve: Curve, colour: tuple[int, int, int]
) -> None:
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "AVIF" else {}
    file = saved(Image.new("RGB", (8, 8), colour), kind, icc_profile=data, **options)
    slack = 5 / 255 if kind == "AVIF" else 2 / 255  # which loses some, also at its best
    assert pixel(file) == pytest.approx(in_srgb(colour, primaries, curve), abs=slack)


def test_what_srgb_can_show_differs_where_the_profile_says_so() -> None:
    """The conversion above is not an identity: the colour seen differs from the file's numbers."""
    seen = in_srgb(COLOURS[1], ADOBE_PRIMARIES, ADOBE_CURVE)
    assert max(abs(a - b / 255) for a, b in zip(seen, COLOURS[1], strict=True)) > 20 / 255


def test_transparent_colours_are_followed_and_then_lie_on_white() -> None:
    picture = Image.new("RGBA", (8, 8), (*COLOURS[1], 51))
    seen = in_srgb(COLOURS[1], ADOBE_PRIMARIES, ADOBE_CURVE)
    mixed = [0.2 * value + 0.8 for value in seen]
    for kind in ("PNG", "TIFF"):
        assert pixel(saved(picture, kind, icc_profile=ADOBE)) == near(mixed)
    assert np.asarray(picture)[0, 0].tolist() == [*COLOURS[1], 51], "the caller's picture stays as it is"


def test_a_palette_is_of_the_profiles_colours() -> None:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, *COLOURS[0]])
    seen = in_srgb(COLOURS[0], ADOBE_PRIMARIES, ADOBE_CURVE)
    assert pixel(saved(picture, "PNG", icc_profile=ADOBE)) == near(seen)
    assert pixel(saved(picture, "PNG", icc_profile=ADOBE, transparency=0)) == near(seen)


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_greys_follow_a_profile_of_greys(mode: str) -> None:
    linear = grey_profile("linear", Curve(1.0))
    if mode == "I;16":
        picture = Image.fromarray(np.full((8, 8), 12_900, np.uint16))
        stored = 12_900 / 65_535
    else:
        picture, stored = Image.new(mode, (8, 8), 51 if mode == "L" else (51, 255)), 0.2
    [right] = {round(value, 6) for value in shown(np.full(3, stored))}
    slack = 1e-3 if mode == "I;16" else 1 / 255  # of which not all can be in 8 bit
    assert pixel(saved(picture, "PNG", icc_profile=linear)) == pytest.approx([right] * 3, abs=slack)


def test_sixteen_bit_keeps_its_steps_through_a_profile() -> None:
    ramp = np.arange(30_000, 30_064, dtype=np.uint16).repeat(8).reshape(64, 8)
    data = saved(Image.fromarray(ramp), "TIFF", icc_profile=grey_profile("linear", Curve(1.0)))
    column = from_bytes(data, "a.tif")[0, :, 0, 0]
    assert (column.diff() > 0).sum() > 40, "and not one step of 8 bit"


def test_deep_greys_follow_the_curve_of_a_profile_of_colours() -> None:
    data = saved(Image.fromarray(np.full((8, 8), 12_900, np.uint16)), "TIFF", icc_profile=ADOBE)
    assert pixel(data) == pytest.approx(shown(np.full(3, (12_900 / 65_535) ** (563 / 256))), abs=1e-3)


def test_deep_greys_of_srgb_keep_every_bit() -> None:
    picture = Image.fromarray(np.arange(0, 65_536, 16, dtype=np.uint16).reshape(64, 64))
    named = grey_profile("grey of sRGB", SRGB_CURVE)
    assert torch.equal(from_bytes(saved(picture, "TIFF", icc_profile=named), "a"), from_pil(picture))


def test_deep_greys_with_a_profile_that_cannot_be_used(caplog: pytest.LogCaptureFixture) -> None:
    picture = Image.fromarray(np.arange(0, 65_536, 16, dtype=np.uint16).reshape(64, 64))
    assert torch.equal(from_bytes(saved(picture, "TIFF", icc_profile=b"rubbish"), "a"), from_pil(picture))
    assert caplog.messages == ["a: its colour profile is ignored (it is cut off)"]


def test_a_grey_photograph_with_a_profile_of_colours_follows_its_curve() -> None:
    file = saved(Image.new("L", (8, 8), 51), "JPEG", icc_profile=rgb_profile("a", SRGB_PRIMARIES, Curve(1.0)))
    assert pixel(file) == near(shown(np.full(3, 0.2)))


def cmyk_profile() -> bytes:
    """A printer profile: full black is L 20, one ink is L 60 in its own hue, and table corners define the
    rest.
    """
    corners = b""
    for corner in range(16):
        cyan, magenta, yellow, black = (corner >> 3 & 1, corner >> 2 & 1, corner >> 1 & 1, corner & 1)
        lightness = 20 if black else 100 - 40 * (cyan + magenta) * 0.75 - 10 * yellow
        a, b = (0, 0) if black else (-40 * cyan + 60 * magenta, -40 * cyan + 70 * yellow)
        corners += bytes([round(max(lightness, 0) * 2.55), a + 128, b + 128])
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table += ramp * 4 + corners + ramp * 3
    about = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78)
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    tags = [(b"desc", about), (b"cprt", b"text\0\0\0\0none\0"), (b"wtpt", white)]
    back = b"mft1\0\0\0\0" + bytes([3, 4, 2, 0]) + struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    back += ramp * 3 + bytes([0, 0, 0, 255]) * 4 + bytes(16) + ramp * 4
    tags += [(b"A2B0", table), (b"A2B1", table), (b"B2A0", back)]
    index, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags:
        index += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab ")
    head += (
        struct.pack(">6H", 2020, 1, 1, 0, 0, 0)
        + b"acsp"
        + bytes(28)
        + struct.pack(">3i", 63190, 65536, 54061)
    )
    return head + bytes(128 - len(head)) + index + body


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_inks_follow_their_printer(kind: str) -> None:
    """Paper is white, black ink is black (though it reflects some light), and magenta differs from a
    screen's.
    """
    data = cmyk_profile()

    def printed(*inks: int) -> list[float]:
        return pixel(saved(Image.new("CMYK", (8, 8), inks), kind, icc_profile=data))

    assert printed(0, 0, 0, 0) == near([1, 1, 1])
    assert max(printed(0, 0, 0, 255)) < 10 / 255, "the black point is compensated"
    red, green, blue = printed(0, 255, 0, 0)
    assert red > 0.75
    assert 0.2 < green < 0.6, "without the profile it is 0"
    assert blue > 0.5


def test_lab_is_read() -> None:
    """L 54.3, a 80.8, b 69.9 is the red of sRGB under D50."""
    picture = Image.new("LAB", (8, 8), (round(54.3 * 2.55), 81 + 128, 70 + 128))
    assert pixel(saved(picture, "TIFF")) == pytest.approx([1, 0, 0], abs=0.03)


def test_the_same_srgb_under_another_name_changes_no_pixel() -> None:
    picture = Image.effect_noise((32, 32), 90).convert("RGB")
    other = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert torch.equal(from_bytes(saved(picture, "PNG", icc_profile=other), "a"), from_pil(picture))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"rubbish", "cannot open profile"),
        (ADOBE[:200], "cannot open profile|cannot build"),
        (grey_profile("grey", Curve(1.0)), "it is for GRAY, but the picture is RGB"),
        (cmyk_profile(), "it is for CMYK, but the picture is RGB"),
    ],
    ids=["rubbish", "cut off", "greys", "inks"],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_profile_that_cannot_be_used_is_said_and_ignored(
    kind: str, data: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    picture = Image.effect_noise((16, 16), 90).convert("RGB")
    plain, profiled = (
        from_bytes(saved(picture, kind, **more), "photo") for more in ({}, {"icc_profile": data})
    )
    assert torch.equal(plain, profiled)
    [message] = caplog.messages
    assert message.startswith("photo: its colour profile is ignored (")
    assert any(part in message for part in reason.split("|"))
    assert message.endswith(")")


def test_without_a_colour_engine_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*_: Any) -> None:
        raise ImportError("The _imagingcms C module is not installed")

    monkeypatch.setattr(ImageCms, "ImageCmsProfile", missing)
    assert pixel(saved(Image.new("RGB", (8, 8), "red"), "PNG", icc_profile=ADOBE)) == [1, 0, 0]
    assert "its colour profile is ignored (The _imagingcms C module is not installed)" in caplog.text


def with_chunks(*chunks: tuple[bytes, bytes], stored: tuple[int, int, int] = COLOURS[1]) -> bytes:
    """A PNG of 8 x 8 px with chunks before its pixels."""
    data = saved(Image.new("RGB", (8, 8), stored), "PNG")
    extra = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    return data[:33] + extra + data[33:]


def gamma(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(value * 100_000))


def chromaticity(primaries: Primaries) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(value * 100_000) for pair in primaries for value in pair))


def iccp(data: bytes) -> tuple[bytes, bytes]:
    return b"iCCP", b"a\0\0" + zlib.compress(data)


SRGB_CHUNK = (b"sRGB", b"\0")


@pytest.mark.parametrize(
    ("chunks", "primaries", "curve"),
    [
        ([gamma(0.45455)], SRGB_PRIMARIES, SRGB_CURVE),
        ([gamma(0.45455), chromaticity(SRGB_PRIMARIES)], SRGB_PRIMARIES, SRGB_CURVE),
        ([gamma(1.0)], SRGB_PRIMARIES, Curve(1.0)),
        ([gamma(0.55556)], SRGB_PRIMARIES, Curve(1.8)),
        ([gamma(0.45455), chromaticity(ADOBE_PRIMARIES)], ADOBE_PRIMARIES, SRGB_CURVE),
        ([chromaticity(P3_PRIMARIES)], P3_PRIMARIES, SRGB_CURVE),
        ([SRGB_CHUNK, gamma(1.0)], SRGB_PRIMARIES, SRGB_CURVE),
        ([iccp(ADOBE), gamma(1.0)], ADOBE_PRIMARIES, ADOBE_CURVE),
        ([(b"cICP", bytes([12, 13, 0, 1])), iccp(ADOBE)], P3_PRIMARIES, SRGB_CURVE),
        ([(b"cICP", bytes([9, 8, 0, 1]))], BT2020_PRIMARIES, Curve(1.0)),
        ([(b"cICP", bytes([1, 13, 0, 1])), gamma(1.0)], SRGB_PRIMARIES, SRGB_CURVE),
    ],
)
def test_what_a_png_says_in_its_chunks(
    chunks: list[tuple[bytes, bytes]], primaries: Primaries, curve: Curve, caplog: pytest.LogCaptureFixture
) -> None:
    assert pixel(with_chunks(*chunks)) == near(in_srgb(COLOURS[1], primaries, curve))
    assert not caplog.messages


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        ((b"iCCP", b"a\0\0no zlib"), "Error -3 while decompressing"),
        ((b"iCCP", b"a\0\0" + zlib.compress(ADOBE)[:-20]), "it is cut off"),
        (iccp(bytes(20 * 2**20)), "it is cut off, or has more than 16 MiB"),
        ((b"iCCP", b"no null"), "subsection not found"),
        (gamma(0.0), "its gamma of 0 is none"),
        (chromaticity(Primaries((0.3, 0.3), (0.2, 0.2), (0.3, 0.3), (0.4, 0.4))), "its primaries span no colours"),
        (
            chromaticity(Primaries((1.0, 1e-5), (1e-5, 1e-5), (1e-5, 2e-5), (1.0, 1.0))),
            "its numbers are larger than a profile can hold",
        ),
        ((b"cICP", bytes([9, 16, 0, 1])), r"its cICP chunk names colours that are not read here (9, 16, 0, 1)"),
        ((b"cICP", b"\1"), "not enough values"),
    ],
)  # fmt: skip
def test_chunks_that_are_damaged_or_of_brighter_screens_are_said_and_ignored(
    chunk: tuple[bytes, bytes], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert pixel(with_chunks(chunk)) == pytest.approx([value / 255 for value in COLOURS[1]])
    assert reason in caplog.text


def test_what_cannot_be_used_gives_way_to_what_can(caplog: pytest.LogCaptureFixture) -> None:
    brighter = (b"cICP", bytes([9, 16, 0, 1]))
    right = in_srgb(COLOURS[1], ADOBE_PRIMARIES, ADOBE_CURVE)
    assert pixel(with_chunks(brighter, iccp(ADOBE))) == near(right)
    assert pixel(with_chunks((b"iCCP", b"a\0\0no zlib"), gamma(1.0))) == (
        near(in_srgb(COLOURS[1], SRGB_PRIMARIES, Curve(1.0)))
    )
    assert len(caplog.messages) == 2


def test_a_profile_of_more_than_pillow_inflates_is_followed() -> None:
    """Printer makers publish profiles of 3 MiB; Pillow refuses a PNG whose profile has more than 1 MiB."""
    large = ADOBE + bytes(3 * 2**20)
    large = struct.pack(">I", len(large)) + large[4:]
    assert pixel(with_chunks(iccp(large))) == near(in_srgb(COLOURS[1], ADOBE_PRIMARIES, ADOBE_CURVE))


def exif(space: int | None, index: str | None) -> Image.Exif:
    data = Image.Exif()
    data[0x8769] = {
        tag: value
        for tag, value in ((0xA001, space), (0xA005, {1: index} if index else None))
        if value is not None
    }
    return data


@pytest.mark.parametrize(
    ("space", "index", "adobe"),
    [(2, None, True), (0xFFFF, "R03", True), (2, "R03", True), (1, "R98", False), (0xFFFF, None, False), (None, None, False)],
)  # fmt: skip
def test_a_camera_says_in_exif_that_it_wrote_adobe_rgb(
    space: int | None, index: str | None, adobe: bool
) -> None:
    right = in_srgb(COLOURS[1], *((ADOBE_PRIMARIES, ADOBE_CURVE) if adobe else (SRGB_PRIMARIES, SRGB_CURVE)))
    picture = Image.new("RGB", (8, 8), COLOURS[1])
    assert pixel(saved(picture, "JPEG", exif=exif(space, index))) == near(right)
    seen = in_srgb(COLOURS[1], P3_PRIMARIES, SRGB_CURVE)
    assert pixel(saved(picture, "JPEG", exif=exif(space, index), icc_profile=P3)) == near(seen), (
        "a profile counts more"
    )


def test_a_turned_picture_keeps_its_profile() -> None:
    data = Image.Exif()
    data[0x0112] = 6
    picture = Image.new("RGB", (8, 16), COLOURS[1])
    image = from_bytes(saved(picture, "JPEG", exif=data, icc_profile=ADOBE), "a.jpg")
    assert image.shape == (1, 8, 16, 3)
    assert image[0, 4, 4].tolist() == near(in_srgb(COLOURS[1], ADOBE_PRIMARIES, ADOBE_CURVE))
