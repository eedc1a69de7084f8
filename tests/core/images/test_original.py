"""Edits at a picture's own size are written back with the file's own pixels, colours, alpha and EXIF."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from kontext_core.images.icc import P3_PRIMARIES, SRGB_CURVE, rgb_profile, srgb_profile
from kontext_core.images.original import Original
from kontext_core.images.picture_files import from_file, to_pil

P3 = rgb_profile("Display P3", P3_PRIMARIES, SRGB_CURVE)
MAKER, ORIENTATION, EXIF, LENS, GPS = 271, 274, 0x8769, 42036, 0x8825


def pixels(height: int = 24, width: int = 36, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, channels), dtype=np.uint8)


def saved(folder: Path, picture: Image.Image, name: str = "photo.png", **options: Any) -> Path:
    file = folder / name
    picture.save(file, **options)
    return file


def edited(shown: torch.Tensor, colour: tuple[float, float, float] = (1.0, 1.0, 0.0)) -> torch.Tensor:
    """A square of one colour in the upper left corner."""
    image = shown.clone()
    image[:, :8, :8] = torch.tensor(colour)
    return image


def written(file: Path, image: torch.Tensor) -> Image.Image:
    result = BytesIO()
    Original.from_file(file).write_edit(image, result)
    return Image.open(result)


def test_colours_outside_srgb_keep_their_numbers(tmp_path: Path) -> None:
    stored = pixels()
    stored[-1] = (0, 255, 0)  # of Display P3, which sRGB cannot show
    file = saved(tmp_path, Image.fromarray(stored), icc_profile=P3)
    result = written(file, edited(from_file(file)))
    assert result.info["icc_profile"] == P3
    now = np.asarray(result)
    assert np.array_equal(now[8:], stored[8:])
    assert np.array_equal(now[:8, 8:], stored[:8, 8:])
    path = tmp_path / "result.png"
    result.save(path, icc_profile=P3)
    shown = from_file(path)[:, :8, :8]
    assert (shown - torch.tensor([1.0, 1.0, 0.0])).abs().max() <= 2 / 255, "the edit's colour is the edit's"


def test_a_profile_that_is_srgb_changes_nothing(tmp_path: Path) -> None:
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = saved(tmp_path, Image.fromarray(pixels()), icc_profile=data)
    assert Original.from_file(file).profile is None
    assert np.array_equal(np.asarray(written(file, from_file(file))), pixels())


def test_a_profile_that_leads_one_way_only_gives_srgb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> Image.Image:
        raise ValueError("cannot build transform")

    monkeypatch.setattr("kontext_core.images.original.from_srgb", refuse)
    file = saved(tmp_path, Image.fromarray(pixels()), icc_profile=P3)
    image = edited(from_file(file))
    result = written(file, image)
    assert np.array_equal(np.asarray(result), np.asarray(to_pil(image)))
    assert result.info["icc_profile"] == srgb_profile()
    assert caplog.messages == [
        f"{file}: no edit can be brought to its colour profile, so the results are sRGB (cannot build transform)"
    ]


def test_damage_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = saved(tmp_path, Image.fromarray(pixels()), icc_profile=b"no profile" * 20)
    assert np.array_equal(Original.from_file(file).pixels, pixels())
    assert len(caplog.messages) == 1


def test_what_is_transparent_stays_so_and_an_edit_there_is_seen(tmp_path: Path) -> None:
    stored = pixels(channels=4)
    stored[:12, :, 3] = 0
    stored[12:, :, 3] = np.maximum(stored[12:, :, 3], 1)
    file = saved(tmp_path, Image.fromarray(stored))
    image = edited(from_file(file), (1.0, 0.5, 0.0))
    result = written(file, image)
    assert result.mode == "RGBA"
    now = np.asarray(result)
    assert np.array_equal(now[8:], stored[8:]), "also what lies below transparent parts"
    assert (now[:8, :8, 3] == 255).all(), "the edit covers"
    path = tmp_path / "result.png"
    result.save(path)
    assert (from_file(path) - image).abs().max() <= 1.01 / 255, "on white it looks as the edit does"


def test_white_of_an_edit_upon_nothing_stays_nothing(tmp_path: Path) -> None:
    stored = pixels(channels=4)
    stored[..., 3] = 0
    file = saved(tmp_path, Image.fromarray(stored))
    now = np.asarray(written(file, edited(from_file(file), (1.0, 1.0, 1.0))))
    assert np.array_equal(now, stored)


def photograph(folder: Path, orientation: int) -> Path:
    exif = Image.Exif()
    exif[MAKER], exif[ORIENTATION] = "A maker", orientation
    exif.get_ifd(EXIF)[LENS] = "50 mm"
    exif.get_ifd(GPS)[1] = "N"
    return saved(folder, Image.fromarray(pixels()), exif=exif)


@pytest.mark.parametrize("orientation", [1, 6])
def test_what_a_file_says_of_itself_goes_along_upright(tmp_path: Path, orientation: int) -> None:
    file = photograph(tmp_path, orientation)
    image = edited(from_file(file))
    result = written(file, image)
    exif = result.getexif()
    assert exif[MAKER] == "A maker"
    assert ORIENTATION not in exif
    assert exif.get_ifd(EXIF)[LENS] == "50 mm"
    assert exif.get_ifd(GPS)[1] == "N"
    assert np.array_equal(np.asarray(result), np.asarray(to_pil(image))), "turned once"


def test_how_a_tiff_stores_its_pixels_does_not(tmp_path: Path) -> None:
    file = saved(tmp_path, Image.fromarray(pixels()), "photo.tif", description="a garden")
    exif = written(file, edited(from_file(file))).getexif()
    assert exif[270] == "a garden"
    assert set(exif) <= {270, EXIF}


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "1", "I;16"])
def test_other_kinds_of_pixels_become_rgb(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(pixels()[..., 0])
    picture = (
        Image.fromarray(pixels()[..., 0].astype(np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    )
    file = saved(tmp_path, picture, "photo.tif")
    shown = from_file(file)
    image = edited(shown)
    result = written(file, image)
    assert result.mode == "RGB"
    assert np.array_equal(np.asarray(result), np.asarray(to_pil(image)))


def test_an_edit_of_another_size_is_written_as_it_is(tmp_path: Path) -> None:
    file = saved(tmp_path, Image.fromarray(pixels(channels=4)))
    image = torch.rand(1, 10, 12, 3)
    assert np.array_equal(np.asarray(written(file, image)), np.asarray(to_pil(image)))
