"""What an edit was not asked to change: found, and put back from the picture before it, bit for bit."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ..edit_settings import check_mask
from .change import STRONG, Extent, find_change
from .fitting import Placement, padded, undo_fit
from .masks import LEVELS, CanvasMask, blending, blending_at, keep_outside
from .put_back import Finish, Patch, Window, patch_of, put_back
from .registration.register import register, shown, undo

log = logging.getLogger(__name__)

FEATHER_PX = 6  # of a change that was found, outwards
_TONE = 2.5 / 255  # median change of what was kept, from which on it is said
_MARGINS = "what crop had cut off is as before: choose pad or stretch, and all of it changes"
_MISSED = "within the mask next to nothing changed: does it cover what the instruction speaks of?"


@dataclass(frozen=True)
class OutsideReport:
    """What became of a picture outside of an edit.

    Args:
        extent: what was changed: nothing, a part, or the whole picture, of which nothing is kept.
        changed: share of the pixels that are no longer those of the picture before.
        shift_px: the largest way that a corner of the result had moved, which was undone.
        gain: of each channel, which was undone; 1 where the colours were the same.
        notes: sentences on what else there is to know.
    """

    extent: Extent
    changed: float
    shift_px: float = 0.0
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, str | float]:
        """What a turn keeps of it among its settings, as JSON scalars."""
        return {"extent": self.extent, "changed": round(self.changed, 6), "shift_px": round(self.shift_px, 3)}

    def describe(self) -> str:
        """Say it in one line."""
        if self.extent == "nothing":
            return "; ".join(("nothing changed: the picture is the one before", *self.notes))
        if self.extent == "whole":
            return "; ".join(("the whole picture changed, so nothing of it was kept", *self.notes))
        share = f"{self.changed:.1%} changed, the rest was kept bit for bit".replace("%", " %")
        moved = [f"undid a shift of {self.shift_px:.2f} px"] if self.shift_px else []
        gains = ", ".join(f"{value:.3f}" for value in self.gain)
        cast = [f"undid a gain of {gains}"] if self.gain != OutsideReport.gain else []
        return "; ".join((share, *moved, *cast, *self.notes))


def describe(reports: Sequence[OutsideReport]) -> str:
    """Say what became of each picture of a batch, a line for each; "" where nothing was to be kept."""
    lines = [report.describe() for report in reports]
    if len(lines) > 1:
        lines = [f"picture {number}: {line}" for number, line in enumerate(lines, start=1)]
    return "\n".join(lines)


def what_to_keep(keep_outside: str | None, has_picture: bool, mask: object) -> str:
    """Say which of `config.KEEP_OUTSIDE` holds for an edit.

    Args:
        keep_outside: as the settings have it.
        has_picture: whether there is a picture before the edit.
        mask: the edit's, or None.
    Raises: ValueError if a mask is to be kept and there is none.
    """
    keep = keep_outside or ("off" if mask is None else "mask")
    check_mask({"keep_outside": keep}, masked=mask is not None)
    return keep if has_picture else "off"


OTHER_SIZE = OutsideReport("whole", 1.0, notes=("the result has another size than the picture before it",))


@dataclass(frozen=True)
class Before:
    """The picture before an edit.

    Args:
        canvas: as the model sees it, (1 or B, H, W, 3) in [0, 1].
        latents: (1 or B, 16, H / 8, W / 8).
        place: where the picture lies on that canvas; None: all over.
    """

    canvas: Tensor
    latents: Tensor
    place: Placement | None = None


@dataclass(frozen=True)
class Kept:
    """Edits, put into the picture before them.

    Args:
        image: (B, H, W, 3) in [0, 1].
        blend: (B, H, W) in [0, 1], how much of the edit each pixel took.
        reports: one for each picture; none where nothing was to be kept.
    """

    image: Tensor
    blend: Tensor
    reports: tuple[OutsideReport, ...] = ()

    @classmethod
    def nothing(cls, image: Tensor, reports: tuple[OutsideReport, ...] = ()) -> Self:
        """Edits alone (B, H, W, 3), nothing of the picture before them."""
        return cls(image, torch.ones(image.shape[:3]), reports)

    def laid_on(self, place: Placement | None) -> Self:
        """The same on the canvas, what lies at the picture's edge repeated around it."""
        if place is None or min(place.top, place.left) < 0:  # cropped: it fills its canvas
            return self
        return self.each(lambda part: padded(part, place))

    def cut_out(self, place: Placement | None) -> Self:
        """The picture alone, where it does not fill its canvas."""
        return self if place is None else self.each(lambda part: undo_fit(part, place))

    def each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Change pictures and blend alike, each as (B, H, W, channels)."""
        return replace(self, image=change(self.image), blend=change(self.blend[..., None])[..., 0])

    def patches(
        self,
        picture: Tensor,
        window: Window,
        mask: Tensor | CanvasMask | None = None,
        feather_px: float = 0,
        finish: Finish | None = None,
    ) -> tuple[list[Patch], tuple[OutsideReport, ...]]:
        """The same as changes of the picture as it came, at its size.

        Args:
            picture: (1 or B, H, W, 3).
            window: the part of it that the edits show.
            mask: beside which nothing may change, see `masks.canvas_mask`; not asked where nothing was to be
                kept.
            feather_px: of the mask, in pixels of the edits.
            finish: see `put_back.Finish`.
        Returns: a patch for each edit, and the reports with what there is to say at that size.
        """
        size = picture.shape[1], picture.shape[2]
        enlarged = window.height / self.image.shape[1]
        own = blending_at(mask, size, feather_px * enlarged) if self.reports else None
        before = picture.float().cpu().expand(self.image.shape[0], -1, -1, -1).split(1)
        patches: list[Patch] = []
        notes: list[str] = []
        for number, parts in enumerate(zip(before, self.image, self.blend, strict=True)):
            patch, note = patch_of(*parts, window, own), ""
            if finish is not None:
                finished, note = finish(parts[0], patch, enlarged, number)
                if note and finished is patch and not self.reports:
                    log.warning("%s", note)  # which no report would tell
                patch = finished
            patches.append(patch)
            notes.append(note)
        is_cut = (window.height, window.width) != size
        reports = (
            replace(report, notes=(*report.notes, *_at_size(report, note, is_cut)))
            for report, note in zip(self.reports, notes, strict=False)
        )
        return patches, tuple(reports)

    def put_back(
        self,
        picture: Tensor | None,
        window: Window,
        mask: Tensor | CanvasMask | None = None,
        feather_px: float = 0,
        finish: Finish | None = None,
    ) -> Self:
        """The same in the picture as it came, at its size, see `patches`.

        Args:
            picture: None where it is not known, and all stays as it is.
        """
        if picture is None or picture.shape[1:3] == self.image.shape[1:3]:
            return self
        patches, reports = self.patches(picture, window, mask, feather_px, finish)
        image, blend = put_back(picture, patches)
        return replace(self, image=image, blend=blend, reports=reports)


def _at_size(report: OutsideReport, note: str, is_cut: bool) -> Iterator[str]:
    """What there is to say of an edit in the picture as it came.

    Args:
        note: of what finished it.
        is_cut: whether the model saw only a part of the picture.
    """
    if report.extent == "whole" and is_cut:
        yield _MARGINS
    if note:
        yield note


def keep_unchanged(before: Before, seen: Tensor, after: Tensor) -> Kept:
    """Find what edits changed, and put that into the picture before them.

    Args:
        before: its own bits stand where nothing changed.
        seen: what the model saw of it: its latents, decoded, (1 or B, H, W, 3).
        after: the edits, decoded, (B, H, W, 3).
    """
    pictures = [
        Kept.nothing(canvas.float().cpu().expand_as(after)).cut_out(before.place).image.split(1)
        for canvas in (before.canvas, seen, after)
    ]
    results = [_keep_unchanged(*each).laid_on(before.place) for each in zip(*pictures, strict=True)]
    return Kept(
        torch.cat([kept.image for kept in results]),
        torch.cat([kept.blend for kept in results]),
        tuple(report for kept in results for report in kept.reports),
    )


def _keep_unchanged(before: Tensor, seen: Tensor, result: Tensor) -> Kept:
    """The same for one picture that fills its canvas; all (1, H, W, 3)."""
    motion = register(seen, result)
    after = undo(result, motion)
    change = find_change(seen[0], after[0], before[0])
    if change.extent == "nothing":
        return Kept(before, torch.zeros(after.shape[:3]), (OutsideReport(change.extent, 0.0),))
    if change.extent == "whole":  # as the latents show it, which go on
        return Kept.nothing(result, (OutsideReport(change.extent, change.share),))
    gain = motion.gain if motion.recolours else OutsideReport.gain
    covered = shown(motion, (after.shape[1], after.shape[2]))  # a result that was shifted leaves a rim
    blend = blending(change.mask * covered, FEATHER_PX) * covered
    notes = tuple(_notes(change.mask, seen[0], after[0]))
    report = OutsideReport(change.extent, _share_of(blend), motion.moved_px, gain, notes)
    return Kept(keep_outside(before, after, blend), blend[None], (report,))


def _notes(mask: Tensor, seen: Tensor, after: Tensor) -> Iterator[str]:
    """What there is to say of a change beside its size.

    Args:
        mask: (H, W), what changed.
        seen, after: (H, W, 3).
    """
    tone = (after - seen)[mask == 0].median(dim=0).values
    if (most := tone[tone.abs().argmax()].item()) and abs(most) > _TONE:
        way = "lighter" if most > 0 else "darker"
        yield f"the rest had become {way} by {abs(most) * LEVELS:.0f} of 255, which was not taken over"


def keep_beside_mask(before: Tensor, after: Tensor, mask: Tensor, feather_px: float) -> Kept:
    """Put what edits changed within a mask into the picture before them.

    Args:
        before: as for `keep_unchanged`, and so is after.
        mask: (H, W) in [0, 1], see `masks.canvas_mask`.
        feather_px: see `masks.blending`.
    """
    blend = blending(mask, feather_px).cpu()
    image = keep_outside(before, after, blend)
    distance = (image - before.float().cpu()).abs().amax((1, 2, 3)).tolist()
    share = _share_of(blend)
    reports = tuple(
        OutsideReport("local", share, notes=() if most > STRONG else (_MISSED,)) for most in distance
    )
    return Kept(image, blend.expand(image.shape[0], -1, -1), reports)


def _share_of(blend: Tensor) -> float:
    return (blend > 0).float().mean().item()
