"""An edit at the model's size, put back into the picture as it came."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kontext_core.images.fitting import fit_image, undo_fit
from kontext_core.images.put_back import (
    BICUBIC,
    BILINEAR,
    Kernel,
    Window,
    patch_of,
    put_back,
    scaled_box,
    seen_window,
)

SIZES = [
    (1, 1), (1, 9), (9, 1), (17, 300), (100, 100), (128, 128), (200, 128), (131, 257), (333, 500), (500, 333),
    (127, 129), (300, 400), (64, 64), (61, 640), (640, 61), (256, 256), (257, 255), (16, 16), (40, 100), (1001, 1000),
]  # fmt: skip


def random_picture(*size: int) -> Tensor:
    return torch.rand(1, *size, 3, generator=torch.Generator().manual_seed(sum(size)))


def middle(height: int, width: int) -> Tensor:
    """A mask (1, height, width) of the middle of a picture, soft at its edge."""
    blend = torch.zeros(1, height, width)
    blend[:, height // 4 : height // 2 + 1, width // 4 : width // 2 + 1] = 1
    blend[:, height // 4, width // 4] = 0.25
    return blend


def returned(picture: Tensor, edits: Tensor, blend: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """Edits (B, h, w, 3) in the picture that they come from, and their blend there."""
    parts = zip(edits, blend, strict=True)
    return put_back(picture, [patch_of(picture, edit, share, window) for edit, share in parts])


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch", "none"])
@pytest.mark.parametrize("size", SIZES)
def test_only_what_the_mask_touches_is_new(size: tuple[int, int], fit: str) -> None:
    picture = random_picture(*size)
    canvas, place = fit_image(picture, None if fit == "none" else (128, 96), fit)
    edit = undo_fit(1 - canvas, place)
    result, blend = returned(picture, edit, middle(*edit.shape[1:3]), seen_window(place, fit))
    assert result.shape == picture.shape
    assert blend.shape == picture.shape[:3]
    changed = (result != picture).any(-1)
    assert changed.any()
    assert not changed[blend == 0].any()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(300, 400), (333, 500), (640, 61), (1001, 1000)])
def test_it_comes_back_to_its_place(size: tuple[int, int], fit: str) -> None:
    """A smooth picture that went to the canvas and back, without an edit, is nearly itself."""
    rows, columns = torch.meshgrid(
        torch.linspace(0, 1, size[0]), torch.linspace(0, 1, size[1]), indexing="ij"
    )
    picture = torch.stack([rows, columns, (rows * 3).sin() / 2 + 0.5], -1)[None]
    canvas, place = fit_image(picture, (128, 96), fit)
    part = undo_fit(canvas, place)
    back, _ = returned(picture, part, torch.ones(part.shape[:3]), seen_window(place, fit))
    error = (back - picture).square().mean()
    assert -10 * error.log10() > 42


@pytest.mark.parametrize("kernel", [BICUBIC, BILINEAR], ids=["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(300, 400), (40, 300), (128, 96), (9, 96), (128, 1)])
def test_a_box_is_what_scaling_all_of_it_gives(kernel: Kernel, size: tuple[int, int]) -> None:
    picture = random_picture(128, 96)
    mode: Any = "bicubic" if kernel is BICUBIC else "bilinear"
    expected = F.interpolate(picture.permute(0, 3, 1, 2), size=size, mode=mode, antialias=True)[0].permute(
        1, 2, 0
    )
    window = Window(0, 0, *size)
    rows, columns = range(size[0] // 3, size[0]), range(size[1] // 2 + 1)
    box = scaled_box(picture[0], window, rows, columns, kernel)
    assert torch.allclose(box, expected[rows.start : rows.stop, columns.start : columns.stop], atol=2e-5)


def test_where_nothing_is_scaled_every_pixel_is_the_edits() -> None:
    picture, after = random_picture(64, 64), (random_picture(64, 64).flip(1) * 255).round() / 255
    back, _ = returned(picture, after, torch.ones(1, 64, 64), Window(0, 0, 64, 64))
    assert torch.equal(back, after)


def test_a_picture_of_16_bits_keeps_them() -> None:
    picture = random_picture(300, 200).double().mul(65535).round().div(65535).float()
    canvas, place = fit_image(picture, (128, 96), "crop")
    back, blend = returned(picture, 1 - canvas, middle(128, 96), seen_window(place, "crop"))
    assert torch.equal(back[blend == 0], picture[blend == 0])


def test_an_empty_mask_makes_an_empty_patch() -> None:
    picture = random_picture(300, 200)
    patch = patch_of(picture, torch.zeros(64, 48, 3), torch.zeros(64, 48), Window(0, 0, 300, 200))
    assert patch.pixels.numel() == 0
    changed = picture.clone()
    patch.write_into(changed)
    assert torch.equal(changed, picture)


def test_a_patch_of_another_picture() -> None:
    patch = patch_of(random_picture(30, 20), torch.zeros(64, 48, 3), torch.ones(64, 48), Window(0, 0, 30, 20))
    with pytest.raises(
        ValueError, match="a change of a picture of 20 x 30 px does not fit into one of 30 x 20 px"
    ):
        patch.write_into(random_picture(20, 30))
