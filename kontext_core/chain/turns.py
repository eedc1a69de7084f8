"""Edit chains: every picture with how it came to be.

A chain is immutable. Going on from it makes a new one that shares all earlier turns, so two chains that go on
from one are branches, and know it.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Self

from torch import Tensor

from ..edit_settings import ALLOWED, EditSettings, check_size
from ..editor import Edit, Editor, Reference, picture_of
from ..images.fitting import Placement, Size, is_cropped, is_stretched
from ..images.marks import Mark, areas_of, cues_of, draw_marks, draw_on_canvas, mask_on_canvas
from ..images.masks import CanvasMask, canvas_mask, overlap
from ..images.outside import Kept, OutsideReport
from ..images.put_back import Patch, seen_window
from ..sampling.detail import DetailPass
from ..sampling.references import ReferenceLatents
from .drift import align_to
from .turn import Settings as Settings
from .turn import Turn as Turn
from .turn import lacking_loras as lacking_loras

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Chain:
    """Turns, the first one the picture it all began with.

    Raises: ValueError if there are none.
    """

    turns: tuple[Turn, ...]

    def __post_init__(self) -> None:
        if not self.turns:
            raise ValueError("a chain starts with a picture, but this one has none")

    @classmethod
    def start(cls, pipeline: Editor, image: Tensor, *, fit: str = "crop") -> Self:
        """A chain of nothing but a picture (1, H, W, 3) in [0, 1], encoded here and never again.

        Args:
            fit: how it reaches a size that the model likes, see `fitting.fit_image`.
        Raises: ValueError about an unusable picture; TooLittleMemoryError.
        """
        latents, placement = pipeline.encode_picture(image, fit)
        return cls((Turn(image, latents.cpu(), placement, settings={"fit": fit}),))

    def __len__(self) -> int:
        """How many edits there were; the picture at the start is none."""
        return len(self.turns) - 1

    @property
    def last(self) -> Turn:
        return self.turns[-1]

    @property
    def picture(self) -> Tensor:
        """The last picture, (1, H, W, 3): of the size of the first one, where the turns were made so."""
        whole = max(number for number, turn in enumerate(self.turns) if turn.patch is None)
        if whole == len(self):
            return self.last.image
        picture = self.turns[whole].image.clone()
        for turn in self.turns[whole + 1 :]:
            if turn.patch is not None:
                turn.patch.write_into(picture)
        return picture

    @property
    def size(self) -> Size:
        """Height and width of `picture`, in pixels."""
        patch, image = self.last.patch, self.last.image
        return (image.shape[1], image.shape[2]) if patch is None else patch.size

    def extended(self, turn: Turn) -> "Chain":
        """This chain and one more turn."""
        return Chain((*self.turns, turn))

    def back_to(self, turn: int) -> "Chain":
        """The chain as it was after so many edits; 0 is the start, -1 the last turn, -2 the one before.

        Raises: ValueError if there were not so many.
        """
        index = turn if turn >= 0 else len(self.turns) + turn
        if not 0 <= index < len(self.turns):
            raise ValueError(
                f"there is no turn {turn}: this chain has {len(self)} edits; "
                f"choose 0 (the start) to {len(self)}, or -1 to {-len(self.turns)} from the end"
            )
        return Chain(self.turns[: index + 1])

    def shared_turns(self, other: "Chain") -> int:
        """How many turns from the start are the same ones: where two branches part."""
        count = 0
        for mine, others in zip(self.turns, other.turns, strict=False):
            if mine is not others:
                break
            count += 1
        return count

    def edit(
        self,
        pipeline: Editor,
        instruction: str,
        *,
        references: Sequence[Tensor | Edit | ReferenceLatents] = (),
        anchor: bool = False,
        align: bool = False,
        marks: tuple[Mark, ...] = (),
        settings: EditSettings | None = None,
        **options: Any,
    ) -> "Chain":
        """One more turn. Latents go from turn to turn, so the autoencoder is crossed at the start only.

        LoRAs of the last turn that the model lacks are logged as a warning.

        Args:
            references: further pictures to look at: tensors (1, H, W, 3), or with their latents as `Edit` or
                as `ReferenceLatents`; those are kept as pictures where they have one.
            anchor: whether the picture at the start rides along as picture 2, from the second edit on.
            align: whether slow changes of colour against the picture at the start are taken back where
                nothing was edited, see `drift.align_to`.
            marks: drawn upon the last picture for this turn alone to see: neither that picture nor what a
                mask keeps of it, or a strength below 1 begins from, has them. The areas among them are not
                seen: only within them, and within a mask if there is one, the picture changes.
            settings: of the edit.
            options: what else `Editor.edit` takes.
        Raises: as `Editor.edit`.
        """
        return self.candidates(
            pipeline,
            instruction,
            references=references,
            anchor=anchor,
            align=align,
            marks=marks,
            settings=settings,
            **options,
        )[0]

    def candidates(
        self,
        pipeline: Editor,
        instruction: str,
        *,
        seeds: Sequence[int] | None = None,
        references: Sequence[Tensor | Edit | ReferenceLatents] = (),
        anchor: bool = False,
        align: bool = False,
        marks: tuple[Mark, ...] = (),
        **options: Any,
    ) -> list["Chain"]:
        """One more turn from each of several seeds, made in one batch: branches to choose from.

        Args:
            seeds: of the branches, in order; None: the one of the settings.
            references: as for `edit`, and so are anchor, align and marks.
            options: settings, and what else `Editor.edit` takes.
        Raises: as `Editor.edit`.
        """
        settings: EditSettings = options.pop("settings", None) or EditSettings()
        settings = settings.with_options({name: options.pop(name) for name in ALLOWED if name in options})
        check_size(asdict(settings), has_picture=True)
        loras = pipeline.used_loras
        if lacking := lacking_loras(self.last, [lora.name for lora in loras]):
            log.warning("the last turn was made with %s, which this model does not have", lacking)
        # Of a file without them: the picture is fitted anew, as it was at the start.
        if self.last.latents is None and settings.fit is None:
            settings = settings.with_options({"fit": self.last.settings.get("fit", "crop")})
        before = self._before()
        cues = cues_of(marks)
        looked_at = [self._drawn(pipeline, cues) if cues else before, *references]
        if areas := areas_of(marks):
            options["mask"] = partial(self._reach, areas, options.get("mask"))
        if anchor and len(self) > 0:
            looked_at.insert(1, self.turns[0].as_reference())
        finish = self._alignment() if align else None
        result = pipeline.edit(
            instruction,
            looked_at,
            kept=before,
            finish=finish,
            seeds=seeds,
            settings=replace(settings, size="model", detail=0),
            **options,
        )
        patches: list[Patch] = []
        if settings.size == "original":
            detail = DetailPass(pipeline, instruction, settings, seeds, options.get("callback"))
            patches, reports = self._patches(result, picture_of(before), options.get("mask"), detail)
            result = replace(result, reports=reports)
        recorded = {name: value for name, value in result.settings.items() if name != "prompt"}
        pictures = (
            reference if isinstance(reference, Tensor) else reference.image for reference in references
        )
        shown = tuple(picture for picture in pictures if picture is not None)
        if patches:
            recorded |= {"size": settings.size} | ({"detail": settings.detail} if settings.detail else {})
        shared = recorded | {"anchor": anchor, "align": align}
        return [
            self.extended(
                Turn(
                    candidate.image,
                    candidate.latents,
                    result.placement,
                    instruction,
                    candidate.seed,
                    shared | (candidate.reports[0].record() if candidate.reports else {}),
                    shown,
                    marks,
                    loras,
                    candidate.blend if candidate.reports else None,
                    patches[number] if patches else None,
                    candidate.reports[0] if candidate.reports else None,
                )
            )
            for number, candidate in enumerate(_each(result, seeds))
        ]

    def _patches(
        self, result: Edit, picture: Tensor | None, mask: Tensor | CanvasMask | None, detail: DetailPass
    ) -> tuple[list[Patch], tuple[OutsideReport, ...]]:
        """What edits change in the last picture, at the size of the first, and what there is to say of it.

        Args:
            picture: the last one, as it is known.
            mask: see `Editor.edit`.
            detail: the pass over them.
        Raises: ValueError where it has another size than the first.
        """
        place, blend = result.placement, result.blend
        if place is None or blend is None or picture is None:
            raise ValueError(
                "the place of the last picture is not known, so no result can be put back into it"
            )
        if tuple(picture.shape[1:3]) != place.original:
            raise ValueError(
                f"the last picture is {picture.shape[2]} x {picture.shape[1]} px and no longer of the size of the "
                f"first one, {place.original[1]} x {place.original[0]} px: choose size original from the first "
                "turn on, or leave it at model"
            )
        window = seen_window(place, self._fit(result))
        edits = Kept(result.image, blend, result.reports)
        return edits.patches(picture, window, mask, detail.settings.feather_px, detail)

    def _fit(self, result: Edit) -> str:
        """How the picture came to its canvas: at the start, or where a chain went on from a picture alone."""
        anew = 1 + max((number for number, turn in enumerate(self.turns) if turn.latents is None), default=-1)
        settings = [*(turn.settings for turn in self.turns), result.settings][anew]
        return str(settings.get("fit") or "crop")

    def _before(self) -> Reference:
        """What a turn goes on from: the last picture at the size of the first one, where it was made so."""
        before = self.last.as_reference()
        if self.last.patch is None or not isinstance(before, Edit):
            return before
        return replace(before, image=self.picture)

    def _drawn(self, pipeline: Editor, marks: tuple[Mark, ...]) -> Reference:
        """The last picture with marks upon it.

        Its latents, where they are known, change by what the marks change in them and stay as they are
        beside, so that here too nothing wears out; and they are all that this depends on, so that a loaded
        chain gives the same bits.
        """
        last = self.last
        if last.latents is None:
            return draw_marks(last.image, marks)
        canvas = pipeline.decode(last.latents)
        marked = draw_on_canvas(canvas, marks, self._place_of_marks(last.placement))
        plain, drawn = (pipeline.encode(picture).cpu() for picture in (canvas, marked))
        return Edit(last.image, last.latents + (drawn - plain), last.seed, placement=last.placement)

    def _reach(
        self, areas: tuple[Mark, ...], mask: Tensor | None, canvas: Size, place: Placement | None
    ) -> Tensor:
        """The mask on a canvas: areas drawn upon the last picture, and within them what a mask allows."""
        drawn = mask_on_canvas(areas, canvas, self._place_of_marks(place))
        return drawn if mask is None else overlap(drawn, canvas_mask(mask, canvas, place))

    def _place_of_marks(self, place: Placement | None) -> Placement | None:
        """Where the last picture, upon which marks are drawn, lies on a canvas; None: it is the canvas.

        It is the canvas itself where it was cropped or stretched, but not at the start, which is as it came,
        nor behind a turn that put its change back into that.
        """
        fills = place is not None and place.height >= place.canvas[0] and place.width >= place.canvas[1]
        fitted = len(self) > 0 and self.last.latents is not None and self.last.patch is None
        return None if fills and fitted else place

    def drawn_place(self) -> Placement | None:
        """Where the picture that the last turn's marks are drawn upon lies in that turn's own picture.

        None where both show the same part of it in the same shape, or the chain has no turn.
        """
        if len(self) == 0 or self.last.patch is not None:
            return None
        place = Chain(self.turns[:-1])._place_of_marks(self.last.placement)
        return place if place is not None and (is_cropped(place) or is_stretched(place)) else None

    def _alignment(self) -> Callable[[Tensor], Tensor]:
        first = self.turns[0].latents
        if first is None:
            raise ValueError(
                "the latents of the starting picture are not known, so nothing can be aligned to them: load "
                "the chain with its file of latents next to it, or switch 'align' off"
            )
        return partial(align_to, first=first)


def _each(result: Edit, seeds: Sequence[int] | None) -> list[Edit]:
    """Take an edit's pictures apart."""
    if seeds is None:
        return [replace(result, latents=result.latents.cpu())]
    # Of their own memory, so that what is kept of one keeps nothing of the others.
    images, latents, blends = (
        [None] * len(seeds) if batch is None else [part.clone() for part in batch.split(1)]
        for batch in (result.image, result.latents.cpu(), result.blend)
    )
    return [
        replace(
            result,
            image=images[number],
            latents=latents[number],
            seed=seed,
            blend=blends[number],
            reports=result.reports[number : number + 1],
        )
        for number, seed in enumerate(seeds)
    ]
