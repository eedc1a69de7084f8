import random

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.moved_photographs import STILL, drawn
from kontext_core.images.registration.gate import EDITED, FLAT, REFRAMED, judge
from kontext_core.images.registration.warping import IDENTITY, warped

VALID = torch.ones(320, 320, dtype=torch.bool)


def planes(name: str) -> Tensor:
    pair = drawn(name, "coffee", 0, random.Random(name), STILL)
    return pair.before.permute(0, 3, 1, 2).contiguous()


def test_what_lies_right_is_believed() -> None:
    picture = planes("astronaut")
    verdict = judge(picture, picture, VALID, IDENTITY)
    assert verdict.refusal == ""
    assert verdict.error_px < 0.1


@pytest.mark.parametrize(
    "off",
    [
        [[1, 0, 0.7], [0, 1, 0]],
        [[1, 0, 0], [0, 1, -0.7]],
        [[1.004, 0, 0], [0, 1.004, 0]],
        [[1, 0.004, 0], [-0.004, 1, 0]],
    ],
)
def test_what_lies_beside_by_most_of_a_pixel_is_not_believed(off: list[list[float]]) -> None:
    """Each block is alike and off by less than a pixel: only all together say that a corner is off."""
    picture = planes("astronaut")
    verdict = judge(warped(picture, np.array(off)), picture, VALID, IDENTITY)
    assert verdict.refusal == EDITED
    assert 0.5 < verdict.error_px < 2


def test_a_warp_that_is_large_is_a_reframing() -> None:
    picture = planes("astronaut")
    for affine in ([[1.07, 0, 0], [0, 1.07, 0]], [[1, 0, 0], [0, 1, 20.0]], [[1, 0.07, 0], [0, 1, 0]]):
        assert judge(picture, picture, VALID, np.array(affine)).refusal == REFRAMED
    assert judge(picture, picture, VALID, np.array([[1.05, 0, 18], [0, 1, 0]])).refusal == ""


def test_a_few_blocks_that_agree_are_not_enough() -> None:
    before, after = planes("astronaut"), planes("camera")
    after[..., 200:300, 100:180] = before[..., 200:300, 100:180]
    verdict = judge(before, after, VALID, IDENTITY)
    assert (verdict.refusal, verdict.agreeing) == (EDITED, None)


def test_texture_in_one_corner_says_nothing_of_the_others() -> None:
    picture = planes("astronaut")
    noise = 0.004 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    corner = torch.zeros_like(VALID)
    corner[:120, :120] = True
    all_over, there = (judge(picture, picture + noise, valid, IDENTITY) for valid in (VALID, corner))
    assert all_over.agreeing is not None
    assert all_over.error_px < 0.02
    assert there.error_px > 0.1


def test_noise_is_no_texture() -> None:
    noise = 0.004 * torch.randn(2, 1, 3, 320, 320, generator=torch.Generator().manual_seed(0))
    assert judge(noise[0] + 0.5, noise[1] + 0.5, VALID, IDENTITY).refusal == FLAT


def test_what_agrees_is_told_by_its_place() -> None:
    before, after = planes("astronaut"), planes("camera")
    after[..., :200, :] = before[..., :200, :]
    area = judge(before, after, VALID, IDENTITY).agreeing
    assert area is not None
    assert area[0, 0, :160].mean() > 0.5
    assert area[0, 0, 232:].sum() == 0
