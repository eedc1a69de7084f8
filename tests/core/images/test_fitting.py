from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from kontext_core.config import PREFERRED_SIZES
from kontext_core.images.fitting import (
    FITS,
    Placement,
    budget_size,
    canvas_size,
    check_image,
    check_placement,
    fit_image,
    fit_words,
    legal_size,
    nearest_size,
    on_canvas,
    resize,
    scale_mask,
    stitch,
    undo_fit,
)

Pictures = Callable[..., Tensor]


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ((1024, 1024), (1024, 1024)),
        ((500, 500), (1024, 1024)),
        ((1080, 1920), (752, 1392)),
        ((1920, 1080), (1392, 752)),
        ((100, 1000), (672, 1568)),
        ((1, 1), (1024, 1024)),
        ((10, 20_000), (672, 1568)),
        ((20_000, 10), (1568, 672)),
    ],
)
def test_nearest_preferred_size(given: tuple[int, int], nearest: tuple[int, int]) -> None:
    assert nearest_size(*given, PREFERRED_SIZES) == nearest


@pytest.mark.parametrize("size", PREFERRED_SIZES)
def test_a_preferred_size_stays(size: tuple[int, int]) -> None:
    assert nearest_size(*size, PREFERRED_SIZES) == size


def test_a_preferred_size_stays_among_others_of_its_shape() -> None:
    sizes = [(64, 64), (128, 128), (256, 256)]
    assert [nearest_size(*size, sizes) for size in sizes] == sizes


@pytest.mark.parametrize(
    ("given", "legal"),
    [((64, 96), (64, 96)), ((70, 90), (64, 96)), ((1, 7), (16, 16)), ((73, 1023), (80, 1024))],
)
def test_legal_size(given: tuple[int, int], legal: tuple[int, int]) -> None:
    assert legal_size(*given) == legal


def test_canvas_size() -> None:
    assert canvas_size(70, 90, PREFERRED_SIZES, "none") == (80, 96)
    assert canvas_size(70, 90, PREFERRED_SIZES, "pad") == nearest_size(70, 90, PREFERRED_SIZES)


@pytest.mark.parametrize("fit", FITS)
def test_the_right_size_is_never_touched(pictures: Pictures, fit: str) -> None:
    image = pictures(48, 80, batch=2)
    canvas, place = fit_image(image, (48, 80), fit)
    assert torch.equal(canvas, image)
    assert torch.equal(undo_fit(canvas, place), image)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(30, 100), (100, 30), (64, 64), (1, 1), (7, 3), (65, 63)], ids=str)
def test_canvas_has_the_size_asked_for(pictures: Pictures, shape: tuple[int, int], fit: str) -> None:
    size = (48, 80)
    image = pictures(*shape, batch=2)
    canvas, place = fit_image(image, size, fit)
    expected = canvas_size(*shape, [size], fit)
    assert canvas.shape == (2, *expected, 3)
    assert place.canvas == expected
    assert place.original == shape
    assert canvas.min() >= 0
    assert canvas.max() <= 1


def test_crop_fills_the_canvas_from_the_middle() -> None:
    """Only the middle one of three equal stripes is left."""
    image = torch.zeros(1, 32, 96, 3)
    image[:, :, 32:64] = 1
    canvas, place = fit_image(image, (64, 64), "crop")
    torch.testing.assert_close(canvas, torch.ones(1, 64, 64, 3))
    assert place == Placement((64, 64), 0, -64, 64, 192, (32, 96))
    assert torch.equal(undo_fit(canvas, place), canvas), "what is cut away is not invented"


def test_crop_keeps_the_shape_of_things(pictures: Pictures) -> None:
    image = pictures(64, 128)
    canvas, _ = fit_image(image, (32, 32), "crop")
    torch.testing.assert_close(canvas, resize(image[:, :, 32:96], (32, 32)))


def test_stretch_shows_everything_in_another_shape(pictures: Pictures) -> None:
    image = pictures(30, 100)
    canvas, place = fit_image(image, (64, 64), "stretch")
    assert torch.equal(canvas, resize(image, (64, 64)))
    assert torch.equal(undo_fit(canvas, place), canvas)


@pytest.mark.parametrize("shape", [(30, 100), (100, 30), (33, 47), (200, 64)], ids=str)
def test_pad_is_undone_exactly(pictures: Pictures, shape: tuple[int, int]) -> None:
    image = pictures(*shape)
    canvas, place = fit_image(image, (64, 64), "pad")
    assert (place.height, place.width) in {(64, place.width), (place.height, 64)}
    assert place.height / place.width == pytest.approx(shape[0] / shape[1], rel=0.05)
    assert torch.equal(undo_fit(canvas, place), resize(image, (place.height, place.width)))


def test_pad_repeats_the_edges(pictures: Pictures) -> None:
    image = pictures(16, 32)
    canvas, place = fit_image(image, (32, 32), "pad")
    assert (place.top, place.left) == (8, 0)
    assert torch.equal(canvas[:, 8:24], image)
    assert torch.equal(canvas[:, :8], image[:, :1].expand(-1, 8, -1, -1))
    assert torch.equal(canvas[:, 24:], image[:, -1:].expand(-1, 8, -1, -1))


