"""Picture files become tensors or are refused in one sentence; written ones are read back unchanged."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageFile, PngImagePlugin, features
from torch import Tensor

from kontext_core.images import picture_files
from kontext_core.images.picture_files import (
    MOST_PIXELS,
    check_size,
    from_bytes,
    from_file,
    from_pil,
    to_pil,
    write_png,
)

Pictures = Callable[..., Tensor]


def coloured(mode: str, colour: object, size: tuple[int, int] = (4, 2)) -> Image.Image:
    return Image.new(mode, size, colour)


def palette(transparent: bool) -> Image.Image:
    """Index 0 red, index 1 blue; the left half is 0, which may be transparent."""
    picture = Image.new("P", (4, 2), 1)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.paste(0, (0, 0, 2, 2))
    if transparent:
        picture.info["transparency"] = 0
    return picture


@pytest.mark.parametrize(
    ("picture", "colour"),
    [
        (coloured("RGB", (255, 0, 51)), (1.0, 0.0, 0.2)),
        (coloured("L", 51), (0.2, 0.2, 0.2)),
        (coloured("1", 1), (1.0, 1.0, 1.0)),
        (coloured("RGBA", (255, 0, 0, 255)), (1.0, 0.0, 0.0)),
        (coloured("RGBA", (255, 0, 0, 0)), (1.0, 1.0, 1.0)),
        (coloured("RGBA", (0, 0, 0, 51)), (0.8, 0.8, 0.8)),
        (coloured("LA", (0, 0)), (1.0, 1.0, 1.0)),
        (coloured("LA", (51, 255)), (0.2, 0.2, 0.2)),
        (coloured("CMYK", (0, 255, 255, 0)), (1.0, 0.0, 0.0)),
        (coloured("YCbCr", (255, 128, 128)), (1.0, 1.0, 1.0)),
        (palette(transparent=False), (1.0, 0.0, 0.0)),
        (palette(transparent=True), (1.0, 1.0, 1.0)),
        (coloured("I", 65535), (1.0, 1.0, 1.0)),
        (coloured("I", 13107), (0.2, 0.2, 0.2)),
        (coloured("F", 0.2), (0.2, 0.2, 0.2)),
        (coloured("F", 13107.0), (0.2, 0.2, 0.2)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_every_mode_of_pil(picture: Image.Image, colour: tuple[float, float, float]) -> None:
    """Return the first pixel; transparency is shown on white."""
    image = from_pil(picture)
    assert image.shape == (1, 2, 4, 3)
    assert image.dtype == torch.float32
    assert image[0, 0, 0].tolist() == pytest.approx(colour, abs=1e-6)


def test_a_palette_keeps_what_is_not_transparent() -> None:
    assert from_pil(palette(transparent=True))[0, 0, 3].tolist() == [0.0, 0.0, 1.0]


def test_sixteen_bit_grey_keeps_its_steps() -> None:
    """Read as the PNG stores it: not cut to 8 bit, not clipped to white."""
    grey = np.array([[0, 300, 301, 65535]], dtype=np.uint16)
    picture = Image.fromarray(grey)
    assert picture.mode == "I;16"
    assert from_pil(picture)[0, 0, :, 0].tolist() == pytest.approx([0, 300 / 65535, 301 / 65535, 1])


def test_sixteen_bit_png(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("png") / "grey.png"
    Image.fromarray(np.full((2, 4), 13107, dtype=np.uint16)).save(path)
    with Image.open(path) as picture:
        assert from_pil(picture)[0, 0, 0].tolist() == pytest.approx([0.2] * 3)


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, (0, 0)), (2, (0, 3)), (3, (1, 3)), (4, (1, 0)), (5, (0, 0)), (6, (0, 1)), (7, (3, 1)), (8, (3, 0))],
)
def test_turned_as_exif_says(orientation: int, corner: tuple[int, int]) -> None:
    """Return where the stored picture's upper left pixel should appear."""
    picture = coloured("RGB", "black")
    picture.putpixel((0, 0), (255, 255, 255))
    picture.getexif()[0x0112] = orientation
    image = from_pil(picture)
    assert image.shape == ((1, 2, 4, 3) if orientation <= 4 else (1, 4, 2, 3))
    assert image[0, *corner].tolist() == [1.0, 1.0, 1.0]
    assert image.sum() == 3


