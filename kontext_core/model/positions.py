"""Position ids of text, target and references: axes (index, row, column), in tokens, always float32."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..config import LAYOUTS, Layout

HeightWidth = tuple[int, int]
Place = tuple[int, int, int]  # (index, row, column)


def text_ids(batch: int, length: int) -> Tensor:
    """Position ids of text tokens: all at the origin. Returns (batch, length, 3), float32."""
    return torch.zeros(batch, length, 3)


def target_ids(height: int, width: int) -> Tensor:
    """Position ids of the picture being made, on plane 0. Returns (1, height * width, 3), float32."""
    return reference_ids(height, width, index=0)


def reference_ids(
    height: int, width: int, index: int = 1, row_offset: int = 0, column_offset: int = 0
) -> Tensor:
    """Position ids of one reference image.

    Args:
        height: in tokens.
        width: in tokens.
        index: the virtual time step, 0 being the target's plane.
        row_offset: in tokens.
        column_offset: in tokens.
    Returns: (1, height * width, 3), float32 (bfloat16 is exact only to 256).
    Raises: ValueError if a size is below 1 or a place below 0.
    Source: arXiv:2506.15742 section 3, "3D RoPE": (i, h, w); flux sampling.py, prepare_kontext.
    """
    if height < 1 or width < 1:
        raise ValueError(
            f"a picture of {height} x {width} tokens has no positions; both sides must be at least 1"
        )
    if index < 0 or row_offset < 0 or column_offset < 0:
        raise ValueError(f"index {index}, row {row_offset} and column {column_offset} must not be negative")
    rows = torch.arange(row_offset, row_offset + height, dtype=torch.float32)
    columns = torch.arange(column_offset, column_offset + width, dtype=torch.float32)
    grid = torch.meshgrid(torch.tensor([float(index)]), rows, columns, indexing="ij")
    return torch.stack(grid, dim=-1).reshape(1, height * width, 3)


def layout_ids(
    target: HeightWidth, references: Sequence[HeightWidth], layout: Layout = "offset"
) -> list[Tensor]:
    """Position ids of every reference, by layout.

    Args:
        target: (height, width) of the target, in tokens.
        references: the same of each reference, in order.
        layout: "index" gives reference i the plane i. "offset" puts all on plane 1, side by side or below
            each other, whichever keeps the whole smaller. "diagonal" puts all on plane 0, beyond the target's
            corner.
    Returns: one (1, n_tokens, 3) float32 tensor for each reference.
    Raises: ValueError if the layout is unknown.
    Source: arXiv:2506.15742 (index); diffusers and ComfyUI (offset); arXiv:2504.02160 (diagonal).
    """
    corners = layout_corners(target, references, layout)
    return [reference_ids(*size, *corner) for size, corner in zip(references, corners, strict=True)]


def layout_corners(
    target: HeightWidth, references: Sequence[HeightWidth], layout: Layout = "offset"
) -> list[Place]:
    """Where the first token of every reference stands, (index, row, column) in tokens.

    As `layout_ids`, without the ids.
    """
    if layout == "index":
        return [(index, 0, 0) for index in range(1, len(references) + 1)]
    if layout == "offset":
        return _offset_corners(references)
    if layout == "diagonal":
        return _diagonal_corners(target, references)
    raise ValueError(f"layout {layout!r} is not known; choose one of {', '.join(LAYOUTS)}")


def _offset_corners(references: Sequence[HeightWidth]) -> list[Place]:
    corners: list[Place] = []
    total_height = total_width = 0
    for height, width in references:
        row, column = (0, total_width) if height + total_height > width + total_width else (total_height, 0)
        corners.append((1, row, column))
        total_height = max(total_height, height + row)
        total_width = max(total_width, width + column)
    return corners


def _diagonal_corners(target: HeightWidth, references: Sequence[HeightWidth]) -> list[Place]:
    corners: list[Place] = []
    row, column = target
    for height, width in references:
        corners.append((0, row, column))
        row += height
        column += width
    return corners
