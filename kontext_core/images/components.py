"""Connected areas of a mask."""

import torch
from torch import Tensor
from torch.nn import functional as F


def connected(area: Tensor, seeds: Tensor) -> Tensor:
    """Keep the parts of an area that hold a seed; pixels that touch at a corner are connected.

    Roots of trees are hooked onto larger neighbours, and paths to them halved, until nothing moves: a few
    rounds, also for a spiral, along which a growing seed would take one round a pixel.

    Args:
        area: (H, W), bool.
        seeds: likewise; those outside of the area are ignored.
    """
    count = area.numel()
    inside = area.flatten()
    parent = torch.arange(count)
    while True:
        grid = torch.where(inside, parent, -1).reshape(1, 1, *area.shape)
        # float64 holds every index; max_pool2d takes no whole numbers
        nearby = F.max_pool2d(grid.double(), 3, stride=1, padding=1).long().flatten()
        hooked = parent.scatter_reduce(0, parent[inside], nearby[inside], "amax")
        while not torch.equal(further := hooked[hooked], hooked):
            hooked = further
        if torch.equal(hooked, parent):
            break
        parent = hooked
    has_seed = torch.zeros(count, dtype=torch.bool)
    has_seed[parent[inside & seeds.flatten()]] = True
    return (has_seed[parent] & inside).reshape(area.shape)