def test_out_to_pil_and_back(pictures: Pictures) -> None:
    image = (pictures(5, 7, batch=2) * 255).round() / 255
    picture = to_pil(image)
    assert (picture.mode, picture.size) == ("RGB", (7, 5))
    torch.testing.assert_close(from_pil(picture), image[:1])
    assert to_pil(torch.tensor([[[[-1.0, 0.5, 2.0]]]])).getpixel((0, 0)) == (0, 128, 255)


def grey_tiff(path: Path, values: Any, dtype: Any, tags: dict[int, Any] | None = None) -> Path:
    """A TIFF of one row.

    Args:
        dtype: of its numbers.
    """
    Image.fromarray(np.array([values], dtype=dtype)).save(path, "TIFF", tiffinfo=tags or {})
    return path


def raw_tiff(order: str, bits: int, sample_format: int, data: bytes, photometric: int = 1) -> bytes:
    """A TIFF of one row of greys, as other programs write them.

    Args:
        order: "II" or "MM".
    """
    sign = "<" if order == "II" else ">"
    width = len(data) * 8 // bits
    entries = [(256, 3, width), (257, 3, 1), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8)]
    entries += [(277, 3, 1), (278, 3, 1), (279, 4, len(data)), (339, 3, sample_format)]
    head = order.encode() + struct.pack(f"{sign}HI", 42, 8 + len(data) + len(data) % 2)
    table = struct.pack(f"{sign}H", len(entries))
    for tag, kind, value in entries:
        body = struct.pack(f"{sign}HH" if kind == 3 else f"{sign}I", *((value, 0) if kind == 3 else (value,)))
        table += struct.pack(f"{sign}HHI", tag, kind, 1) + body
    return head + data + bytes(len(data) % 2) + table + bytes(4)


