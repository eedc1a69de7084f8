"""From the model's canvas back into the picture as it came: its size, its margins, its bits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .fitting import Placement, Size
from .masks import LEVELS, keep_outside


@dataclass(frozen=True)
class Kernel:
    """A filter that scales.

    Args:
        weight: by distance in pixels of the coarser grid.
        reach: the distance from which on it is 0.
    """

    weight: Callable[[Tensor], Tensor]
    reach: float


def _cubic(distance: Tensor) -> Tensor:
    """Catmull-Rom's cubic, as Pillow and torch have it with antialiasing."""
    square = distance * distance
    near = (1.5 * distance - 2.5) * square + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))


BICUBIC = Kernel(_cubic, 2.0)
BILINEAR = Kernel(lambda distance: (1 - distance).clamp_min(0), 1.0)


@dataclass(frozen=True)
class Window:
    """The part of a picture that the model saw, in pixels of the picture.

    Args:
        top: first row.
        left: first column.
        height: in rows.
        width: in columns.
    """

    top: int
    left: int
    height: int
    width: int

    def cut(self, values: Tensor) -> Tensor:
        """That part of (H, W)."""
        return values[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True, eq=False)
class Patch:
    """What a turn changed in a picture of full size, in 8 bits: what is written there, and where exactly.

    Args:
        top: row of the first pixel.
        left: column of the first pixel.
        pixels: (h, w, 3), uint8.
        share: (h, w), uint8; how much of the edit is in them. Where it is 0 the picture stands.
        size: (height, width) of the whole picture.
    """

    top: int
    left: int
    pixels: Tensor = field(repr=False)
    share: Tensor = field(repr=False)
    size: Size

    def write_into(self, picture: Tensor) -> None:
        """Change a picture (1, H, W, 3). Raises: ValueError if that has another size."""
        if tuple(picture.shape[1:3]) != self.size:
            raise ValueError(
                f"a change of a picture of {self.size[1]} x {self.size[0]} px does not fit into one of "
                f"{picture.shape[2]} x {picture.shape[1]} px"
            )
        inside = self.share > 0
        self._box(picture[0])[inside] = self.pixels[inside].to(picture.dtype) / LEVELS

    def blend(self) -> Tensor:
        """How much of the edit is in each pixel of the whole picture, (1, H, W) in [0, 1]."""
        result = torch.zeros(self.size)
        self._box(result)[:] = self.share.float() / LEVELS
        return result[None]

    def _box(self, whole: Tensor) -> Tensor:
        height, width = self.share.shape
        return whole[self.top : self.top + height, self.left : self.left + width]


Finish = Callable[[Tensor, Patch, float, int], tuple[Patch, str]]
"""What may change a patch, given the picture (1, H, W, 3), by how much the edit was enlarged, and its number
among all of them. It returns a patch, and a note on it or "".
"""


