"""Where an edit may change a picture."""

import math

import pytest
import torch

from kontext_core.images import Placement
from kontext_core.masks import edit_mask, feathered


def square() -> torch.Tensor:
    mask = torch.zeros(96, 96)
    mask[32:64, 32:64] = 1
    return mask


def test_a_hard_mask_is_its_share_of_each_latent() -> None:
    mask = torch.zeros(64, 32)
    mask[:12] = 1
    latents = edit_mask(mask, (64, 32))
    assert latents.shape == (1, 1, 8, 4)
    assert latents[0, 0, :, 0].tolist() == [1, 0.5, 0, 0, 0, 0, 0, 0]


def test_a_mask_of_another_size_covers_the_same_part() -> None:
    small = torch.zeros(4, 4)
    small[1:2, 2:] = 1
    large = small.repeat_interleave(16, 0).repeat_interleave(16, 1)
    assert torch.equal(edit_mask(small, (64, 64)), edit_mask(large, (64, 64)))


def test_a_mask_lies_where_the_picture_does() -> None:
    place = Placement((64, 64), 16, 0, 32, 64, (100, 200))
    latents = edit_mask(torch.ones(1, 100, 200), (64, 64), place)
    assert latents[0, 0, :, 3].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]


def test_feathers_rise_inside_only() -> None:
    soft = feathered(square(), 8)
    assert bool((soft[square() == 0] == 0).all()), "what is outside stays outside"
    profile = soft[48, 32:48]
    assert profile[0] < 0.2
    assert bool((profile.diff() >= 0).all())
    assert math.isclose(float(profile[-1]), 1.0, abs_tol=0.05)


def test_feathers_know_no_edge_of_the_picture() -> None:
    assert torch.allclose(feathered(torch.ones(20, 30), 16), torch.ones(20, 30), atol=1e-5)


def test_no_feathers_change_nothing() -> None:
    assert torch.equal(feathered(square(), 0), square())


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(64, 64), "marks nothing"),
        (torch.zeros(0, 64), "is empty"),
        (torch.full((64, 64), math.nan), "not finite"),
        (torch.ones(2, 64, 64), "batch of 2"),
    ],
)
def test_unusable_masks(mask: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        edit_mask(mask, (64, 64))


def test_negative_feathers() -> None:
    with pytest.raises(ValueError, match="give 0"):
        feathered(square(), -1)
