"""References with a strength, a region or a place of their own, turned into tokens and position ids."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks.ranges import REFERENCE_STRENGTH
from ..checks.shorten import short
from ..config import Layout
from ..model.latents import pack
from ..model.positions import HeightWidth, Place, layout_corners, reference_ids


@dataclass(frozen=True, eq=False)
class ReferenceLatents:
    """One reference as the model sees it.

    Args:
        latents: (1 or B, 16, h, w), even sides.
        strength: weight of its keys for target and text, in [0, 2]; 0 leaves it out, 1 is the model as it was
            trained.
        region: (h / 2, w / 2) of bool; only the tokens where it is true are used, each at its own place.
            None: all.
        place: (index, row, column) of its first token, in place of the one that the layout gives.
        image: (1, H, W, 3) in [0, 1], the picture, which only records of turns need.
    Raises: ValueError if one of them is not possible.
    """

    latents: Tensor
    strength: float = 1.0
    region: Tensor | None = None
    place: Place | None = None
    image: Tensor | None = None

    def __post_init__(self) -> None:
        if not REFERENCE_STRENGTH.admits(self.strength):
            raise ValueError(
                f"a reference's strength is {short(self.strength)}; it must lie between 0 (left out) and 2"
            )
        if self.region is not None:
            if tuple(self.region.shape) != self.size:
                raise ValueError(
                    f"the region {tuple(self.region.shape)} of a reference must have its {self.size} tokens"
                )
            if not bool(self.region.any()):
                raise ValueError(
                    "the region of a reference is empty: mark a part of it, or leave the reference out"
                )
        if self.place is not None and min(self.place) < 0:
            raise ValueError(f"the place {self.place} of a reference must not be negative")

    @property
    def size(self) -> HeightWidth:
        """Give (height, width) in tokens."""
        height, width = self.latents.shape[-2:]
        return height // 2, width // 2

    @property
    def n_tokens(self) -> int:
        """Count the tokens that are used: none at strength 0."""
        if not self.strength:
            return 0
        return self.size[0] * self.size[1] if self.region is None else int(self.region.sum())


EncodedReference = Tensor | ReferenceLatents


@dataclass(frozen=True, eq=False)
class Placed:
    """References side by side, as the sequence holds them.

    Args:
        tokens: (1 or B, L, 64) of each reference.
        ids: (1, L, 3) of each.
        strengths: of each.
    """

    tokens: tuple[Tensor, ...]
    ids: tuple[Tensor, ...]
    strengths: tuple[float, ...]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Count the tokens of each."""
        return tuple(part.shape[1] for part in self.tokens)


def reference_tokens(references: Sequence[EncodedReference], target: HeightWidth, layout: Layout) -> Placed:
    """Pack references into tokens and place them, in order.

    One of strength 0 is left out before the others are placed, as if it had never been given. A region does
    not move its tokens: the layout sees the whole picture. One with a place of its own takes no room from the
    others.

    Args:
        references: see `SampleInputs`.
        target: (height, width) of the target in tokens.
        layout: one of `config.LAYOUTS`.
    """
    encoded = [
        reference if isinstance(reference, ReferenceLatents) else ReferenceLatents(reference)
        for reference in references
    ]
    shown = [reference for reference in encoded if reference.strength > 0]
    corners = corners_of([(reference.size, reference.place) for reference in shown], target, layout)
    tokens: list[Tensor] = []
    ids: list[Tensor] = []
    for reference, corner in zip(shown, corners, strict=True):
        own_ids = reference_ids(*reference.size, *corner)
        own_tokens = pack(reference.latents)
        if reference.region is not None:
            used = reference.region.flatten().to("cpu").nonzero()[:, 0]
            own_ids, own_tokens = own_ids[:, used], own_tokens[:, used.to(own_tokens.device)]
        tokens.append(own_tokens)
        ids.append(own_ids)
    return Placed(tuple(tokens), tuple(ids), tuple(reference.strength for reference in shown))


def corners_of(
    references: Sequence[tuple[HeightWidth, Place | None]], target: HeightWidth, layout: Layout
) -> list[Place]:
    """Place each reference's first token: at its own place, else where the layout puts it.

    Args:
        references: (size in tokens, its own place or None) of each.
        target: (height, width) in tokens.
        layout: one of `config.LAYOUTS`.
    """
    by_layout = iter(layout_corners(target, [size for size, own in references if own is None], layout))
    return [next(by_layout) if own is None else own for _, own in references]


def region_tokens(mask: Tensor, size: HeightWidth) -> Tensor:
    """Turn a mask over a picture into the region of tokens that it touches.

    Args:
        mask: (H, W) in [0, 1].
        size: (height, width) of the region in tokens.
    Raises: ValueError if it is empty, not finite, or touches nothing.
    """
    if mask.ndim != 2 or mask.numel() == 0 or not bool(torch.isfinite(mask).all()):
        raise ValueError(f"the region mask {tuple(mask.shape)} is empty or holds numbers that are not finite")
    touched = torch.nn.functional.adaptive_max_pool2d(mask.float()[None], size)[0] > 0.5
    if not bool(touched.any()):
        raise ValueError("the region mask marks nothing: paint a part of the reference white")
    return touched
