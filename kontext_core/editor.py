"""Edits, whoever runs the network: sizes, noise, references and masks of a picture to be made.

What runs it is a subclass: `pipeline.Pipeline` with the parts of this package, and what hosts bring along.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Unpack

import torch
from PIL import Image
from torch import Tensor

from .config import Layout, VAEConfig
from .edit_settings import EditOptions, EditSettings, SampleOptions, check_size
from .errors import explain_oom
from .images.encoded import EncodedPictures
from .images.fitting import (
    Placement,
    canvas_size,
    check_image,
    fit_image,
    laid_on,
    legal_size,
)
from .images.masks import CanvasMask, canvas_mask, sampler_mask
from .images.outside import (
    OTHER_SIZE,
    Before,
    Kept,
    keep_beside_mask,
    keep_unchanged,
    what_to_keep,
)
from .images.picture_files import from_pil
from .images.put_back import seen_window
from .model.latents import LATENT_PX, TOKEN_PX, noise, size_px
from .sampling.detail import DetailPass
from .sampling.edits import Edit as Edit
from .sampling.edits import Reference as Reference
from .sampling.edits import UsedLora as UsedLora
from .sampling.edits import picture_of as picture_of
from .sampling.inputs import Callback, SampleInputs, Text
from .sampling.references import ReferenceLatents
from .sampling.schedule import sigmas

log = logging.getLogger(__name__)


class Editor(ABC):
    """What the nodes and the chains ask of a model."""

    def __init__(self) -> None:
        self._kept = EncodedPictures()

    @property
    @abstractmethod
    def preferred_sizes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) in pixels of pictures that the model knows well, the best first."""

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """Where references stand unless it is said."""

    @property
    @abstractmethod
    def vae_config(self) -> VAEConfig:
        """Channels, scale and shift of the latents."""

    @property
    def used_loras(self) -> tuple[UsedLora, ...]:
        """What acts upon the model, as far as that is known, in order."""
        return ()

    @abstractmethod
    def encode_prompt(self, prompt: str) -> Text:
        """`txt` and `pooled` of one prompt; the last ones used are kept."""

    @abstractmethod
    def encode(self, image: Tensor) -> Tensor:
        """Latents of pictures (B, H, W, 3) in [0, 1], H and W multiples of 16."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (B, H, W, 3) in [0, 1] on the CPU, from latents (B, 16, h, w)."""

    @abstractmethod
    def denoise(
        self,
        inputs: SampleInputs,
        sigmas: Sequence[float],
        settings: EditSettings,
        callback: Callback | None = None,
    ) -> Tensor:
        """From noise to latents, see `denoise.denoise_with`."""

    def thumbnail(self, latents: Tensor) -> Image.Image | None:
        """The first picture of unfinished (B, 16, h, w), or None where that is not quick to make."""
        return None

    def _encoder_state(self) -> tuple[object, ...]:
        """What encoded pictures depend on besides their pixels."""
        return ()

    def edit(
        self,
        prompt: str,
        references: Sequence[Reference] = (),
        *,
        settings: EditSettings | None = None,
        mask: Tensor | CanvasMask | None = None,
        kept: Reference | None = None,
        finish: Callable[[Tensor], Tensor] | None = None,
        seeds: Sequence[int] | None = None,
        callback: Callback | None = None,
        **options: Unpack[EditOptions],
    ) -> Edit:
        """Make a picture from an instruction and references, or from words alone.

        Args:
            prompt: the instruction; empty means none.
            references: PIL pictures, tensors (B, H, W, 3) in [0, 1], latents (B, 16, h, w), or an
                earlier `Edit`, which needs no second trip through the autoencoder; `ReferenceLatents`
                for a strength or a region.
            settings: what else the edit depends on, see `EditSettings`. With a strength below 1 it begins
                from the first reference in place of pure noise, and changes less of it.
            mask: where the first reference may change (white), (H, W) or (1, H, W), of any size. Beside it
                and its feather the result is that picture, bit for bit, as `fit` brought it to its size. Or
                what makes it, of the canvas's size.
            kept: what is kept there, and what a strength below 1 begins from, in place of the first
                reference: a picture of its size and place.
            finish: from the sampler's latents (B, 16, h, w) to those that are decoded and handed on.
            seeds: see `sample`.
            callback: see `denoise`.
            options: fields of `EditSettings`, in place of those of `settings`. Without width_px and height_px
                the picture has the first reference's size after `fit`, or the model's first preferred size;
                other sizes are rounded to multiples of 16, which the log says.
        Raises: ValueError about unusable arguments; TooLittleMemoryError.
        """
        settings = (settings or EditSettings()).with_options(options)
        fit = settings.fit or "crop"
        kept = references[0] if kept is None and references else kept
        keep = what_to_keep(settings.keep_outside, kept is not None, mask)
        check_size(asdict(settings), has_picture=kept is not None)
        if kept is None and (settings.strength < 1 or mask is not None):
            reason = "a strength below 1 starts from" if mask is None else "a mask says what may change in"
            raise ValueError(f"{reason} the first reference, but there is no reference")
        fitted = [self.encode_reference(reference, fit) for reference in references]
        start, place, allowed = None, None, None
        if kept is not None and (settings.strength < 1 or keep != "off" or mask is not None):
            encoded, place = self.encode_reference(kept, fit)
            start = encoded.latents if isinstance(encoded, ReferenceLatents) else encoded
            allowed = None if mask is None else canvas_mask(mask, size_px(start), place)
        negative = None
        if settings.negative_prompt is not None and settings.steers:
            negative = self.encode_prompt(settings.negative_prompt)
        latents = self.sample(
            self.encode_prompt(prompt),
            [latents for latents, _ in fitted],
            settings=settings,
            negative=negative,
            start=None if settings.strength == 1 and allowed is None else start,
            mask=None if allowed is None else sampler_mask(allowed, settings.feather_px),
            seeds=seeds,
            callback=callback,
        )
        if finish is not None:
            latents = finish(latents)
        if keep == "off" or start is None or kept is None:
            result = Kept.nothing(self.decode(latents))
        else:
            before = Before(self.canvas_of(kept, fit), start, place)
            result, latents = self.put_into(before, latents, allowed, settings.feather_px)
        is_own_size = settings.height_px is None and settings.width_px is None
        placement = fitted[0][1] if fitted and is_own_size else None
        if placement is not None:
            result = result.cut_out(placement)
            if settings.size == "original" and kept is not None:
                first_fit = kept.settings.get("fit", fit) if isinstance(kept, Edit) else fit
                window = seen_window(placement, first_fit)
                detail = DetailPass(self, prompt, settings, seeds, callback)
                result = result.put_back(picture_of(kept), window, mask, settings.feather_px, detail)
        height, width = size_px(latents)
        resolved = replace(
            settings, height_px=height, width_px=width, fit=fit, layout=settings.layout or self.layout
        )
        record = {"prompt": prompt} | resolved.record(masked=mask is not None)
        return Edit(result.image, latents, settings.seed, record, placement, result.blend, result.reports)

    def sample(
        self,
        text: Text,
        ref_latents: Sequence[Tensor | ReferenceLatents] = (),
        *,
        settings: EditSettings | None = None,
        negative: Text | None = None,
        start: Tensor | None = None,
        mask: Tensor | None = None,
        seeds: Sequence[int] | None = None,
        callback: Callback | None = None,
        **options: Unpack[SampleOptions],
    ) -> Tensor:
        """Sample latents from an encoded prompt and latents of references, as `edit` does in between.

        Args:
            text: from `encode_prompt`.
            ref_latents: from `encode_reference`, or results of this function; as `ReferenceLatents` where one
                has a strength, a region or a place of its own.
            settings: see `EditSettings`. Without width_px and height_px the size is that of `start`, else of
                the first reference, else the first preferred. Where a reference, `start` or `mask` is a
                batch, `batch` must be 1 or that many.
            negative: from `encode_prompt`.
            start: see `SampleInputs`.
            mask: likewise.
            seeds: a picture for each of them in one batch, the one that its seed alone gives; they stand in
                place of the seed and the batch of the settings.
            callback: see `denoise`.
            options: fields of `EditSettings`, in place of those of `settings`.
        Returns: (B, 16, h, w), float32.
        Raises: ValueError about unusable arguments; TooLittleMemoryError.
        """
        settings = (settings or EditSettings()).with_options(options, SampleOptions)
        if seeds is not None:
            settings = replace(settings, batch=len(seeds))
        references = [
            reference.latents if isinstance(reference, ReferenceLatents) else reference
            for reference in ref_latents
        ]
        sized = references if start is None else [start, *references]
        height, width = self.target_size(settings.height_px, settings.width_px, sized)
        batch = _batch(settings.batch, sized if mask is None else [*sized, mask])
        size = height // LATENT_PX, width // LATENT_PX
        is_sized = settings.height_px is not None or settings.width_px is not None
        if start is not None and is_sized and start.shape[-2:] != size:
            own_height, own_width = size_px(start)
            raise ValueError(
                f"the requested size is {width} x {height} px, but 'start' is {own_width} x {own_height} px: "
                "leave width and height out (0 in a node), or give a start of that size"
            )
        attempt = f"{batch} x {width} x {height} px with {len(ref_latents)} references"
        inputs = SampleInputs(
            noise=self._noise(settings, batch, size, seeds),
            text=text,
            references=ref_latents,
            negative=negative,
            start=start,
            mask=mask,
        )
        levels = sigmas(settings.steps, height * width // TOKEN_PX**2, mu=settings.mu)
        settings = replace(settings, layout=settings.layout or self.layout)
        with explain_oom(attempt, "use fewer or smaller references, a smaller picture or a smaller dtype"):
            return self.denoise(inputs, levels, settings, callback)

    def _noise(
        self, settings: EditSettings, batch: int, size: tuple[int, int], seeds: Sequence[int] | None
    ) -> Tensor:
        """The noise to begin with, (batch, 16, h, w). Raises: ValueError unless there is a seed for each."""
        channels = self.vae_config.z_channels
        if seeds is None:
            return noise(batch, *size, settings.seed, channels=channels)
        if len(seeds) != batch:
            raise ValueError(
                f"{len(seeds)} seeds make as many pictures, and a batch of {batch} is to be made"
            )
        checked = [replace(settings, seed=seed).seed for seed in seeds]
        return torch.cat([noise(1, *size, seed, channels=channels) for seed in checked])

    def encode_reference(
        self, reference: Reference, fit: str = "crop"
    ) -> tuple[Tensor | ReferenceLatents, Placement | None]:
        """One reference as `sample` takes it, and its place on the canvas; latents pass through."""
        if isinstance(reference, Edit):
            return reference.latents, reference.placement
        if isinstance(reference, ReferenceLatents):
            return reference, None
        if isinstance(reference, Image.Image):
            reference = from_pil(reference)
        if (
            reference.ndim == 4
            and reference.shape[-1] != 3
            and reference.shape[1] == self.vae_config.z_channels
        ):
            return reference, None
        return self.encode_picture(reference, fit)

    def put_into(
        self, before: Before, latents: Tensor, mask: Tensor | None = None, feather_px: float = 0
    ) -> tuple[Kept, Tensor]:
        """Decode an edit into the picture before it.

        Args:
            before: that picture.
            latents: the edit's, (B, 16, H / 8, W / 8).
            mask: (H, W) over the canvas, where it may change, see `masks.canvas_mask`; None: what it changed
                is found.
            feather_px: of the mask, see `masks.blending`.
        Returns: the picture on the canvas, and latents that show the same: those before where nothing
        changed.
        """
        after = self.decode(latents)
        if mask is not None:
            kept = keep_beside_mask(before.canvas, after, mask, feather_px)
            inside = sampler_mask(mask, feather_px) > 0
        elif after.shape[1:3] != before.canvas.shape[1:3]:
            return Kept.nothing(after, (OTHER_SIZE,) * len(after)), latents
        else:
            kept = keep_unchanged(before, self.decode(before.latents), after)
            inside = sampler_mask(kept.blend) > 0
        start = before.latents.float().cpu().expand_as(latents)
        extents = [report.extent for report in kept.reports]
        encoded = self.encode(kept.image).to("cpu", torch.float32) if "local" in extents else start
        carried = torch.where(inside, encoded, start)
        whole = torch.tensor([extent == "whole" for extent in extents])[:, None, None, None]
        return kept, torch.where(whole, latents.float().cpu(), carried)

    def canvas_of(self, reference: Reference, fit: str) -> Tensor:
        """The picture (B, H, W, 3) that stands behind what `encode_reference` gives."""
        if isinstance(reference, Image.Image):
            reference = from_pil(reference)
        if isinstance(reference, Edit):
            canvas = size_px(reference.latents)
            place = reference.placement or Placement(canvas, 0, 0, *canvas, canvas)
            laid = laid_on(reference.image, place)
            # None: the picture is but a preview, as of a file without latents for it
            return self.decode(reference.latents) if laid is None else laid
        latents, placement = self.encode_reference(reference, fit)
        if isinstance(reference, Tensor) and placement is not None:
            return fit_image(reference, placement.canvas, fit)[0]
        return self.decode(latents.latents if isinstance(latents, ReferenceLatents) else latents)

    def encode_picture(
        self, image: Tensor, fit: str = "crop", *, most_tokens: int | None = None
    ) -> tuple[Tensor, Placement]:
        """Latents (B, 16, h, w) of pictures (B, H, W, 3) in [0, 1], fitted to a size the model likes.

        The last ones used are kept, known by every pixel of every picture of the batch.

        Args:
            most_tokens: pictures that would have more are scaled down to so many.
        Returns: the latents, and where the picture lies on their canvas.
        Raises: ValueError about an unusable picture; TooLittleMemoryError.
        """
        check_image(image)
        height, width = image.shape[1:3]
        size = canvas_size(height, width, self.preferred_sizes, fit, most_tokens)
        if fit == "none" and (size[0] < height or size[1] < width):
            fit = "stretch"  # scaled down
        canvas, placement = fit_image(image, size, fit)
        return self._kept.latents(canvas, self._encoder_state(), self.encode), placement

    def target_size(
        self, height_px: int | None, width_px: int | None, ref_latents: Sequence[Tensor]
    ) -> tuple[int, int]:
        """(height, width) in pixels of the picture to be made, both multiples of 16."""
        if ref_latents:
            height, width = size_px(ref_latents[0])
        else:
            height, width = self.preferred_sizes[0]
        size = (height if height_px is None else height_px, width if width_px is None else width_px)
        if min(size) < 1:
            raise ValueError(
                f"a picture of {size[1]} x {size[0]} px cannot be made; both sides must be at least 16"
            )
        legal = legal_size(*size)
        if legal != size:
            log.warning("%d x %d px is not a multiple of 16 px; making %d x %d", *size[::-1], *legal[::-1])
        return legal


def _batch(batch: int, tensors: Sequence[Tensor]) -> int:
    """How many pictures are made. Raises: ValueError where what is given does not agree on it."""
    sizes = {batch, *(latents.shape[0] for latents in tensors)} - {1}
    if len(sizes) > 1 or batch < 1:
        counts = ", ".join(str(size) for size in sorted(sizes))
        raise ValueError(f"batches of {counts} cannot be combined; each must be 1, or all the same")
    return sizes.pop() if sizes else 1
