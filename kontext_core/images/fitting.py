"""Sizes of pictures, fitting to a size, and the exact undo. Pictures are float (B, H, W, C) in [0, 1]."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..config import FITS
from ..model.latents import TOKEN_PX

# Pictures in and out, in one place for whoever looks here.

Size = tuple[int, int]  # (height, width) in pixels


@dataclass(frozen=True)
class Placement:
    """Where a picture lies on the model's canvas, in pixels of the canvas: enough to cut it out again."""

    canvas: Size
    top: int
    left: int
    height: int
    width: int
    original: Size


def fit_words(place: Placement | None) -> str:
    """Say in words what became of a picture on its way to the canvas; "" if it is the canvas."""
    if place is None or place.original == place.canvas:
        return ""
    height, width = place.original
    canvas = f"{place.canvas[1]} x {place.canvas[0]}"
    if is_cropped(place):
        how = "cropped"
    elif (place.height, place.width) != place.canvas:
        how = "padded"
    else:
        how = "stretched" if is_stretched(place) else "scaled"
    return f"the picture of {width} x {height} px is {how} to {canvas}"


def is_cropped(place: Placement) -> bool:
    """Whether the picture reaches beyond its canvas, which shows a part of it."""
    return place.height > place.canvas[0] or place.width > place.canvas[1]


def is_stretched(place: Placement) -> bool:
    """Whether the picture has another shape there than it came in, rounding aside."""
    height, width = place.original
    return abs(height * place.width - width * place.height) >= max(height, width)


def nearest_size(height_px: int, width_px: int, sizes: Sequence[Size]) -> Size:
    """The preferred size whose shape is closest. A picture that has a preferred size keeps it.

    Source: flux sampling.py, prepare_kontext (smallest difference in width / height).
    """
    if (height_px, width_px) in sizes:
        return height_px, width_px
    return min(sizes, key=lambda size: abs(size[1] / size[0] - width_px / height_px))


def legal_size(height_px: int, width_px: int) -> Size:
    """The same size, each side rounded to the nearest multiple of 16 px, at least 16."""
    height, width = (max(round(side / TOKEN_PX), 1) * TOKEN_PX for side in (height_px, width_px))
    return height, width


def canvas_size(
    height_px: int, width_px: int, sizes: Sequence[Size], fit: str = "crop", most_tokens: int | None = None
) -> Size:
    """The size that a picture gets: the nearest of the preferred ones, or with "none" its own, rounded up.

    Args:
        most_tokens: what would have more is scaled down to so many; None: no limit.
    """
    size = _rounded_up(height_px, width_px) if fit == "none" else nearest_size(height_px, width_px, sizes)
    return size if most_tokens is None else budget_size(*size, most_tokens)


