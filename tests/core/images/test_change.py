"""What an edit changed, found in pictures of which that is known."""

import pytest
import torch
from torch import Tensor

from kontext_core.images.change import STRONG, WEAK, find_change


def ground(height: int = 96, width: int = 96) -> Tensor:
    """A smooth picture."""
    rows, columns = torch.linspace(0.2, 0.7, height), torch.linspace(0.3, 0.6, width)
    return torch.stack(
        [
            rows[:, None].expand(-1, width),
            columns.expand(height, -1),
            rows.flip(0)[:, None].expand(-1, width),
        ],
        -1,
    )


def noise(like: Tensor, size: float) -> Tensor:
    return (torch.rand(like.shape, generator=torch.Generator().manual_seed(0)) - 0.5) * 2 * size


def test_nothing_changed() -> None:
    seen = ground()
    change = find_change(seen, seen + noise(seen, 12 / 255))
    assert change.extent == "nothing"
    assert change.share == 0
    assert not change.mask.any()


def test_a_part_changed() -> None:
    seen = ground()
    after = seen.clone()
    after[30:50, 40:70] = 1 - after[30:50, 40:70]
    after += noise(seen, 6 / 255)
    change = find_change(seen, after)
    assert change.extent == "local"
    assert change.mask[30:50, 40:70].all()
    change.mask[25:55, 35:75] = 0
    assert not change.mask.any()


def test_weak_differences_count_where_strong_ones_are() -> None:
    """A soft shadow beside a new thing is of it; the same far away is the model's wear."""
    seen, shadow = torch.full((96, 96, 3), 0.5), (WEAK + STRONG) / 2
    after = seen.clone()
    after[20:40, 20:40] += 0.4
    after[20:40, 40:60] += shadow
    after[70:90, 70:90] += shadow
    mask = find_change(seen, after).mask
    assert mask[22:38, 22:58].all()
    assert not mask[66:, 66:].any()


def test_the_whole_picture_changed() -> None:
    seen = ground()
    change = find_change(seen, 1 - seen)
    assert change.extent == "whole"
    assert change.mask.all()


@pytest.mark.parametrize("error", [0.0, 40 / 255])
def test_thresholds_follow_the_error_of_the_autoencoder(error: float) -> None:
    """Where it cannot repeat the texture, two decodings of one picture differ too."""
    seen = ground()
    picture = seen.clone()
    stripes = torch.arange(96) % 8 < 4
    picture[:, stripes] += error
    picture[:, ~stripes] -= error
    after = seen.clone()
    after[40:60, 40:60] += 40 / 255
    assert find_change(seen, after).extent == "local"
    assert find_change(seen, after, picture).extent == ("nothing" if error else "local")


def test_one_pixel_is_a_speck() -> None:
    seen = ground()
    after = seen.clone()
    after[50, 50] = 1
    assert find_change(seen, after).extent == "nothing"
