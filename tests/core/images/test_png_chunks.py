"""PNG files chunk by chunk: the chunks are those that Pillow wrote, and damaged files are refused."""

import io
import struct
import zlib
from collections.abc import Callable

import pytest
from PIL import Image, PngImagePlugin

from kontext_core.images.png_chunks import MOST_INFLATED, TEXT_KINDS, Png


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def written(*texts: Callable[[PngImagePlugin.PngInfo], None]) -> bytes:
    info, file = PngImagePlugin.PngInfo(), io.BytesIO()
    for add in texts:
        add(info)
    Image.effect_noise((31, 20), 50).save(file, "PNG", pnginfo=info)
    return file.getvalue()


@pytest.mark.parametrize(
    "add",
    [
        lambda info: info.add_itxt("key", "Stück \U0001f600", "de", "Schlüssel"),
        lambda info: info.add_itxt("key", "Stück \U0001f600", zip=True),
        lambda info: info.add(b"iTXt", b"key\0\0\0\0\0" + "Stück \U0001f600".encode(), True),
    ],
    ids=["plain", "deflated", "behind the pixels"],
)
def test_a_text_is_what_was_written(add: Callable[[PngImagePlugin.PngInfo], None]) -> None:
    png = Png(written(lambda info: info.add_text("other", "x"), add))
    assert png.text("key", 1000) == "Stück \U0001f600"
    assert png.text("ke", 1000) is None
    assert png.size_px == (20, 31)


@pytest.mark.parametrize("deflated", [False, True])
def test_texts_of_the_older_kinds(deflated: bool) -> None:
    png = Png(written(lambda info: info.add_text("key", "Stück", zip=deflated)))
    assert png.text("key", 1000) == "Stück"


def test_the_last_of_two_counts_as_in_pillow() -> None:
    data = written(lambda info: info.add_itxt("key", "first"), lambda info: info.add_itxt("key", "last"))
    assert Png(data).text("key", 100) == Image.open(io.BytesIO(data)).text["key"] == "last"


def test_a_text_is_taken_up_to_its_most() -> None:
    png = Png(written(lambda info: info.add_text("key", "x" * 96)))
    assert png.text("key", 100) == "x" * 96
    with pytest.raises(ValueError, match="its text 'key' has 100 bytes, but 99 is the maximum"):
        png.text("key", 99)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_what_was_deflated_is_read_up_to_a_mebibyte(kind: bytes) -> None:
    head = b"key\0" + (b"\0" if kind == b"zTXt" else b"\1\0\0\0")
    plain = written()
    for size, right in ((MOST_INFLATED, True), (MOST_INFLATED + 1, False), (200 * MOST_INFLATED, False)):
        png = Png(plain[:33] + chunk(kind, head + zlib.compress(b"x" * size)) + plain[33:])
        if right:
            assert len(png.text("key", 10**9) or "") == size
        else:
            with pytest.raises(ValueError, match="is cut off, or has more than 1048576 bytes"):
                png.text("key", 10**9)
    with pytest.raises(ValueError, match="its deflated text is damaged"):
        Png(plain[:33] + chunk(kind, head + b"rubbish") + plain[33:]).text("key", 10**9)


def test_without_its_texts_the_picture_is_the_same() -> None:
    data = written(lambda info: info.add_text("a", "x" * 999), lambda info: info.add_itxt("b", "y" * 999))
    bare = Png(data).without(TEXT_KINDS)
    assert len(bare) < len(data) - 1998
    with Image.open(io.BytesIO(bare)) as picture, Image.open(io.BytesIO(data)) as whole:
        assert picture.tobytes() == whole.tobytes()
        assert picture.text == {}
    assert Png(data).without((b"none",)) is data, "and nothing is copied where nothing goes"


def test_what_is_no_png_file() -> None:
    data = written()
    for damaged, sentence in (
        (b"hello", "no PNG signature"), (b"", "no PNG signature"), (data[:8], "its end is missing"),
        (data[:-1], "its end is missing"), (data[:-12], "its end is missing"), (data[:40], "its end is missing"),
        (data[:8] + data[33:], "it has no header"), (data[:8] + chunk(b"IHDR", b"short") + data[33:], "it has no header"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=sentence):
            Png(damaged)


def test_a_chunk_that_says_to_be_longer_than_the_file() -> None:
    data = written()
    with pytest.raises(ValueError, match="its end is missing"):
        Png(data[:33] + b"\xff\xff\xff\xfftEXt" + data[33:])
