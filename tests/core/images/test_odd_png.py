"""PNG files of few and many bits per pixel: transparent colours, and damage that decoding does not notice."""

import struct
import zlib

import pytest
from PIL import Image

from kontext_core.images.picture_files import from_bytes, from_pil


def stored_png(depth: int, kind: int, line: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of one pixel.

    Args:
        kind: of its colours.
        line: bytes of the pixel.
    """
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, depth, kind, 0, 0, 0)),
        *chunks,
        (b"IDAT", zlib.compress(b"\0" + line)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )


@pytest.mark.parametrize(
    ("depth", "kind", "line", "key", "colour"),
    [
        (1, 0, b"\0", (0,), (1, 1, 1)),
        (2, 0, b"\x40", (1,), (1, 1, 1)),
        (2, 0, b"\x40", (2,), (85 / 255,) * 3),
        (4, 0, b"\x50", (5,), (1, 1, 1)),
        (4, 0, b"\x50", (4,), (85 / 255,) * 3),
        (8, 0, b"\x50", (80,), (1, 1, 1)),
        (16, 0, b"\x50\1", (0x5001,), (1, 1, 1)),
        (8, 2, b"\1\2\3", (1, 2, 3), (1, 1, 1)),
        (16, 2, b"\xff\xff\x80\0\0\x80", (65535, 32768, 128), (1, 1, 1)),
        (16, 2, b"\1\0\2\0\3\0", (1, 2, 3), (1 / 255, 2 / 255, 3 / 255)),
    ],
)
def test_the_transparent_colour_of_a_png_has_the_depth_of_its_pixels(
    depth: int, kind: int, line: bytes, key: tuple[int, ...], colour: tuple[float, ...]
) -> None:
    image = from_bytes(stored_png(depth, kind, line, (b"tRNS", struct.pack(f">{len(key)}H", *key))), "a.png")
    assert image[0, 0, 0].tolist() == pytest.approx(colour)


def test_damage_that_shows_behind_decoding_is_one_sentence() -> None:
    alphas = stored_png(8, 3, b"\0", (b"PLTE", b"\1\2\3"), (b"tRNS", bytes(300)))
    with pytest.raises(ValueError, match=r"^a\.png is not a picture that can be read \(palette index out"):
        from_bytes(alphas, "a.png")
    picture = Image.new("RGB", (4, 2))
    picture.info["transparency"] = "red"
    with pytest.raises(ValueError, match=r"^the picture is not a picture that can be read"):
        from_pil(picture)