def seen_window(place: Placement, fit: str) -> Window:
    """The part of a picture that lies on the canvas, as `fitting.fit_image` cut it out.

    Args:
        place: where the picture lies on its canvas.
        fit: how it came there; all but "crop" show the whole picture.
    """
    height, width = place.original
    if fit != "crop" or place.original == place.canvas:
        return Window(0, 0, height, width)
    ratio = max(place.canvas[0] / height, place.canvas[1] / width)
    rows, columns = (
        min(max(round(side / ratio), 1), have)
        for side, have in zip(place.canvas, place.original, strict=True)
    )
    return Window((height - rows) // 2, (width - columns) // 2, rows, columns)


def patch_of(
    picture: Tensor, after: Tensor, blend: Tensor, window: Window, own_blend: Tensor | None = None
) -> Patch:
    """Bring an edit to the size of the picture that it was made from.

    Only what `blend` touches is scaled, at the coordinates of the whole window: the result itself is pasted,
    not its difference, which would leave the detail of what was removed.

    Args:
        picture: as it came, (1, H, W, 3) in [0, 1].
        after: the edit, cut out of its canvas, (h, w, 3) in [0, 1]; bicubic.
        blend: (h, w) in [0, 1], how much of it each pixel takes; bilinear.
        window: the part of the picture that `after` shows.
        own_blend: (H, W), in place of `blend`, where it is known at the picture's own size.
    """
    size = tuple(picture.shape[1:3])
    known = blend if own_blend is None else window.cut(own_blend)
    rows, columns = (
        _touched(known.amax(dim=1 - axis), side) for axis, side in enumerate((window.height, window.width))
    )
    if own_blend is None:
        scaled = scaled_box(blend[..., None].float().cpu(), window, rows, columns, BILINEAR)
        share = scaled.clamp(0, 1)[..., 0]
    else:
        share = known[rows.start : rows.stop, columns.start : columns.stop].float().cpu()
    new = scaled_box(after.float().cpu(), window, rows, columns, BICUBIC).clamp(0, 1)
    top, left = window.top + rows.start, window.left + columns.start
    before = picture[:, top : top + len(rows), left : left + len(columns)]
    mixed = keep_outside(before, new[None], share)[0]
    return Patch(
        top,
        left,
        (mixed * LEVELS).round().to(torch.uint8),
        (share * LEVELS).ceil().to(torch.uint8),  # above 0 wherever something of the edit is
        (size[0], size[1]),
    )


def put_back(picture: Tensor, patches: Sequence[Patch]) -> tuple[Tensor, Tensor]:
    """Put edits into the picture that they were made from, at its own size.

    Args:
        picture: as it came, (1 or B, H, W, 3) in [0, 1]; its own bits stand where a patch has no share.
        patches: one for each edit.
    Returns: the pictures (B, H, W, 3), and their blend (B, H, W), on the CPU.
    """
    results = picture.float().cpu().expand(len(patches), -1, -1, -1).clone()
    for patch, result in zip(patches, results.split(1), strict=True):
        patch.write_into(result)
    return results, torch.cat([patch.blend() for patch in patches])


def _touched(line: Tensor, side: int) -> range:
    """The pixels of a line of the picture that something other than 0 of the edit's line reaches.

    Args:
        line: (n,), the largest of each row or column of the edit's mask.
        side: length of the same line in the picture.
    """
    places = line.nonzero()
    if len(places) == 0:
        return range(0)
    ratio = side / len(line)
    reach = max(ratio, 1.0)  # of the triangle, in pixels of the picture
    first, last = places[0].item(), places[-1].item()
    start = int((first + 0.5) * ratio - 0.5 - reach)
    stop = int((last + 0.5) * ratio - 0.5 + reach) + 2
    return range(max(start, 0), min(stop, side))


def scaled_box(values: Tensor, window: Window, rows: range, columns: range, kernel: Kernel) -> Tensor:
    """A box of (h, w, C) scaled to the window: what scaling all of it would have there."""
    down, vertical = _weights(values.shape[0], window.height, rows, kernel)
    across, horizontal = _weights(values.shape[1], window.width, columns, kernel)
    part = values[vertical, horizontal]
    return torch.einsum("yi,ijc,xj->yxc", down, part, across)


def _weights(own: int, side: int, box: range, kernel: Kernel) -> tuple[Tensor, slice]:
    """How a box of a scaled line is made of the line's own pixels, as torch's antialiased filters do it.

    Args:
        own: length of the line.
        side: its length when scaled.
        box: which of the scaled pixels.
        kernel: weight by distance, 0 beyond its reach.
    Returns: (scaled pixels, own pixels of the slice), rows of which sum to 1, and the slice.
    """
    ratio = own / side
    wide = max(ratio, 1.0)
    centres = (torch.tensor(box, dtype=torch.float64) + 0.5) * ratio
    reach = kernel.reach * wide
    if not box:
        return torch.zeros(0, 0), slice(0, 0)
    first = max(int(centres[0].item() - reach), 0)
    last = min(int(centres[-1].item() + reach) + 1, own)
    places = torch.arange(first, last, dtype=torch.float64) + 0.5
    weights = kernel.weight(((places[None] - centres[:, None]) / wide).abs())
    return (weights / weights.sum(dim=1, keepdim=True)).float(), slice(first, last)
