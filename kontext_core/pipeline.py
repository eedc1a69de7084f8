"""A model of this package's parts: transformer, autoencoder and text encoders, found, loaded and run."""

import copy
import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Literal, Self, cast
from weakref import WeakKeyDictionary

import torch
from PIL import Image
from torch import Tensor

from .config import Layout, VAEConfig
from .edit_settings import EditSettings
from .editor import Edit as Edit
from .editor import Editor, UsedLora
from .editor import Reference as Reference
from .errors import explained_memory
from .images.picture_files import to_pil
from .kernels.attention_backends import COMPILED_ATTENTION
from .kernels.options import Wishes, wishing
from .loading import load_text_encoders, load_transformer, load_vae
from .loading.choose_weights import AUTO, fit
from .loading.locate import TINY, find
from .loading.matching import check_parts
from .lora import Attached, Lora, LoraReport, with_loras
from .memory.devices import usable_device
from .memory.free_memory import free_bytes, free_host_bytes
from .memory.model_lock import lock_of
from .memory.offload_plan import GIB, WAITS, Guests, Host, Residency, Waiting, Waits
from .memory.tensor_data import lay_out_for_cpu, move_to, tensors_of
from .model.optimise import compile_blocks, multiply_in_float8
from .model.text import TextEncoders
from .model.tiled_vae import decode_with_room, encode_with_room
from .model.transformer import Transformer
from .model.vae import VAE
from .quant.schemes import checked
from .sampling.cuda_graph import release_graphs
from .sampling.denoise import denoise_with
from .sampling.inputs import Callback, SampleInputs, Text

