"""Where an edit may change a picture: for the sampler, and for the pixels."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kontext_core.images.fitting import Placement, fit_image
from kontext_core.images.masks import blending, canvas_mask, dilated, keep_outside, sampler_mask
from kontext_core.images.outside import Before
from kontext_core.pipeline import Edit, Pipeline


def square() -> Tensor:
    mask = torch.zeros(96, 96)
    mask[32:64, 32:64] = 1
    return mask


def test_a_mask_of_another_size_covers_the_same_part() -> None:
    small = torch.zeros(4, 4)
    small[1:2, 2:] = 1
    large = small.repeat_interleave(16, 0).repeat_interleave(16, 1)
    assert torch.equal(canvas_mask(small, (64, 64)), large)


def test_a_mask_lies_where_the_picture_does() -> None:
    place = Placement((64, 64), 16, 0, 32, 64, (100, 200))
    laid = canvas_mask(torch.ones(1, 100, 200), (64, 64), place)
    assert laid[:, 3].tolist() == [0] * 16 + [1] * 32 + [0] * 16


def test_a_thin_line_of_a_large_mask_stays() -> None:
    line = torch.zeros(1000, 1000)
    line[503] = 1
    assert bool((canvas_mask(line, (64, 64)).amax(0) == 1).all())


# The sampler's


def test_the_sampler_may_change_every_touched_token_and_its_neighbours() -> None:
    mask = torch.zeros(96, 96)
    mask[40, 47] = 0.01
    expected = torch.zeros(12, 12)
    expected[2:8, 2:8] = 1  # the token of row 2 and column 2, and those around it
    assert torch.equal(sampler_mask(mask)[0, 0], expected)


@pytest.mark.parametrize(("feather_px", "tokens"), [(0, 1), (16, 1), (17, 2), (48, 3)])
def test_the_sampler_may_change_what_a_feather_shows(feather_px: float, tokens: int) -> None:
    mask = torch.zeros(256, 256)
    mask[128:144, 128:144] = 1
    allowed = sampler_mask(mask, feather_px)[0, 0]
    assert allowed.sum() == (2 * (1 + 2 * tokens)) ** 2
    shown = blending(mask, feather_px) > 0
    assert bool(allowed.repeat_interleave(8, 0).repeat_interleave(8, 1)[shown].all())


# The pixels'


@pytest.mark.parametrize("reach", [1, 2, 3, 7, 16, 40])
def test_dilation_equals_one_large_window(reach: int) -> None:
    values = torch.rand(2, 1, 37, 50, generator=torch.Generator().manual_seed(reach))
    assert torch.equal(dilated(values, reach), F.max_pool2d(values, 2 * reach + 1, 1, reach))


def test_no_dilation_changes_nothing() -> None:
    assert torch.equal(dilated(square()[None, None], 0)[0, 0], square())


@pytest.mark.parametrize("feather_px", [1, 2, 5, 8, 16, 30])
def test_a_feather_fades_out_outside_the_mask_and_ends(feather_px: int) -> None:
    soft = blending(square(), feather_px)
    assert bool((soft[square() == 1] == 1).all()), "what is marked is the edit's"
    beyond = dilated(square()[None, None], feather_px)[0, 0] == 0
    assert bool((soft[beyond] == 0).all())
    outwards = soft[48, 63:96]
    assert bool((outwards.diff() <= 0).all())
    assert 0 < outwards[1] <= 1
    assert outwards[max(feather_px // 2, 1)] < 0.9


def test_a_soft_mask_counts_as_it_is() -> None:
    ramp = torch.linspace(0, 1, 64).expand(64, 64)
    assert torch.equal(blending(ramp), ramp)
    assert bool((blending(ramp, 8) >= ramp).all())


def test_no_feather_changes_nothing() -> None:
    assert torch.equal(blending(square(), 0), square())


def test_outside_stands_the_picture_bit_for_bit() -> None:
    before, after = torch.rand(1, 96, 96, 3), torch.full((2, 96, 96, 3), torch.nan)
    after[:, 20:80, 20:80] = torch.rand(2, 60, 60, 3)
    joined = keep_outside(before, after, blending(square(), 8))
    assert joined.shape == after.shape
    outside = blending(square(), 8) == 0
    assert torch.equal(joined[:, outside], before.expand(2, -1, -1, -1)[:, outside])
    inside = square() == 1
    assert torch.equal(joined[:, inside], (after[:, inside] * 255).round() / 255)


Pictures = Callable[..., Tensor]
SIZES = [(64, 64), (40, 72), (100, 30), (130, 170), (9, 90)]


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch", "none"])
@pytest.mark.parametrize("size", SIZES)
def test_an_edit_changes_nothing_outside(
    pipeline: Pipeline, pictures: Pictures, size: tuple[int, int], fit: str
) -> None:
    picture = pictures(*size)
    mask = torch.zeros(size)
    mask[size[0] // 3 : size[0] // 2, size[1] // 4 : size[1] // 2] = 1
    edit = pipeline.edit("make it red", [picture], steps=2, mask=mask, feather_px=3, fit=fit)
    assert edit.placement is not None
    canvas, place = fit_image(picture, edit.placement.canvas, fit)
    shown = canvas
    blend = blending(canvas_mask(mask, place.canvas, place), 3)
    if place.top >= 0 and place.left >= 0:
        part = slice(place.top, place.top + place.height), slice(place.left, place.left + place.width)
        shown, blend = canvas[:, part[0], part[1]], blend[part]
    assert edit.image.shape == shown.shape
    assert torch.equal(edit.image[:, blend == 0], shown[:, blend == 0])
    assert not torch.equal(edit.image, shown)


def test_an_edit_of_an_edit_keeps_what_was_shown(pipeline: Pipeline, pictures: Pictures) -> None:
    """This includes what a mask kept, which differs from what the latents decode to."""
    left, right = torch.zeros(64, 64), torch.zeros(64, 64)
    left[:, :20], right[:, 44:] = 1, 1
    first = pipeline.edit("make it red", [pictures(64, 64)], steps=2, mask=left)
    second = pipeline.edit("make it blue", [first], steps=2, mask=right)
    assert torch.equal(second.image[:, :, :44], first.image[:, :, :44])
    assert not torch.equal(second.image[:, :, 44:], first.image[:, :, 44:])


def test_latents_alone_keep_what_they_decode_to(pipeline: Pipeline, pictures: Pictures) -> None:
    latents, _ = pipeline.encode_picture(pictures(64, 64))
    mask = torch.zeros(64, 64)
    mask[:, 32:] = 1
    edit = pipeline.edit("make it red", [latents], steps=2, mask=mask)
    assert torch.equal(edit.image[:, :, :32], pipeline.decode(latents)[:, :, :32])


def test_each_picture_of_a_batch_is_kept(pipeline: Pipeline, pictures: Pictures) -> None:
    both = torch.cat([pictures(64, 64, seed=1), pictures(64, 64, seed=2)])
    mask = torch.zeros(64, 64)
    mask[40:, 40:] = 1
    edit: Edit = pipeline.edit("make it red", [both], steps=2, mask=mask)
    assert torch.equal(edit.image[:, mask == 0], both[:, mask == 0])


def test_a_mask_and_a_strength_begin_from_the_same_picture(pipeline: Pipeline, pictures: Pictures) -> None:
    picture, mask = pictures(64, 64), torch.zeros(64, 64)
    mask[:, 40:] = 1
    edit = pipeline.edit("make it red", [picture], steps=4, mask=mask, strength=0.5)
    start, place = pipeline.encode_picture(picture)
    allowed = canvas_mask(mask, (64, 64), place)
    latents = pipeline.sample(
        pipeline.encode_prompt("make it red"),
        [start],
        start=start,
        mask=sampler_mask(allowed),
        strength=0.5,
        steps=4,
    )
    kept, carried = pipeline.put_into(Before(picture, start, place), latents, allowed)
    image = kept.image
    assert torch.equal(edit.image, image)
    assert torch.equal(edit.latents, carried)
    assert edit.settings["strength"] == 0.5
    assert not torch.equal(pipeline.edit("make it red", [picture], steps=4, mask=mask).image, image)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(64, 64), "marks nothing"),
        (torch.zeros(0, 64), r"must be \(height, width\) or \(1, height, width\)"),
        (torch.zeros(1, 1, 64, 64), r"the mask \(1, 1, 64, 64\) must be"),
        (torch.full((64, 64), math.nan), "not finite"),
        (torch.ones(2, 64, 64), "batch of 2"),
    ],
)
def test_unusable_masks(mask: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        canvas_mask(mask, (64, 64))


@pytest.mark.parametrize("feather_px", [-1, math.nan, 1025])
def test_unusable_feathers(feather_px: float) -> None:
    with pytest.raises(ValueError, match="give a number from 0 to 1024"):
        blending(square(), feather_px)


def test_a_mask_without_a_picture(pipeline: Pipeline) -> None:
    with pytest.raises(ValueError, match="there is no reference"):
        pipeline.edit("make it red", mask=torch.ones(64, 64))
