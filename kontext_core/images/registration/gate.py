"""Whether two pictures, one warped onto the other, agree in so many places that the warp can be believed.

Blocks of fine texture are compared one by one. Those that agree tell how far they are still apart; what is
left of that over the whole picture, as an affine field, and how well it is known, decide at the corners.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..fitting import Size
from ..masks import gaussian
from .warping import IDENTITY, Affine, corners

BLOCK, STEP = 32, 16  # px
RIM = 6.0  # px along the edges where blurring and sampling see repeated pixels
LEAST_GRADIENT = 1.5 * 0.004**2  # mean square in the direction with the least of it; of noise: 0.004
LEAST_DEVIATION = 0.006
LEAST_LIKENESS = 0.8  # normalised cross-correlation
MOST_RESIDUE = 1.0  # px that an agreeing block is still off in x and in y
LEAST_BLOCKS, LEAST_SHARE = 16, 0.25  # of the agreeing blocks, and of those with texture
MOST_SPREAD = 0.35  # px
MOST_ERROR = 0.5  # px at a corner
MOST_CHANGE = 0.06  # of a side that a shift may be, and of 1 what the matrix may change

_PAIRS = [(first, second) for first in range(4) for second in range(first, 4)]

FLAT = "there is too little texture in the picture to tell whether it was moved"
EDITED = "too much of the picture was edited to tell whether the rest was moved"
REFRAMED = "the picture was reframed: it is moved or scaled by more than 6 %"


@dataclass(frozen=True)
class _Blocks:
    """Of each block: its centre (x, y) in px from the picture's, its texture, likeness and residual shift."""

    centres: NDArray[np.float64]
    textured: NDArray[np.bool_]
    agreeing: NDArray[np.bool_]
    residues: NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """One sentence that says why a warp is not to be believed, or "".

    Args:
        error_px: how far off a corner may be; infinite where too few blocks agree to tell.
        agreeing: (1, 1, H, W) of 0 and 1, the blocks that agree.
    """

    refusal: str
    error_px: float = math.inf
    agreeing: Tensor | None = None


def judge(warped: Tensor, after: Tensor, valid: Tensor, affine: Affine) -> Verdict:
    """Judge whether a warp is to be believed.

    Args:
        warped, after: (1, C, H, W) in [0, 1]: the picture before, sampled by the warp, and the one after.
        valid: (H, W) bool, where both are known.
        affine: the warp itself, which must be small.
    """
    size: Size = (after.shape[-2], after.shape[-1])
    if min(size) < BLOCK:
        return Verdict(FLAT)
    blocks = _compare(_band(warped), _band(after), valid.float())
    n_textured, n_agreeing = int(blocks.textured.sum()), int(blocks.agreeing.sum())
    if n_textured < LEAST_BLOCKS:
        return Verdict(FLAT)
    if n_agreeing < LEAST_BLOCKS or n_agreeing < LEAST_SHARE * n_textured:
        return Verdict(EDITED)
    error, spread = _corner_error(blocks.centres[blocks.agreeing], blocks.residues[blocks.agreeing], size)
    sides = np.array([[1, 1, size[1]], [1, 1, size[0]]])
    if spread > MOST_SPREAD or error > MOST_ERROR:
        why = EDITED
    else:
        why = REFRAMED if np.abs((affine - IDENTITY) / sides).max() > MOST_CHANGE else ""
    return Verdict(why, error, _area(blocks, size).to(after.device))


def _area(blocks: _Blocks, size: Size) -> Tensor:
    area = torch.zeros(1, 1, *size)
    for x, y in blocks.centres[blocks.agreeing].tolist():
        left, top = (int(place + side / 2 - BLOCK / 2) for place, side in ((x, size[1]), (y, size[0])))
        area[..., top : top + BLOCK, left : left + BLOCK] = 1
    return area


def _band(picture: Tensor) -> Tensor:
    """The fine texture of a picture's grey: (1, 1, H, W)."""
    grey = picture.mean(1, keepdim=True)
    return gaussian(grey - gaussian(grey, 4.0, edges="replicate"), 1.0, edges="replicate")


