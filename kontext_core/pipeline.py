"""One edit from end to end: pictures and words in, a picture out."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor

from .config import Layout
from .errors import explained_memory
from .images import Placement, check_image, fit_image, from_pil, legal_size, nearest_size, undo_fit
from .latents import LATENT_PX, noise
from .loading import load_text_encoders, load_transformer, load_vae
from .sampler import Callback, denoise
from .schedule import sigmas
from .text import TextEncoders
from .transformer import Transformer
from .vae import VAE

log = logging.getLogger(__name__)

TINY = Path(__file__).parent / "tiny"
PARTS = ("transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")

Reference = Image.Image | Tensor


@dataclass(frozen=True)
class Edit:
    """The result. image (B, H, W, 3) in [0, 1]; latents (B, 16, h, w), which the next edit can take as its reference."""

    image: Tensor
    latents: Tensor
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Pipeline:
    """A transformer, an autoencoder and the text encoders, on one device."""

    def __init__(self, transformer: Transformer, vae: VAE, text: TextEncoders) -> None:
        self.transformer = transformer.eval().requires_grad_(False)
        self.vae = vae.eval().requires_grad_(False)
        self.text = text.eval().requires_grad_(False)

    @classmethod
    def load(
        cls,
        model: str | Path | Mapping[str, str | Path] = "tiny",
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """Args:
            model: "tiny", which comes along; a folder laid out as the published one; or a path for each of `PARTS`.
            dtype: None is bfloat16 on a GPU and float32 on a CPU.
            device: None is the GPU where there is one.
        Raises: CheckpointError, which says which part is missing or does not fit.
        """
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
        if isinstance(model, Mapping):
            absent = [part for part in PARTS if part not in model]
            if absent:
                raise ValueError(
                    f"a model needs a path for each of {', '.join(PARTS)}; not given: {', '.join(absent)}"
                )
            folders: Mapping[str, str | Path] = model
            text_path: str | Path | Mapping[str, str | Path] = {part: model[part] for part in PARTS[2:]}
        else:
            root = TINY if model == "tiny" else Path(model)
            folders = dict.fromkeys(PARTS, root)
            text_path = root
        with explained_memory(f"the weights of {model} on {device}", "choose a smaller dtype, or the CPU"):
            transformer = load_transformer(folders["transformer"], dtype=dtype, device=device)
            vae = load_vae(folders["vae"], dtype=dtype, device=device)
            text_length = transformer.config.text_length
            text = load_text_encoders(text_path, dtype=dtype, device=device, text_length=text_length)
        return cls(transformer, vae, text)

    def edit(
        self,
        prompt: str,
        references: Sequence[Reference] = (),
        *,
        height_px: int | None = None,
        width_px: int | None = None,
        fit: str = "crop",
        steps: int = 28,
        guidance: float = 2.5,
        seed: int = 0,
        layout: Layout | None = None,
        negative_prompt: str | None = None,
        cfg_scale: float = 1.0,
        callback: Callback | None = None,
    ) -> Edit:
        """Make a picture from an instruction and references, or from words alone.

        Args:
            prompt: the instruction; empty means none.
            references: PIL pictures, tensors (B, H, W, 3) in [0, 1], or latents of an earlier `Edit`.
            height_px, width_px: None is the first reference's size after `fit`, or the model's first preferred size.
                Other sizes are rounded to multiples of 16, which the log says.
            fit: how references reach a size the model likes, see `images.fit_image`.
            layout: where references stand, see `positions.layout_ids`; None is the model's own.
            cfg_scale: other than 1 needs negative_prompt, and doubles the time.
            callback: see `denoise`.
        Raises: ValueError about unusable arguments; TooLittleMemoryError.
        """
        placements: list[Placement | None] = []
        ref_latents: list[Tensor] = []
        for reference in references:
            latents, placement = self.encode_reference(reference, fit)
            ref_latents.append(latents)
            placements.append(placement)
        height, width = self.target_size(height_px, width_px, ref_latents)
        own_size = height_px is None and width_px is None

        with explained_memory("the text encoders", "choose a smaller dtype, or the CPU"):
            txt, pooled = self.text.encode(prompt)
            negative = (
                self.text.encode(negative_prompt)
                if negative_prompt is not None and cfg_scale != 1.0
                else None
            )
        batch = max([1, *(latents.shape[0] for latents in ref_latents)])
        start_noise = noise(batch, height // LATENT_PX, width // LATENT_PX, seed)
        attempt = f"a picture of {width} x {height} px with {len(ref_latents)} references"
        with explained_memory(
            attempt, "use fewer or smaller references, a smaller picture or a smaller dtype"
        ):
            latents = denoise(
                self.transformer,
                start_noise,
                txt,
                pooled,
                sigmas(steps, height * width // 256),
                guidance=guidance,
                references=ref_latents,
                layout=layout or self.transformer.config.layout,
                cfg_scale=cfg_scale,
                negative=negative,
                callback=callback,
            )
            image = self.decode(latents)
        if own_size and placements and placements[0] is not None:
            image = undo_fit(image, placements[0])
        settings = {"prompt": prompt, "height_px": height, "width_px": width, "fit": fit, "steps": steps}
        settings |= {
            "guidance": guidance,
            "layout": layout or self.transformer.config.layout,
            "cfg_scale": cfg_scale,
        }
        return Edit(image, latents, seed, settings)

    def encode_reference(self, reference: Reference, fit: str = "crop") -> tuple[Tensor, Placement | None]:
        """Latents of one reference, and its place on the canvas; latents pass through and have none."""
        if isinstance(reference, Image.Image):
            reference = from_pil(reference)
        if (
            reference.ndim == 4
            and reference.shape[-1] != 3
            and reference.shape[1] == self.vae.config.z_channels
        ):
            return reference, None
        check_image(reference)
        size = nearest_size(*reference.shape[1:3], self.transformer.config.preferred_sizes)
        canvas, placement = fit_image(reference, size, fit)
        return self.encode(canvas), placement

    def target_size(
        self, height_px: int | None, width_px: int | None, ref_latents: Sequence[Tensor]
    ) -> tuple[int, int]:
        """(height, width) in pixels of the picture to be made, both multiples of 16."""
        if ref_latents:
            height, width = (side * LATENT_PX for side in ref_latents[0].shape[-2:])
        else:
            height, width = self.transformer.config.preferred_sizes[0]
        asked = (height if height_px is None else height_px, width if width_px is None else width_px)
        if min(asked) < 1:
            raise ValueError(
                f"a picture of {asked[1]} x {asked[0]} px cannot be made; both sides must be at least 16"
            )
        legal = legal_size(*asked)
        if legal != asked:
            log.warning(
                "%d x %d px is not a multiple of 16 px; making %d x %d",
                asked[1],
                asked[0],
                legal[1],
                legal[0],
            )
        return legal

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """Latents of pictures (B, H, W, 3) in [0, 1], H and W multiples of 16."""
        with explained_memory(f"encoding {image.shape[2]} x {image.shape[1]} px", "use a smaller picture"):
            weight = self.vae.encoder.conv_in.weight
            return self.vae.encode(image.permute(0, 3, 1, 2).to(weight.device, weight.dtype) * 2 - 1).float()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (B, H, W, 3) in [0, 1] on the CPU, from latents (B, 16, h, w)."""
        with explained_memory(
            f"decoding {latents.shape[-1] * 8} x {latents.shape[-2] * 8} px", "use a smaller picture"
        ):
            image = self.vae.decode(latents.to(self.vae.decoder.conv_in.weight.device))
            return (image.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().contiguous()