def budget_size(height_px: int, width_px: int, most_tokens: int) -> tuple[int, int]:
    """The largest size of about this shape, in multiples of 16 px, that has at most so many tokens.

    Raises: ValueError if most_tokens < 1.
    """
    if most_tokens < 1:
        raise ValueError(f"a reference of at most {most_tokens} tokens has none; give 1 or more")
    height, width = -(-height_px // 16), -(-width_px // 16)
    while height * width > most_tokens:
        scale = (most_tokens / (height * width)) ** 0.5
        shorter = max(int(height * scale), 1), max(int(width * scale), 1)
        if shorter == (height, width):  # both sides are as short as rounding makes them
            shorter = (height - 1, width) if height >= width else (height, width - 1)
        height, width = shorter
    return height * 16, width * 16


def fit_image(image: Tensor, size: Size | None, fit: str = "crop") -> tuple[Tensor, Placement]:
    """Bring a picture to a size. A picture that has it already is returned as it is.

    Args:
        image: (B, H, W, 3) in [0, 1].
        size: (height, width) in multiples of 16 px; None means its own, rounded up.
        fit: "crop" fills the canvas and cuts what is over; "pad" shows all of it, edges repeated around;
            "stretch" changes its shape; "none" keeps every pixel, padded to multiples of 16 px and never
            scaled.
    Returns: the canvas (B, height, width, 3), and where the picture lies on it.
    Raises: ValueError if the fit is unknown or the picture unusable.
    """
    check_image(image)
    if fit not in FITS:
        raise ValueError(f"fit {fit!r} is not known; choose one of {', '.join(FITS)}")
    height, width = image.shape[1:3]
    if fit == "none" or size is None:
        place = Placement(_rounded_up(height, width), 0, 0, height, width, (height, width))
        return padded(image, place), place
    if (height, width) == size:
        return image, Placement(size, 0, 0, *size, size)
    if fit == "stretch":
        return resize(image, size), Placement(size, 0, 0, *size, (height, width))
    ratios = (size[0] / height, size[1] / width)
    ratio = max(ratios) if fit == "crop" else min(ratios)
    scaled = (max(round(height * ratio), 1), max(round(width * ratio), 1))
    top, left = (size[0] - scaled[0]) // 2, (size[1] - scaled[1]) // 2
    place = Placement(size, top, left, *scaled, (height, width))
    if fit == "crop":
        # cut before scaling, so that a very long picture needs no giant copy
        rows, columns = (
            min(max(round(side / ratio), 1), have) for side, have in zip(size, (height, width), strict=True)
        )
        y, x = (height - rows) // 2, (width - columns) // 2
        return resize(image[:, y : y + rows, x : x + columns], size), place
    return padded(resize(image, scaled), place), place


def laid_on(image: Tensor, place: Placement) -> Tensor | None:
    """The canvas (B, height, width, 3) of a picture that lies so: of that picture, or of what is seen of it.

    Args:
        image: (B, H, W, 3), of the size that it had before it was fitted, or as `undo_fit` cuts it out.
    Returns: None where it has another size.
    """
    is_cropped = min(place.top, place.left) < 0
    size = tuple(image.shape[1:3])
    if size == (place.canvas if is_cropped else (place.height, place.width)):
        return image if is_cropped else padded(image, place)
    if size != place.original:
        return None
    if is_cropped:
        return fit_image(image, place.canvas, "crop")[0]
    return padded(resize(image, (place.height, place.width)), place)


def undo_fit(image: Tensor, place: Placement) -> Tensor:
    """Cut the picture out of the canvas again; what was cropped away is not invented.

    Args:
        image: (B, H, W, 3) of the canvas's size. Returns: for "pad" and "none" the picture's own area; else
            all.
    """
    if image.shape[1:3] != place.canvas:
        raise ValueError(
            f"a picture of {image.shape[2]} x {image.shape[1]} px does not lie on the canvas {place.canvas[::-1]}"
        )
    if place.top < 0 or place.left < 0:
        return image
    return image[:, place.top : place.top + place.height, place.left : place.left + place.width]


def check_placement(place: Placement) -> None:
    """Check that a picture can lie so: within its canvas or over all of it, scaled as a whole or filling it.

    Raises: ValueError in one sentence if it cannot.
    """
    sides = (*place.canvas, place.height, place.width, *place.original)
    if min(sides) < 1:
        raise ValueError(f"a placement has a side of {min(sides)} px; 1 is the least")
    axes = (
        (place.top, place.height, place.canvas[0]),
        (place.left, place.width, place.canvas[1]),
    )
    within = all(start >= 0 and start + side <= whole for start, side, whole in axes)
    over = all(start <= 0 and start + side >= whole for start, side, whole in axes)
    if not (within or over):
        raise ValueError(
            f"a picture of {place.width} x {place.height} px at ({place.left}, {place.top}) lies neither "
            f"within its canvas of {place.canvas[1]} x {place.canvas[0]} px nor over all of it"
        )
    if (place.height, place.width) != place.canvas and not _scaled_as_a_whole(place):
        raise ValueError(
            f"a picture of {place.original[1]} x {place.original[0]} px cannot be placed as "
            f"{place.width} x {place.height} px: its sides are not scaled alike"
        )


def _scaled_as_a_whole(place: Placement) -> bool:
    """Whether one factor, each side rounded and at least 1, makes the placed size of the original one."""
    sides = list(zip((place.height, place.width), place.original, strict=True))
    least = max((side - 0.5) / own if side > 1 else 0.0 for side, own in sides)
    most = min((side + 0.5) / own for side, own in sides)
    return least <= most


def on_canvas(mask: Tensor, place: Placement) -> Tensor:
    """Bring a mask (H, W) over a picture, of any size, onto the canvas that the picture lies on; 0 beside it.

    Only its visible part is made: a long picture that is cropped reaches far beyond the canvas.
    """
    canvas = torch.zeros(place.canvas)
    marked = _shrunk(mask.float()[None, None], (place.height, place.width))[0, 0]
    top, left = max(place.top, 0), max(place.left, 0)
    rows = _nearest(marked.shape[0], place.height, top - place.top, place.canvas[0] - top)
    columns = _nearest(marked.shape[1], place.width, left - place.left, place.canvas[1] - left)
    canvas[top : top + len(rows), left : left + len(columns)] = marked[rows][:, columns]
    return canvas


def scale_mask(mask: Tensor, size: Size) -> Tensor:
    """A mask (B, C, H, W) at another size: what is marked stays marked, however thin it is."""
    return F.interpolate(_shrunk(mask, size), size=size, mode="nearest-exact")


def _shrunk(mask: Tensor, size: Size) -> Tensor:
    """A mask (B, C, H, W) no larger than a size, each value the largest of those it stands for."""
    return F.adaptive_max_pool2d(mask, (min(size[0], mask.shape[-2]), min(size[1], mask.shape[-1])))


def _nearest(own: int, scaled: int, start: int, most: int) -> Tensor:
    """Find the source of each pixel of a line that is scaled from `own` to `scaled` px.

    As torch's `nearest-exact`, in whole numbers: rounding decides nothing where two sources are equally near.

    Args:
        start: the first pixel asked for.
        most: how many, where the line is that long.
    """
    places = torch.arange(start, min(start + most, scaled))
    return (2 * places + 1) * own // (2 * scaled)


def stitched_size(sizes: Sequence[Size]) -> tuple[int, list[int]]:
    """The height of pictures put side by side, that of the first, and the width that each then has."""
    height = sizes[0][0]
    return height, [max(round(wide * height / high), 1) for high, wide in sizes]


def stitch(images: Sequence[Tensor]) -> Tensor:
    """Join pictures (1 or B, H, W, 3) side by side at the first one's height: (B, H, sum of widths, 3).

    Raises: ValueError if there are none, or their batches do not agree.
    """
    if not images:
        raise ValueError("there is no picture to stitch: connect one or more")
    for image in images:
        check_image(image)
    batches = {image.shape[0] for image in images} - {1}
    if len(batches) > 1:
        raise ValueError(
            f"batches of {sorted(batches)} pictures cannot be stitched; each must be 1, or the same"
        )
    batch = batches.pop() if batches else 1
    height, widths = stitched_size([(image.shape[1], image.shape[2]) for image in images])
    scaled = [resize(image, (height, width)) for image, width in zip(images, widths, strict=True)]
    return torch.cat([image.expand(batch, -1, -1, -1) for image in scaled], dim=2)


def resize(image: Tensor, size: Size) -> Tensor:
    """Bicubic with antialiasing, clamped to [0, 1]. (B, H, W, C) to (B, *size, C)."""
    if image.shape[1:3] == size:
        return image
    scaled = F.interpolate(image.permute(0, 3, 1, 2).float(), size=size, mode="bicubic", antialias=True)
    return scaled.clamp(0, 1).permute(0, 2, 3, 1).contiguous()


def check_image(image: Tensor) -> None:
    """Raises: ValueError in one sentence if the tensor is not a usable picture."""
    if image.ndim != 4 or image.shape[-1] != 3:
        raise ValueError(f"a picture must be (batch, height, width, 3), but this one is {tuple(image.shape)}")
    if 0 in image.shape:
        raise ValueError(
            f"this picture holds nothing: {image.shape[0]} frames of {image.shape[2]} x {image.shape[1]} px"
        )
    if not bool(torch.isfinite(image).all()):
        raise ValueError(
            "this picture holds numbers that are not finite (NaN or infinity); check the node that made it"
        )


def _rounded_up(height_px: int, width_px: int) -> Size:
    height, width = (-(-side // TOKEN_PX) * TOKEN_PX for side in (height_px, width_px))
    return height, width


def padded(image: Tensor, place: Placement) -> Tensor:
    """The picture on its canvas, the edge's pixels repeated around it."""
    rows = (torch.arange(place.canvas[0]) - place.top).clamp(0, place.height - 1)
    columns = (torch.arange(place.canvas[1]) - place.left).clamp(0, place.width - 1)
    if place.canvas == (place.height, place.width):
        return image
    return image[:, rows.to(image.device)][:, :, columns.to(image.device)]
