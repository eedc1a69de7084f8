"""Connected areas against a plain flood fill."""

import pytest
import torch
from torch import Tensor

from kontext_core.images.components import connected


def flooded(area: Tensor, seeds: Tensor) -> Tensor:
    height, width = area.shape
    done = torch.zeros_like(area)
    waiting = [(int(y), int(x)) for y, x in (area & seeds).nonzero()]
    while waiting:
        y, x = waiting.pop()
        if done[y, x]:
            continue
        done[y, x] = True
        waiting += [
            (row, column)
            for row in range(max(y - 1, 0), min(y + 2, height))
            for column in range(max(x - 1, 0), min(x + 2, width))
            if area[row, column] and not done[row, column]
        ]
    return done


@pytest.mark.parametrize("seed", range(8))
def test_as_a_flood_fill(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    area = torch.rand(24, 31, generator=generator) > 0.35 + 0.05 * seed
    seeds = torch.rand(24, 31, generator=generator) > 0.97
    assert torch.equal(connected(area, seeds), flooded(area, seeds))


def spiral(side: int) -> Tensor:
    """A path of one pixel's width, with a pixel's gap beside it."""
    area = torch.zeros(side, side, dtype=torch.bool)
    y = x = 0
    step = (0, 1)
    area[0, 0] = True
    for _ in range(side * side):
        ahead = y + step[0], x + step[1]
        beyond = y + 2 * step[0], x + 2 * step[1]
        blocked = not (0 <= ahead[0] < side and 0 <= ahead[1] < side)
        if blocked or (0 <= beyond[0] < side and 0 <= beyond[1] < side and area[beyond]):
            step = step[1], -step[0]
            ahead = y + step[0], x + step[1]
            if not (0 <= ahead[0] < side and 0 <= ahead[1] < side) or area[ahead]:
                break
        y, x = ahead
        area[y, x] = True
    return area


def test_a_spiral_is_followed_to_its_end() -> None:
    area = spiral(63)
    seeds = torch.zeros_like(area)
    seeds[0, 0] = True
    assert area.sum() > 1000
    assert torch.equal(connected(area, seeds), area)


def test_seeds_outside_of_the_area_and_empty_ones() -> None:
    area = torch.zeros(5, 5, dtype=torch.bool)
    assert not connected(area, torch.ones(5, 5, dtype=torch.bool)).any()
    area[2, 2] = True
    assert not connected(area, torch.zeros(5, 5, dtype=torch.bool)).any()