@pytest.mark.parametrize("shape", [(1, 1), (30, 50), (16, 33), (48, 64)], ids=str)
def test_none_keeps_every_pixel(pictures: Pictures, shape: tuple[int, int]) -> None:
    image = pictures(*shape)
    canvas, place = fit_image(image, (512, 512), "none")
    assert all(side % 16 == 0 for side in canvas.shape[1:3])
    assert canvas.shape[1] - shape[0] < 16
    assert canvas.shape[2] - shape[1] < 16
    assert torch.equal(canvas[:, : shape[0], : shape[1]], image)
    assert torch.equal(undo_fit(canvas, place), image)


def test_no_size_means_its_own(pictures: Pictures) -> None:
    assert fit_image(pictures(30, 50), None, "crop")[0].shape == (1, 32, 64, 3)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(10, 20_000), (20_000, 10)], ids=str)
def test_very_long_pictures(shape: tuple[int, int], fit: str) -> None:
    """Neither an empty picture nor a huge temporary copy results."""
    image = torch.full((1, *shape, 3), 0.25)
    size = nearest_size(*shape, PREFERRED_SIZES)
    canvas, place = fit_image(image, size, fit)
    torch.testing.assert_close(canvas, torch.full_like(canvas, 0.25))
    assert 0 not in undo_fit(canvas, place).shape


@pytest.mark.parametrize("shape", [(2, 1000), (1000, 2)], ids=str)
def test_a_padded_thread_stays_a_pixel_wide(pictures: Pictures, shape: tuple[int, int]) -> None:
    _, place = fit_image(pictures(*shape), (64, 64), "pad")
    assert sorted((place.height, place.width)) == [1, 64]


def test_resize_stays_in_range() -> None:
    image = torch.zeros(1, 8, 8, 3)
    image[:, :, 4:] = 1
    scaled = resize(image, (64, 64))
    assert scaled.shape == (1, 64, 64, 3)
    assert (scaled.min(), scaled.max()) == (0, 1)  # bicubic alone overshoots
    assert scaled.is_contiguous()


def test_unknown_fit(pictures: Pictures) -> None:
    with pytest.raises(
        ValueError, match="fit 'squeeze' is not known; choose one of crop, pad, stretch, none"
    ):
        fit_image(pictures(16, 16), (16, 16), "squeeze")


def test_undo_on_another_canvas(pictures: Pictures) -> None:
    _, place = fit_image(pictures(16, 32), (32, 32), "pad")
    with pytest.raises(ValueError, match=r"a picture of 16 x 32 px does not lie on the canvas \(32, 32\)"):
        undo_fit(pictures(32, 16), place)


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (
            torch.zeros(16, 16, 3),
            r"a picture must be \(batch, height, width, 3\), but this one is \(16, 16, 3\)",
        ),
        (torch.zeros(1, 16, 16, 4), r"this one is \(1, 16, 16, 4\)"),
        (torch.zeros(0, 16, 8, 3), "this picture holds nothing: 0 frames of 8 x 16 px"),
        (torch.zeros(1, 0, 8, 3), "this picture holds nothing: 1 frames of 8 x 0 px"),
        (torch.full((1, 2, 2, 3), float("nan")), r"numbers that are not finite \(NaN or infinity\)"),
        (torch.full((1, 2, 2, 3), float("inf")), "numbers that are not finite"),
    ],
    ids=["no batch", "four channels", "no frames", "no height", "NaN", "infinity"],
)
def test_unusable_pictures(image: Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_image(image)
    with pytest.raises(ValueError, match=sentence):
        fit_image(image, (16, 16))


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch", "none"])
@pytest.mark.parametrize("size", [(48, 80), (96, 40), (64, 64)])
def test_a_mask_lies_on_the_canvas_as_its_picture_does(fit: str, size: tuple[int, int]) -> None:
    """A picture that is its own mask: white where the mask is white, after any fit."""
    height, width = size
    mask = torch.zeros(height, width)
    mask[: height // 2, width // 4 :] = 1.0
    canvas, place = fit_image(mask[None, :, :, None].expand(-1, -1, -1, 3), (64, 64), fit)
    covered = on_canvas(mask, place)
    assert covered.shape == canvas.shape[1:3]
    inside = torch.zeros_like(covered)
    top, left = max(place.top, 0), max(place.left, 0)
    inside[top : place.top + place.height, left : place.left + place.width] = 1.0
    assert not (covered * (1 - inside)).any(), "nothing beside the picture"
    differs = ((covered - canvas[0, :, :, 0]).abs() > 0.5) & (inside > 0)
    assert differs.float().mean() < 0.03, "at the edge only"


def test_stitched_pictures_stand_side_by_side(pictures: Pictures) -> None:
    first, second = pictures(40, 30), pictures(80, 20)
    made = stitch([first, second])
    assert made.shape == (1, 40, 30 + 10, 3)
    assert torch.equal(made[:, :, :30], first)
    assert torch.equal(made[:, :, 30:], resize(second, (40, 10)))


def test_a_batch_is_stitched_to_one_picture_or_its_like(pictures: Pictures) -> None:
    batch, one = pictures(16, 16).expand(3, -1, -1, -1), pictures(16, 32)
    assert stitch([one, batch]).shape == (3, 16, 48, 3)
    with pytest.raises(ValueError, match="batches of"):
        stitch([batch, batch[:2]])
    with pytest.raises(ValueError, match="no picture"):
        stitch([])


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(
    "shape", [(1, 1), (2, 300), (300, 2), (17, 31), (64, 64), (1, 40), (90, 200)], ids=str
)
@pytest.mark.parametrize("size", [(64, 64), (96, 32), (16, 208)], ids=str)
def test_where_a_fit_lays_a_picture_is_a_placement(
    shape: tuple[int, int], size: tuple[int, int], fit: str
) -> None:
    check_placement(fit_image(torch.zeros(1, *shape, 3), size, fit)[1])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"height": 0}, "has a side of 0 px; 1 is the least"),
        ({"canvas": (64, -16)}, "has a side of -16 px"),
        ({"original": (0, 10)}, "has a side of 0 px"),
        ({"top": 17}, "neither within its canvas of 64 x 64 px nor over all of it"),
        ({"top": -1}, "neither within its canvas"),
        ({"left": 10**9}, "neither within its canvas"),
        ({"left": -10, "width": 80}, "neither within its canvas"),
        ({"top": -10, "height": 84, "left": -(10**8), "width": 10**9}, "its sides are not scaled alike"),
        ({"height": 40}, "its sides are not scaled alike"),
    ],
)
def test_where_no_fit_lays_a_picture_is_none(changes: dict[str, Any], sentence: str) -> None:
    place = Placement((64, 64), 8, 0, 48, 64, (30, 40))
    check_placement(place)
    with pytest.raises(ValueError, match=sentence):
        check_placement(replace(place, **changes))


