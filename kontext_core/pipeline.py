"""A model of this package's parts: transformer, autoencoder and text encoders, found, loaded and run."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Self, Unpack

import torch
from PIL import Image
from torch import Tensor

from .config import Layout, VAEConfig
from .editor import Edit as Edit
from .editor import Editor
from .editor import Reference as Reference
from .errors import explained_memory
from .images import to_pil
from .loading import load_text_encoders, load_transformer, load_vae
from .loading.folders import TINY as TINY
from .lora import Attached, Lora, LoraReport, with_loras
from .residency import Guests, Residency
from .sampler import Options, Text, denoise
from .text import TextEncoders
from .transformer import Transformer
from .vae import VAE
from .vae_tiles import decode_with_room, encode_with_room

PARTS = ("transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")

_QUICK = 5_000_000  # parameters of a decoder that is no burden at every step


class Pipeline(Editor):
    """A transformer, an autoencoder and the text encoders, on one device."""

    def __init__(self, transformer: Transformer, vae: VAE, text: TextEncoders) -> None:
        super().__init__()
        self.transformer = transformer.eval()
        self.vae = vae.eval()
        self.text = text.eval()
        self.loras: tuple[Lora, ...] = ()
        self._attached: Attached | None = None
        self._bare: Self | None = None  # the same model without LoRAs, where it has some
        self._guests: Guests | None = None

    @classmethod
    def load(
        cls,
        model: str | Path | Mapping[str, str | Path] = "tiny",
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        quantise: str | None = None,
        memory_gib: float | None = None,
    ) -> Self:
        """Args:
            model: "tiny", which comes along; a folder laid out as the published one; or a path for each of `PARTS`.
            dtype: None is bfloat16 on a GPU and float32 on a CPU.
            device: None is the GPU where there is one.
            quantise: how the large matrices of transformer and T5 stay in memory: None as they are stored, "full" in
                `dtype`, or one of "fp8", "fp8_tensor", "int8", "int8_zero", "int4", "int4_zero", "nf4".
            memory_gib: most that the device is to hold, weights and work together; what does not fit stays in the host's
                memory and visits, see `residency`. None keeps all weights on the device.
        Raises: CheckpointError, which says which part is missing or does not fit; ValueError about the device;
            TooLittleMemoryError.
        """
        device = _checked_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
        if isinstance(model, Mapping):
            absent = [part for part in PARTS if part not in model]
            if absent:
                raise ValueError(
                    f"a model needs a path for each of {', '.join(PARTS)}; not given: {', '.join(absent)}"
                )
            called: str | Path = model["transformer"]
            folders: Mapping[str, str | Path] = model
            text_path: str | Path | Mapping[str, str | Path] = {part: model[part] for part in PARTS[2:]}
        else:
            called = root = TINY if model == "tiny" else Path(model)
            folders = dict.fromkeys(PARTS, root)
            text_path = root
        first = device if memory_gib is None else torch.device("cpu")
        with explained_memory(f"the weights of {called} on {device}", "choose a smaller dtype, or the CPU"):
            transformer = load_transformer(
                folders["transformer"], dtype=dtype, device=first, quantise=quantise
            )
            vae = load_vae(folders["vae"], dtype=dtype, device=first)
            text_length = transformer.config.text_length
            text = load_text_encoders(
                text_path, dtype=dtype, device=first, text_length=text_length, quantise=quantise
            )
            made = cls(transformer, vae, text)
            if memory_gib is not None:
                made._guests = Guests(transformer, vae, text, device, memory_gib)
        return made

    @property
    def residency(self) -> Residency | None:
        """Which weights visit the device; None where all of them stay."""
        return self._guests.where if self._guests else None

    def with_loras(self, loras: Sequence[Lora]) -> Self:
        """The same model with LoRAs upon it, after those that it has; `self` stays as it is, and the weights are shared.

        Raises: CheckpointError in one sentence about a file that cannot be used; ValueError; TooLittleMemoryError.
        """
        bare = self.without_loras()
        made = copy.copy(bare)  # what was encoded by the same autoencoder is shared too
        made._bare = bare
        made.loras = (*self.loras, *loras)
        with explained_memory("the LoRAs", "take fewer of them, or let them run beside the weights"):
            made._attached = with_loras(bare.transformer, bare.text, made.loras)
        made.transformer, made.text = made._attached.stages[0][1], made._attached.text
        return made

    def without_loras(self) -> Self:
        """The model as it was loaded."""
        return self if self._bare is None else self._bare

    @property
    def lora_reports(self) -> tuple[LoraReport, ...]:
        """What of each LoRA is used, in order."""
        return self._attached.reports if self._attached else ()

    @property
    def preferred_sizes(self) -> tuple[tuple[int, int], ...]:
        return self.transformer.config.preferred_sizes

    @property
    def layout(self) -> Layout:
        return self.transformer.config.layout

    @property
    def vae_config(self) -> VAEConfig:
        return self.vae.config

    def encode_prompt(self, prompt: str) -> Text:
        """`txt` and `pooled` of one prompt; the last ones used are kept."""
        with explained_memory("the text encoders", "choose a smaller dtype, or the CPU"), self._visit():
            return self.text.encode(prompt)

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """Latents of pictures (B, H, W, 3) in [0, 1], H and W multiples of 16."""
        with explained_memory(f"encoding {image.shape[2]} x {image.shape[1]} px", "use a smaller picture"):
            weight = self.vae.encoder.conv_in.weight
            centred = (
                image.permute(0, 3, 1, 2).to(weight.device, torch.float32) * 2 - 1
            )  # before any rounding
            return encode_with_room(self.vae, centred.to(weight.dtype)).float()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (B, H, W, 3) in [0, 1] on the CPU, from latents (B, 16, h, w)."""
        with explained_memory(
            f"decoding {latents.shape[-1] * 8} x {latents.shape[-2] * 8} px", "use a smaller picture"
        ):
            image = decode_with_room(self.vae, latents.to(self.vae.decoder.conv_in.weight.device))
            return (image.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().contiguous()

    def denoise(
        self, noise: Tensor, text: Text, sigmas: Sequence[float], **options: Unpack[Options]
    ) -> Tensor:
        network = self._attached.stages if self._attached else self.transformer
        with self._visit():
            return denoise(network, noise, *text, sigmas, **options)

    def _visit(self) -> AbstractContextManager[object]:
        """At its end, the memory that visiting weights took is given back."""
        return nullcontext() if self._guests is None else closing(self._guests)

    def thumbnail(self, latents: Tensor) -> Image.Image | None:
        size = sum(parameter.numel() for parameter in self.vae.decoder.parameters())
        return to_pil(self.decode(latents[:1])) if size <= _QUICK else None

    def _encoder_state(self) -> tuple[object, ...]:
        weight = self.vae.encoder.conv_in.weight
        return weight.dtype, weight.device


def _checked_device(device: torch.device | str) -> torch.device:
    """Raises: ValueError in one sentence if this PyTorch or this machine has no such device."""
    found = torch.device(device)
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device {str(found)!r} was asked for, and PyTorch {torch.__version__} finds no GPU here; choose 'cpu'"
        )
    return found