def _compare(source: Tensor, target: Tensor, weight: Tensor) -> _Blocks:
    """Compare two bands (1, 1, H, W) block by block."""
    size = source.shape[-2:]
    steps = [torch.gradient(source[0, 0], dim=axis)[0] for axis in (1, 0)]
    fields = torch.stack((source[0, 0], *steps, target[0, 0]))
    products = [fields[first] * fields[second] for first, second in _PAIRS]
    stack = torch.stack((torch.ones_like(weight), *fields, *products)) * weight
    means = F.avg_pool2d(stack[None], BLOCK, STEP)[0]
    rows, columns = means.shape[-2:]
    table = means.reshape(len(stack), -1).T.double().cpu().numpy()
    known = table[:, 0]
    table = table / np.maximum(known, 1e-9)[:, None]
    covariance = np.zeros((len(table), 4, 4))
    for product, (first, second) in zip(table[:, 5:].T, _PAIRS, strict=True):
        value = product - table[:, 1 + first] * table[:, 1 + second]
        covariance[:, first, second] = covariance[:, second, first] = value
    y = (np.arange(rows) * STEP + BLOCK / 2 - size[0] / 2).repeat(columns)
    x = np.tile(np.arange(columns) * STEP + BLOCK / 2 - size[1] / 2, rows)
    centres: NDArray[np.float64] = np.stack((x, y), axis=1, dtype=np.float64)
    return _judged(centres, covariance, known)


def _judged(
    centres: NDArray[np.float64], covariance: NDArray[np.float64], known: NDArray[np.float64]
) -> _Blocks:
    """Judge each block by the covariance of source, its gradients in x and y, and target."""
    spread = np.sqrt(covariance[:, (0, 3), (0, 3)].clip(0))
    least = np.linalg.eigvalsh(covariance[:, 1:3, 1:3])[:, 0]
    textured = (known > 0.75) & (least > LEAST_GRADIENT) & (spread[:, 0] > LEAST_DEVIATION)
    likeness = covariance[:, 0, 3] / np.maximum(spread.prod(axis=1), 1e-12)
    # target = gain (source + gradient . d) + constant, solved for gain and gain d
    ridge = 1e-9 * np.eye(3)
    parts = np.linalg.solve(covariance[:, :3, :3] + ridge, covariance[:, :3, 3, None])[..., 0]
    gain = np.where(np.abs(parts[:, :1]) > 1e-6, parts[:, :1], 1e-6)
    residues = parts[:, 1:] / gain
    agreeing = textured & (likeness > LEAST_LIKENESS) & (np.abs(residues).max(axis=1) <= MOST_RESIDUE)
    return _Blocks(centres, textured, agreeing, residues)


def _corner_error(
    centres: NDArray[np.float64], residues: NDArray[np.float64], size: Size
) -> tuple[float, float]:
    """How far off a corner may be by the residual shifts (N, 2) of blocks, and their spread, in px.

    Affine whatever was fitted: else a shift would pass for a zoom.
    """
    design = np.column_stack((centres, np.ones(len(centres))))
    weight = np.ones(len(centres))
    ridge = 1e-9 * np.eye(3)
    field, spread = np.zeros((3, 2)), MOST_RESIDUE
    for _ in range(5):
        field = np.linalg.solve(
            design.T @ (design * weight[:, None]) + ridge, design.T @ (residues * weight[:, None])
        )
        off = np.linalg.norm(residues - design @ field, axis=1)
        spread = max(1.4826 * float(np.median(off)), 0.01)
        weight = 1 / (1 + np.square(off / (2.5 * spread))) ** 2
    normal = np.linalg.inv(design.T @ (design * weight[:, None]) + ridge)
    ends = corners(size)
    deviation = (
        2 * spread * float(np.sqrt(np.einsum("ni,ij,nj->n", ends, normal, ends).max()))
    )  # blocks overlap
    return float(np.linalg.norm(ends @ field, axis=1).max()) + 2 * deviation, spread