PARTS = ("transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
KINDS = {
    "transformer": "transformer",
    "vae": "vae",
    "text_encoder": "clip",
    "text_encoder_2": "t5",
}  # of weights

log = logging.getLogger(__name__)

_QUICK = 5_000_000  # parameters of a decoder that is no burden at every step


class Pipeline(Editor):
    """A transformer, an autoencoder and the text encoders, on one device.

    Threads may share it: one computes at a time, and the others wait for the end of its edit or for its next callback.
    """

    def __init__(self, transformer: Transformer, vae: VAE, text: TextEncoders) -> None:
        super().__init__()
        self.home = transformer.device  # where it computes
        self.transformer = transformer.eval()
        self.vae = vae.eval()
        self.text = text.eval()
        self.loras: tuple[Lora, ...] = ()
        self.wishes: Wishes | None = None
        self._lock = lock_of(transformer)  # copies with LoRAs share it, as they share the weights
        self._attached: Attached | None = None
        self._bare: Self | None = None  # the same model without LoRAs, where it has some
        self._guests: Guests | None = None
        self._chosen = ""  # in words, how the form of the weights was chosen
        # what LoRAs have put upon the model, of those that are in use somewhere
        self._views: WeakKeyDictionary[Attached, list[Tensor]] = WeakKeyDictionary()
        self._own: tuple[object, list[Tensor]] | None = None  # see `_staying`

    @classmethod
    def load(
        cls,
        model: str | Path | Mapping[str, str | Path] = "tiny",
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        quantise: str | None = None,
        memory_gib: float | Literal["least", "auto"] | None = None,
        waits: Waits = "auto",
        compile: bool = False,
        float8: bool = False,
        wishes: Wishes | None = None,
    ) -> Self:
        """Args:
            model: "tiny", which comes along; a folder laid out as the published one; or a path for each of `PARTS`.
            dtype: None is bfloat16 on a GPU and float32 on a CPU.
            device: None is the GPU where there is one.
            quantise: how the large matrices of transformer and T5 stay in memory: None as they are stored, "full" in
                `dtype`, or one of "fp8", "fp8_tensor", "int8", "int8_zero", "int4", "int4_zero", "nf4"; "auto" chooses by
                `memory_gib`, see `choose_weights.fit`.
            memory_gib: most that the device is to hold, weights and work together; what does not fit stays in the host's
                memory and visits, see `residency`. "least" is as little as can be, "auto" what is free on a CUDA device.
                None keeps all weights on the device.
            waits: where weights wait that visit: in the host's "memory", or in their mapped "file", from which they are read
                at each visit, for which they have to be stored as they are used. "auto" is in memory if they fit there.
            compile: have the blocks of the transformer compiled at their first calls, see `optimise.compile_blocks`.
            float8: multiply in float8, which changes the picture a little, see `optimise.multiply_in_float8`.
            wishes: how steps are computed, see `kernels.Wishes`; None is as `kernels.wishing` around an edit says.
        Raises: CheckpointError, which says which part is missing or does not fit; ValueError about the device;
            TooLittleMemoryError.
        """
        device = usable_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
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
            tokenizers = {part: Path(model[part]) for part in PARTS[4:]}
        else:
            called = root = TINY if model == "tiny" else Path(model)
            folders = dict.fromkeys(PARTS, root)
            text_path = root
            tokenizers = {part: Path(root) / part for part in PARTS[4:]}
        if memory_gib == "auto" or (quantise == AUTO and memory_gib is None):
            memory_gib = _free_gib(device, needed=quantise == AUTO)
        first, chosen, waiting = device, "", Waiting()
        parts = {kind: find(folders[part], kind) for part, kind in KINDS.items()}
        check_parts({kind: report for kind, (report, _) in parts.items()}, tokenizers)
        if memory_gib is not None:
            form = quantise if quantise == AUTO else checked(quantise)
            host = Host(free_host_bytes(), device.type != "cuda", _checked_waits(waits))
            found = fit(parts, dtype, form, memory_gib, host)
            quantise, chosen, waiting = found.quantise, found.chosen, found.where.waiting
            if found.where.visiting_bytes:
                first = torch.device("cpu")
        with explained_memory(f"the weights of {called} on {device}", "choose a smaller dtype, or the CPU"):
            transformer = load_transformer(
                folders["transformer"], dtype=dtype, device=first, quantise=quantise, pack_on=device
            )
            if float8:
                multiply_in_float8(transformer, device)
            vae = load_vae(folders["vae"], dtype=dtype, device=first)
            text_length = transformer.config.text_length
            text = load_text_encoders(
                text_path, dtype=dtype, device=first, text_length=text_length, quantise=quantise, pack_on=device
            )  # fmt: skip
            made = cls(transformer, vae, text)
            made.home, made._chosen, made.wishes = device, chosen, wishes
            if device.type == "cpu":
                lay_out_for_cpu(transformer)
            if memory_gib is not None:
                made._guests = Guests(transformer, vae, text, device, memory_gib, waiting)
            if compile:
                compile_blocks(transformer)
                if wishes is not None and wishes.attention not in COMPILED_ATTENTION:
                    log.warning(
                        "blocks are compiled, with torch's own attention and not %r", wishes.attention
                    )
        return made

    @property
    def residency(self) -> Residency | None:
        """Which weights visit the device; None where that was not asked, and all of them stay."""
        return self._guests.where if self._guests else None

    def describe_memory(self) -> str:
        """One line on the form of the weights and where they are; "" where all is as it was asked for."""
        where = self.residency
        return "; ".join(one for one in (self._chosen, where.describe() if where else "") if one)

    def with_loras(self, loras: Sequence[Lora]) -> Self:
        """The same model with LoRAs upon it, after those that it has; `self` stays as it is, and the weights are shared.

        Raises: CheckpointError in one sentence about a file that cannot be used; ValueError; TooLittleMemoryError.
        """
        bare = self.without_loras()
        view = copy.copy(bare)  # what was encoded by the same autoencoder is shared too
        view._bare = bare
        view.loras = (*self.loras, *loras)
        advice = "take fewer of them, or let them run beside the weights"
        with self._lock, explained_memory("the LoRAs", advice):
            attached = view._attached = with_loras(bare.transformer, bare.text, view.loras)
            bare._views[attached] = bare._added_by(attached)
            if bare._guests is not None:
                bare._guests.make_room(sum(tensor.nbytes for tensor in bare._added()))
        view.transformer, view.text = attached.stages[0][1], attached.text
        return view

    @property
    def resident_bytes(self) -> int:
        """What the device holds for this model and all its LoRAs, between edits."""
        return sum(tensor.nbytes for tensor in self._staying())

    def leave(self) -> None:
        """Move all weights to the host's memory. To be used again, they have to `come_home`."""
        with self._lock.idle():
            if self._guests is not None:
                self._guests.close()
            release_graphs(*self._networks())
            self._move(torch.device("cpu"))

    def come_home(self) -> None:
        """Move the weights back to the device, but for those that visit it. Raises: TooLittleMemoryError."""
        advice = "let the model take less, or weights of fewer bits"
        with self._lock, explained_memory(f"the weights on {self.home}", advice):
            self._move(self.home)

    def _networks(self) -> list[Transformer]:
        """Return the transformer as it was loaded, and with all LoRAs that are in use somewhere."""
        bare = self.without_loras()
        return [bare.transformer, *(network for view in bare._views for _, network in view.stages)]

    def _move(self, device: torch.device) -> None:
        move_to(self._staying(), device)

    def _staying(self) -> list[Tensor]:
        """Weights that do not visit, and what LoRAs have put beside them."""
        bare, guests = self.without_loras(), self._guests
        visitors = guests and guests.where.visitors
        if bare._own is None or bare._own[0] != visitors:
            packets = [] if guests is None else guests.packets
            visiting = {id(tensor) for packet in packets for tensor in packet.tensors}
            every = [one for part in (bare.transformer, bare.vae, bare.text) for one in tensors_of(part)]
            bare._own = visitors, [tensor for tensor in every if id(tensor) not in visiting]
        return [*bare._own[1], *bare._added()]

    def _added(self) -> list[Tensor]:
        """What LoRAs have put upon the model, each tensor once."""
        every = {id(one): one for tensors in self.without_loras()._views.values() for one in tensors}
        return list(every.values())

    def _added_by(self, attached: Attached) -> list[Tensor]:
        own = {id(tensor) for part in (self.transformer, self.text) for tensor in tensors_of(part)}
        views = (attached.text, *(stage for _, stage in attached.stages))
        return [one for view in views for one in tensors_of(view) if id(one) not in own]

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
        with self._computing("the text encoders", "choose a smaller dtype, or the CPU"), self._visit():
            return self.text.encode([prompt])

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """Latents of pictures (B, H, W, 3) in [0, 1], H and W multiples of 16."""
        with self._computing(f"encoding {image.shape[2]} x {image.shape[1]} px", "use a smaller picture"):
            weight = self.vae.encoder.conv_in.weight
            # Before any rounding.
            centred = image.permute(0, 3, 1, 2).to(weight.device, torch.float32) * 2 - 1
            return encode_with_room(self.vae, centred.to(weight.dtype), self._room()).float()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (B, H, W, 3) in [0, 1] on the CPU, from latents (B, 16, h, w)."""
        size = f"{latents.shape[-1] * 8} x {latents.shape[-2] * 8} px"
        with self._computing(f"decoding {size}", "use a smaller picture"):
            placed = latents.to(self.vae.decoder.conv_in.weight.device)
            image = decode_with_room(self.vae, placed, self._room())
            return (image.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().contiguous()

    def denoise(
        self,
        inputs: SampleInputs,
        sigmas: Sequence[float],
        settings: EditSettings,
        callback: Callback | None = None,
    ) -> Tensor:
        network = self._attached.stages if self._attached else self.transformer

        def outside(step: int, steps: int, clean: Tensor) -> None:
            with self._lock.lent():
                cast("Callback", callback)(step, steps, clean)

        with self._computing(), self._visit():
            return denoise_with(network, inputs, sigmas, settings, None if callback is None else outside)

    @contextmanager
    def _computing(self, attempt: str = "", advice: str = "") -> Generator[None]:
        """Hold the model for this thread, and compute as it was wished.

        Args:
            attempt: for `explained_memory`; "" leaves that to who calls.
            advice: likewise.
        """
        explained = explained_memory(attempt, advice) if attempt else nullcontext()
        wished = nullcontext() if self.wishes is None else wishing(self.wishes)
        with self._lock, explained, wished:
            yield

    def _visit(self) -> AbstractContextManager[object]:
        """At its end, the memory that visiting weights took is given back."""
        return nullcontext() if self._guests is None else closing(self._guests)

    def _room(self) -> int | None:
        """Bytes that are left for the autoencoder's work: of those that are free, what the user lets the model take."""
        free = free_bytes(self.vae.decoder.conv_in.weight.device)
        budget = None if self._guests is None else self._guests.budget
        allowed = None if budget is None else max(0, budget - self.resident_bytes)
        return min((one for one in (free, allowed) if one is not None), default=None)

    def thumbnail(self, latents: Tensor) -> Image.Image | None:
        size = sum(parameter.numel() for parameter in self.vae.decoder.parameters())
        return to_pil(self.decode(latents[:1])) if size <= _QUICK else None

    def _encoder_state(self) -> tuple[object, ...]:
        return self.vae.encoder.conv_in.weight.dtype, self.home


def _free_gib(device: torch.device, needed: bool) -> float | None:
    """None for a device that does not say. Raises: ValueError if that is needed."""
    if device.type != "cuda":
        if needed:
            raise ValueError(
                f"quantise 'auto' chooses by the memory that is free, and on {device} that is not known: give memory_gib too"
            )
        return None
    return torch.cuda.mem_get_info(device)[0] / GIB


def _checked_waits(waits: Waits) -> Waits:
    """Raises: ValueError if it is none of `WAITS`."""
    if waits not in WAITS:
        raise ValueError(f"weights that visit the device wait in {waits!r}; choose one of {', '.join(WAITS)}")
    return waits