@pytest.mark.parametrize("size", [(33, 49), (64, 48), (7, 5), (14, 10), (3, 4), (200, 1)], ids=str)
def test_a_mask_on_a_canvas_is_scaled_as_any_mask_is(size: tuple[int, int]) -> None:
    mask = torch.rand(7, 5, generator=torch.Generator().manual_seed(0))
    covered = on_canvas(mask, Placement(size, 0, 0, *size, size))
    assert torch.equal(covered, scale_mask(mask[None, None], size)[0, 0])


def test_a_mask_over_a_long_picture_that_is_cropped_is_made_where_it_is_seen_only() -> None:
    """The whole picture would be a million pixels wide: 2.6 GB."""
    _, place = fit_image(torch.zeros(1, 10, 20_000, 3), (672, 1568))
    mask = torch.zeros(10, 20_000)
    mask[:, 10_000:] = 1.0
    covered = on_canvas(mask, place)
    assert covered[:, : 1568 // 2 - 68].sum() == 0
    assert covered[:, 1568 // 2 + 68 :].min() == 1
    assert place.width > 10**6


@pytest.mark.parametrize(
    ("size", "most", "expected"),
    [
        ((1024, 1024), 4096, (1024, 1024)),
        ((1024, 1024), 1024, (512, 512)),
        ((1000, 1000), 5000, (1008, 1008)),
        ((512, 2048), 1024, (256, 1024)),
        ((16, 16), 1, (16, 16)),
        ((2048, 32), 3, (48, 16)),
    ],
)
def test_budgets(size: tuple[int, int], most: int, expected: tuple[int, int]) -> None:
    assert budget_size(*size, most) == expected


def test_a_budget_always_ends_within_itself() -> None:
    for height in (16, 100, 999, 5000):
        for width in (16, 333, 4096):
            for most in (1, 2, 7, 100, 4096):
                rows, columns = (side // 16 for side in budget_size(height, width, most))
                assert 1 <= rows * columns <= most
    with pytest.raises(ValueError, match="at most 0 tokens has none"):
        budget_size(16, 16, 0)


@pytest.mark.parametrize(
    ("size", "fit", "words"),
    [
        ((2000, 3000), "crop", "the picture of 3000 x 2000 px is cropped to 128 x 128"),
        ((2000, 3000), "pad", "the picture of 3000 x 2000 px is padded to 128 x 128"),
        ((2000, 3000), "stretch", "the picture of 3000 x 2000 px is stretched to 128 x 128"),
        ((256, 256), "crop", "the picture of 256 x 256 px is scaled to 128 x 128"),
        ((64, 64), "stretch", "the picture of 64 x 64 px is scaled to 128 x 128"),
        ((128, 128), "crop", ""),
    ],
)
def test_what_becomes_of_a_picture_in_words(size: tuple[int, int], fit: str, words: str) -> None:
    assert fit_words(fit_image(torch.zeros(1, *size, 3), (128, 128), fit)[1]) == words