@pytest.mark.parametrize(
    ("values", "greys"),
    [
        ([0.0, 0.25, 1.0], [0, 0.25, 1]),
        ([0.0, 0.0, 0.1], [0, 0, 0.1]),
        ([0.0, 156.0, 255.0], [0, 156 / 255, 1]),
        ([0.0, 156.0, 156.0], [0, 156 / 255, 156 / 255]),
        ([0.0, 13107.0, 65535.0], [0, 0.2, 1]),
        ([0.0, 2.5, 3.0], [0, 2.5 / 255, 3 / 255]),
    ],
)
def test_floating_point_greys_have_the_white_of_their_range(
    tmp_path: Path, values: list[float], greys: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    image = from_file(grey_tiff(tmp_path / "a.tif", values, np.float32))
    assert image[0, 0, :, 0].tolist() == pytest.approx(greys, abs=1e-6)
    assert not caplog.messages


def test_greys_that_pass_their_white_a_little_are_white_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = from_file(grey_tiff(tmp_path / "a.tif", [0.5, 1.25], np.float32))
    assert image[0, 0, :, 0].tolist() == [0.5, 1.0]
    assert caplog.messages == [
        f"{tmp_path / 'a.tif'} holds greys up to 1.25 where 1 is white; what is brighter is white too"
    ]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([0.5, float("nan")], r"a\.tif holds greys that are not finite"),
        ([0.5, float("inf")], r"a\.tif holds greys that are not finite"),
        (
            [0.5, -0.25],
            r"a\.tif holds greys below 0, down to -0\.25; save it with 0 as black and 1, 255 or 65535",
        ),
        (
            [0.5, 1e9],
            r"a\.tif holds greys up to 1e\+09; save it with 0 as black and 1, 255 or 65535 as white",
        ),
    ],
)
def test_greys_without_a_white_are_refused(tmp_path: Path, values: list[float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        from_file(grey_tiff(tmp_path / "a.tif", values, np.float32))


@pytest.mark.parametrize(
    ("order", "bits", "sample_format", "values", "greys"),
    [
        ("II", 16, 1, struct.pack("<3H", 0, 13107, 65535), [0, 0.2, 1]),
        ("MM", 16, 1, struct.pack(">3H", 0, 13107, 65535), [0, 0.2, 1]),
        ("II", 16, 1, struct.pack("<3H", 0, 100, 200), [0, 100 / 65535, 200 / 65535]),
        ("II", 16, 2, struct.pack("<2h", 0, 32767), [0, 1]),
        ("MM", 16, 2, struct.pack(">2h", 0, 16384), [0, 16384 / 32767]),
        ("II", 12, 1, bytes([0x00, 0x0F, 0xFF]), [0, 1]),
        ("II", 32, 1, struct.pack("<2I", 0, 2**32 - 1), [0, 1]),
        ("II", 32, 1, struct.pack("<2I", 51, 255), [0.2, 1]),
        ("II", 32, 2, struct.pack("<2i", 13107, 65535), [0.2, 1]),
        ("MM", 32, 2, struct.pack(">2i", 0, 2**31 - 1), [0, 1]),
        ("MM", 32, 3, struct.pack(">2f", 0.25, 1), [0.25, 1]),
    ],
)
def test_deep_greys_of_tiff(
    order: str, bits: int, sample_format: int, values: bytes, greys: list[float]
) -> None:
    image = from_bytes(raw_tiff(order, bits, sample_format, values), "a.tif")
    assert image[0, 0, :, 0].tolist() == pytest.approx(greys, abs=1e-6)


def test_signed_greys_below_zero_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^a\.tif holds greys below 0, down to -3; "):
        from_bytes(raw_tiff("II", 16, 2, struct.pack("<2h", -3, 5)), "a.tif")


def test_white_may_be_zero() -> None:
    """Scanners write such files. Pillow inverts 8 bit, but nothing deeper."""
    deep = from_bytes(raw_tiff("II", 16, 1, struct.pack("<3H", 0, 13107, 65535), photometric=0), "a.tif")
    assert deep[0, 0, :, 0].tolist() == pytest.approx([1, 0.8, 0], abs=1e-6)
    shallow = from_bytes(raw_tiff("II", 8, 1, bytes([0, 51]), photometric=0), "a.tif")
    assert shallow[0, 0, :, 0].tolist() == pytest.approx([1, 0.8], abs=1e-6)


def test_a_transparent_grey_of_sixteen_bit_lies_on_white() -> None:
    file = io.BytesIO()
    Image.fromarray(np.array([[300, 301]], np.uint16)).save(file, "PNG", transparency=300)
    assert from_bytes(file.getvalue(), "a.png")[0, 0, :, 0].tolist() == pytest.approx([1, 301 / 65535])


@pytest.mark.parametrize(
    ("kind", "name"), [("GIF", "gif"), ("WEBP", "webp"), ("PNG", "png"), ("TIFF", "tif")]
)
def test_of_several_pictures_the_first_is_taken_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, name: str
) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue", "lime")]
    path = tmp_path / f"a.{name}"
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(path, kind, save_all=True, append_images=frames[1:], **options)
    image = from_file(path)
    assert image[0, 0, 0].tolist() == [1, 0, 0]
    assert caplog.messages == [f"{path} holds 3 pictures; the first one is used"]


def test_of_a_phones_two_pictures_nothing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The second is a preview or a map of depth."""
    small = Image.new("RGB", (3, 2), "blue")
    Image.new("RGB", (6, 4), "red").save(tmp_path / "a.mpo", "MPO", save_all=True, append_images=[small])
    assert from_file(tmp_path / "a.mpo").shape == (1, 4, 6, 3)
    assert not caplog.messages


def png_of(width: int, height: int, *chunks: tuple[bytes, bytes], body: bytes | None = None) -> bytes:
    """Make a grey PNG with the given size in its header; without a body, all of it is 0."""
    head = struct.pack(">II5B", width, height, 8, 0, 0, 0, 0)
    parts = [
        (b"IHDR", head),
        *chunks,
        (b"IDAT", body or zlib.compress(bytes((width + 1) * height))),
        (b"IEND", b""),
    ]
    made = b"\x89PNG\r\n\x1a\n"
    for kind, data in parts:
        made += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return made


def test_too_many_pixels_are_refused_before_one_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as hosts set it
    (tmp_path / "a.png").write_bytes(png_of(20_000, 10_000, body=b"none"))
    with pytest.raises(
        ValueError,
        match=r"a\.png is too large a picture, 20000 x 10000 px; 179 million pixels is the maximum",
    ):
        from_file(tmp_path / "a.png")


def test_the_most_pixels_are_taken_and_one_more_is_not() -> None:
    check_size(1, MOST_PIXELS, MOST_PIXELS, "a.png")
    with pytest.raises(ValueError, match=r"^a\.png is too large a picture"):
        check_size(1, MOST_PIXELS + 1, MOST_PIXELS, "a.png")


def test_a_program_that_draws_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(ValueError, match=r"a\.png is not a picture but a program that draws one \(EPS\)"):
        from_file(tmp_path / "a.png")


def test_texts_of_any_size_are_passed_over() -> None:
    """Pillow gives up above 64 MiB, and on 1 MiB that was deflated."""
    long, bomb = b"a\0" + bytes(70 * 2**20), b"a\0\0" + zlib.compress(bytes(8 * 2**20))
    for chunk in ((b"tEXt", long), (b"zTXt", bomb), (b"iTXt", b"a\0\1\0\0\0" + bomb[3:])):
        assert from_bytes(png_of(3, 2, chunk), "a.png").shape == (1, 2, 3, 3)


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "TGA", "ICO", "JPEG2000"]
)
def test_damaged_files_of_every_kind_end_in_a_sentence(kind: str) -> None:
    exif, file, dice = Image.Exif(), io.BytesIO(), random.Random(kind)
    exif[0x0112] = 6
    if kind in ("PNG", "JPEG", "WEBP"):
        exif[0x8769] = {0xA001: 2}
    options = {"exif": exif} if kind in ("PNG", "JPEG", "TIFF", "WEBP") else {}
    Image.effect_noise((24, 16), 80).convert("RGB").save(file, kind, **options)
    whole = file.getvalue()
    from_bytes(whole, "a")
    faults: list[str] = []
    for _ in range(60):
        data = bytearray(whole[: dice.choice((len(whole), dice.randrange(20, len(whole))))])
        for _ in range(dice.randrange(1, 8)):
            data[dice.randrange(min(len(data), 200))] = dice.randrange(256)
        try:
            from_bytes(bytes(data), "a")
        except ValueError as error:
            faults.append(str(error))
    assert faults
    assert [fault for fault in faults if not fault.startswith("a ")] == []


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "TIFF", "WEBP", *(["AVIF"] if features.check("avif") else [])]
)
def test_files_of_every_kind_are_turned_once(kind: str) -> None:
    """This includes files that Pillow rotates while loading."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    stored = Image.new("RGB", (8, 16), "black")
    stored.paste("white", (0, 0, 4, 8))
    stored.save(file, kind, exif=exif)
    for image in (from_bytes(file.getvalue(), "a"), from_pil(Image.open(file))):
        assert image.shape == (1, 8, 16, 3)
        assert [round(value) for value in image[0, 2, [2, 13], 0].tolist()] == [0, 1]


def test_damaged_exif_is_said_and_the_picture_is_read(caplog: pytest.LogCaptureFixture) -> None:
    file = io.BytesIO()
    Image.new("RGB", (6, 4), "red").save(file, "PNG", exif=b"II*\0")
    assert from_bytes(file.getvalue(), "a.png")[0, 0, 0].tolist() == [1, 0, 0]
    assert "a.png: its EXIF is damaged, so its orientation is not known" in caplog.text


def test_a_file_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^there is no file .*none\.png$"):
        from_file(tmp_path / "none.png")
    with pytest.raises(ValueError, match=rf"^{tmp_path} is a folder, not a picture$"):
        from_file(tmp_path)
    with pytest.raises(ValueError, match=r"cannot be read: File name too long"):
        from_file(tmp_path / ("a" * 300))
    for data in (b"hello", b"", b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(
            ValueError, match=r"^b is not a picture .* \(it does not start like a picture, or"
        ):
            from_bytes(data, "b")


def test_no_memory_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(picture_files.np, "array", full)
    with pytest.raises(ValueError, match=r"^a\.png does not fit into memory; make it smaller first$"):
        from_bytes(png_of(3, 2), "a.png")


def test_a_written_picture_says_that_it_is_srgb_and_keeps_its_pixels(
    tmp_path: Path, pictures: Pictures
) -> None:
    picture = to_pil(pictures(33, 47))
    texts = PngImagePlugin.PngInfo()
    texts.add_text("prompt", "{}")
    write_png(picture, tmp_path / "a.png", texts)
    file = io.BytesIO()
    write_png(picture, file)
    for written in (tmp_path / "a.png", file):
        with Image.open(written) as again:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(again.info["icc_profile"]))
            assert ImageCms.getProfileDescription(profile).strip() == "sRGB"
            assert again.tobytes() == picture.tobytes()
    with Image.open(tmp_path / "a.png") as again:
        assert again.text == {"prompt": "{}"}
    assert torch.equal(from_file(tmp_path / "a.png"), from_pil(picture)), "and read, it is the same again"
