"""One more pass of the model over what an edit changed, at the picture's own size, tile by tile.

An edit that goes back into a larger picture is as coarse as the model's canvas. Each tile is a part of the
picture that the model sees at full size: it begins from the coarse edit, with a low strength, and looks at it
too (the picture before would bring back in parts what the edit changed). Colours and shapes stay those of the
coarse edit, and beside what that changed no pixel is touched.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ..edit_settings import EditSettings
from ..images.fitting import Size
from ..images.masks import LEVELS, gaussian, keep_outside, sampler_mask
from ..images.put_back import Patch, Window
from ..model.latents import TOKEN_PX
from .inputs import Callback, Text

MOST_TILES = 64  # of one edit: 4000 x 3000 px are 20 tiles of the published model's
MARGIN_PX = 32  # of unchanged picture around what was changed, at least
_OVERLAP = 4  # neighbours share this part of a tile
_TONE = (
    1.5  # pixels of the coarse edit: what is coarser than a blur of this deviation stays the coarse edit's
)
_COARSER = 1.1  # enlargement of an edit from which on there is detail to gain


class Model(Protocol):
    """What the pass asks of an `Editor`."""

    @property
    def preferred_sizes(self) -> tuple[tuple[int, int], ...]: ...

    def encode_prompt(self, prompt: str) -> Text: ...

    def encode(self, image: Tensor) -> Tensor: ...

    def decode(self, latents: Tensor) -> Tensor: ...

    def sample(self, text: Text, ref_latents: Sequence[Tensor] = (), **options: Any) -> Tensor: ...


@dataclass(frozen=True)
class DetailPass:
    """The pass over what edits changed.

    Args:
        model: that made the edits.
        prompt: their instruction.
        settings: theirs, of which `detail` is the strength of the pass.
        seeds: of each of them; None: all have that of the settings.
        callback: see `Editor.edit`; called anew for each tile.
    """

    model: Model
    prompt: str
    settings: EditSettings
    seeds: Sequence[int] | None = None
    callback: Callback | None = None

    def __call__(self, picture: Tensor, patch: Patch, enlarged: float, number: int) -> tuple[Patch, str]:
        """Make one of the edits anew, see `put_back.Finish`."""
        if self.settings.detail == 0 or enlarged < _COARSER or 0 in patch.share.shape:
            return patch, ""
        seed = self.settings.seed if self.seeds is None else self.seeds[number]
        return self.refine(picture, patch, enlarged, seed)

    def refine(self, picture: Tensor, patch: Patch, enlarged: float, seed: int) -> tuple[Patch, str]:
        """Make an edit anew at the picture's size.

        Args:
            picture: before the edit, (1, H, W, 3) in [0, 1].
            patch: the edit, scaled up to it.
            enlarged: so many times.
            seed: of its first tile; the others count on from it.
        Returns: the patch with other pixels, and a note on it; the same patch where there is no room for a
        tile, or there would be too many, which the note says.
        """
        height, width = patch.share.shape
        box = Window(patch.top, patch.left, height, width)
        places = list(tiles(box, patch.size, self.model.preferred_sizes[0]))
        if not places:
            return patch, ""
        if len(places) > MOST_TILES:
            return patch, (
                f"the detail pass was left out: it would take {len(places)} tiles of the model's size, and "
                f"{MOST_TILES} is the maximum"
            )
        edited = picture.clone()
        patch.write_into(edited)
        blend, total = patch.blend()[0], torch.zeros(height, width, 3)
        weights = torch.zeros(height, width, 1)
        count = 0
        for number, tile in enumerate(places):
            share = tile.cut(blend)
            if not bool((share > 0).any()):
                continue
            new = self._tile(tile, edited, share, enlarged, seed + number if seed < 2**63 else seed - number)
            weight = _weight(tile)
            inside, own = _common(box, tile)
            total[inside] += (new * weight)[own]
            weights[inside] += weight[own]
            count += 1
        known = weights > 0
        fine = torch.where(known, total / weights.clamp_min(1e-6), 0)
        share = patch.share.float() / LEVELS
        before = picture[:, box.top : box.top + height, box.left : box.left + width]
        mixed = (keep_outside(before, fine[None], share)[0] * LEVELS).round().to(torch.uint8)
        pixels = torch.where(known & (share[..., None] > 0), mixed, patch.pixels)
        return replace(patch, pixels=pixels), f"made again at full size in {count} tile{'s' * (count > 1)}"

    def _tile(self, tile: Window, edited: Tensor, share: Tensor, enlarged: float, seed: int) -> Tensor:
        """One tile, (h, w, 3), begun from the coarse edit.

        Args:
            edited: the whole picture, (1, H, W, 3).
            share: (h, w), how much of the edit is in it.
            enlarged: see `refine`.
            seed: of its noise.
        """
        coarse = edited[:, tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
        start = self.model.encode(coarse)
        away = self.settings.negative_prompt if self.settings.steers else None
        own = replace(
            self.settings,
            strength=self.settings.detail,
            detail=0,
            size="model",
            seed=seed,
            batch=1,
            width_px=None,
            height_px=None,
        )
        latents = self.model.sample(
            self.model.encode_prompt(self.prompt),
            [start],
            settings=own,
            negative=None if away is None else self.model.encode_prompt(away),
            start=start,
            mask=sampler_mask(share),
            callback=self.callback,
        )
        fine = self.model.decode(latents).float().cpu()
        # Tiles differ a little in tone, and none knows the whole: what the coarse edit shows stays its own.
        difference = (coarse.float().cpu() - fine).permute(0, 3, 1, 2)
        tone = gaussian(difference, _TONE * enlarged, edges="replicate")
        return (fine + tone.permute(0, 2, 3, 1))[0].clamp(0, 1)


def tiles(box: Window, picture: Size, tile: Size) -> Iterator[Window]:
    """Cover a box of a picture, and a margin around it, with tiles that overlap.

    Args:
        box: what is to be covered.
        picture: (height, width).
        tile: (height, width) that the model likes best; less where the picture is smaller, in multiples of
            16 px.
    """
    starts: list[list[int]] = []
    sides: list[int] = []
    for start, length, whole, liked in zip(
        (box.top, box.left), (box.height, box.width), picture, tile, strict=True
    ):
        side = min(liked, whole // TOKEN_PX * TOKEN_PX)
        first, last = max(start - MARGIN_PX, 0), min(start + length + MARGIN_PX, whole)
        sides.append(side)
        if side == 0:  # the picture is narrower than a token
            return
        starts.append(_starts(first, last, side, whole))
    for top in starts[0]:
        for left in starts[1]:
            yield Window(top, left, *sides)


def _starts(first: int, last: int, side: int, whole: int) -> list[int]:
    """Where tiles of one side begin so that they cover first to last, evenly."""
    length = last - first
    if length <= side:
        middle = (first + last - side) // 2
        return [min(max(middle, 0), whole - side)]
    step = side - side // _OVERLAP
    count = 1 + -(-(length - side) // step)
    return [first + round(number * (length - side) / (count - 1)) for number in range(count)]


def _weight(tile: Window) -> Tensor:
    """How much a tile counts where it overlaps others, (h, w, 1): it falls towards its edges."""
    lines = []
    for side in (tile.height, tile.width):
        places = torch.arange(side) + 0.5
        lines.append(torch.minimum(places, side - places).clamp_max(side / _OVERLAP))
    return torch.outer(*lines)[..., None]


def _common(box: Window, tile: Window) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part that a tile covers of a box: as the box counts it, and as the tile does."""
    inside: list[slice] = []
    own: list[slice] = []
    for begin, length, first, side in (
        (box.top, box.height, tile.top, tile.height),
        (box.left, box.width, tile.left, tile.width),
    ):
        start, stop = max(begin, first), min(begin + length, first + side)
        stop = max(start, stop)
        inside.append(slice(start - begin, stop - begin))
        own.append(slice(start - first, stop - first))
    return (inside[0], inside[1]), (own[0], own[1])
