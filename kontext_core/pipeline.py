"""A model of this package's parts: transformer, autoencoder and text encoders, found, loaded and run."""

import copy
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

import torch
from PIL import Image
from torch import Tensor

from .config import TINY, Layout, VAEConfig
from .edit_settings import EditSettings
from .editor import Edit as Edit
from .editor import Editor, UsedLora
from .editor import Reference as Reference
from .errors import explain_oom
from .images.picture_files import to_pil
from .kernels.options import use_compute_options
from .loading.load_parts import load_parts
from .lora import Attached, LoraReport, with_loras
from .memory.model_weights import ModelWeights
from .memory.offload_plan import OffloadPlan
from .model.text import TextEncoders
from .model.tiled_vae import decode_with_room, encode_with_room
from .model.transformer import Transformer
from .model.vae import VAE
from .model_spec import ComputeOptions, Lora, ModelSpec, Waits
from .sampling.denoise import denoise_with
from .sampling.inputs import Callback, SampleInputs, Text

_QUICK = 5_000_000  # parameters of a decoder that is no burden at every step


class Pipeline(Editor):
    """A transformer, an autoencoder and the text encoders, on one device.

    Threads may share it: one computes at a time, and the others wait for the end of its edit or for its next
    callback.

    Args:
        transformer: of the model, as the other parts where it computes.
        vae: of the model.
        text: of the model.
        weights: who knows where they are; None: all of them stay where they are.
        compute: how steps are computed; None: as `use_compute_options` around an edit says.
    """

    def __init__(
        self,
        transformer: Transformer,
        vae: VAE,
        text: TextEncoders,
        *,
        weights: ModelWeights | None = None,
        compute: ComputeOptions | None = None,
    ) -> None:
        super().__init__()
        self.transformer = transformer.eval()
        self.vae = vae.eval()
        self.text = text.eval()
        self.weights = weights or ModelWeights(transformer, vae, text, transformer.device)
        self.home = self.weights.device  # where it computes
        self.compute = compute
        self.loras: tuple[Lora, ...] = ()
        self._attached: Attached | None = None
        self._bare: Self | None = None  # the same model without LoRAs, where it has some

    @classmethod
    def load(
        cls,
        model: str | Path | Mapping[str, str | Path] = TINY,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        quantise: str | None = None,
        memory_gib: float | Literal["least", "auto"] | None = None,
        waits: Waits = "auto",
        compile: bool = False,
        float8: bool = False,
        wishes: ComputeOptions | None = None,
    ) -> Self:
        """Load a model; each argument is a field of `ModelSpec`, `wishes` is `compute` there.

        Raises: CheckpointError, which says which part is missing or does not fit; ValueError about a value;
            TooLittleMemoryError.
        """
        if isinstance(model, Mapping):
            paths: str | dict[str, str] = {part: str(path) for part, path in model.items()}
        else:  # a folder that is called as the tiny model is none the less a folder
            paths = f"./{model}" if model == Path(TINY) else str(model)
        return cls.from_spec(
            ModelSpec(
                model=paths,
                dtype=None if dtype is None else str(dtype).removeprefix("torch."),
                device=None if device is None else str(device),
                quantise=quantise,
                memory_gib=memory_gib,
                waits=waits,
                compile=compile,
                float8=float8,
                compute=wishes,
            )
        )

    @classmethod
    def from_spec(cls, spec: ModelSpec) -> Self:
        """Load a model with its LoRAs. Raises: as `load` and `with_loras`."""
        parts = load_parts(spec)
        pipeline = cls(parts.transformer, parts.vae, parts.text, weights=parts.weights, compute=spec.compute)
        return pipeline.with_loras(spec.loras) if spec.loras else pipeline

    @property
    def residency(self) -> OffloadPlan | None:
        """Which weights visit the device; None where that was not asked, and all of them stay."""
        return self.weights.plan

    def describe_memory(self) -> str:
        """One line on the form of the weights and where they are; "" where all is as it was asked for."""
        return self.weights.describe()

    def with_loras(self, loras: Sequence[Lora]) -> Self:
        """The same model with LoRAs added to those that it has; `self` stays, and the weights are shared.

        Raises: CheckpointError in one sentence about a file that cannot be used; ValueError;
        TooLittleMemoryError.
        """
        bare = self.without_loras()
        view = copy.copy(bare)  # what was encoded by the same autoencoder is shared too
        view._bare = bare
        view.loras = (*self.loras, *loras)
        advice = "use fewer of them, or let them run beside the weights"
        with self.weights.lock, explain_oom("the LoRAs", advice):
            attached = view._attached = with_loras(bare.transformer, bare.text, view.loras)
            self.weights.add(attached)
        view.transformer, view.text = attached.stages[0][1], attached.text
        return view

    @property
    def networks(self) -> list[Transformer]:
        """The networks that are asked at some step, each once, in a fixed order."""
        return list(dict.fromkeys(self._attached.networks if self._attached else [self.transformer]))

    def with_networks(self, others: Mapping[Transformer, Transformer]) -> Self:
        """The same model with other networks in the places of its own."""
        view = copy.copy(self)
        view.transformer = others.get(self.transformer, self.transformer)
        if self._attached is not None:
            stages = tuple((begin, others.get(network, network)) for begin, network in self._attached.stages)
            view._attached = replace(self._attached, stages=stages)
        return view

    def to_host(self) -> None:
        """Move all weights to the host's memory. To be used again, they have to go back `to_device`."""
        self.weights.to_host()

    def to_device(self) -> None:
        """Move the weights back to the device, but for those that visit it. Raises: TooLittleMemoryError."""
        advice = "let the model use less, or choose weights of fewer bits"
        with explain_oom(f"the weights on {self.home}", advice):
            self.weights.to_device()

    def without_loras(self) -> Self:
        """The model as it was loaded."""
        return self if self._bare is None else self._bare

    @property
    def used_loras(self) -> tuple[UsedLora, ...]:
        return tuple(UsedLora(Path(lora.path).name, lora.strength) for lora in self.loras if lora.strength)

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
        with (
            self._computing("the text encoders", "choose a smaller dtype, or the CPU"),
            self.weights.in_use(),
        ):
            return self.text.encode([prompt])

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """Latents of pictures (B, H, W, 3) in [0, 1], H and W multiples of 16."""
        with self._computing(f"encoding {image.shape[2]} x {image.shape[1]} px", "use a smaller picture"):
            weight = self.vae.encoder.conv_in.weight
            # Before any rounding.
            centred = image.permute(0, 3, 1, 2).to(weight.device, torch.float32) * 2 - 1
            return encode_with_room(self.vae, centred.to(weight.dtype), self.weights.work_budget()).float()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (B, H, W, 3) in [0, 1] on the CPU, from latents (B, 16, h, w)."""
        size = f"{latents.shape[-1] * 8} x {latents.shape[-2] * 8} px"
        with self._computing(f"decoding {size}", "use a smaller picture"):
            placed = latents.to(self.vae.decoder.conv_in.weight.device)
            image = decode_with_room(self.vae, placed, self.weights.work_budget())
            return (image.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().contiguous()

    def denoise(
        self,
        inputs: SampleInputs,
        sigmas: Sequence[float],
        settings: EditSettings,
        callback: Callback | None = None,
    ) -> Tensor:
        network = self._attached.stages if self._attached else self.transformer
        with self._computing(), self.weights.in_use():
            return denoise_with(network, inputs, sigmas, settings, callback)

    @contextmanager
    def _computing(self, attempt: str = "", advice: str = "") -> Generator[None]:
        """Hold the model for this thread, and compute as it was wished.

        Args:
            attempt: for `explain_oom`; "" leaves that to who calls.
            advice: likewise.
        """
        explained = explain_oom(attempt, advice) if attempt else nullcontext()
        options = nullcontext() if self.compute is None else use_compute_options(self.compute)
        with self.weights.lock, explained, options:
            yield

    def thumbnail(self, latents: Tensor) -> Image.Image | None:
        size = sum(parameter.numel() for parameter in self.vae.decoder.parameters())
        return to_pil(self.decode(latents[:1])) if size <= _QUICK else None

    def _encoder_state(self) -> tuple[object, ...]:
        return self.vae.encoder.conv_in.weight.dtype, self.home
