"""From a description to a model: its parts found, fitted to the memory, and loaded."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from ..config import TINY
from ..errors import explain_oom
from ..kernels.attention_backends import COMPILED_ATTENTION
from ..memory.devices import usable_device
from ..memory.free_memory import free_host_bytes
from ..memory.model_weights import ModelWeights
from ..memory.offload_plan import GIB, Host, HostStorage
from ..memory.tensor_data import lay_out_for_cpu
from ..model.optimise import compile_blocks, multiply_in_float8
from ..model.text import TextEncoders
from ..model.transformer import Transformer
from ..model.vae import VAE
from ..model_spec import AUTO, MODEL_PARTS, ModelSpec
from .choose_weights import choose_weights
from .locate import TINY_FOLDER, locate_part
from .matching import check_parts
from .models import load_transformer, load_vae
from .text_encoders import load_text_encoders

PART_KINDS = {
    "transformer": "transformer",
    "vae": "vae",
    "text_encoder": "clip",
    "text_encoder_2": "t5",
}  # of weights

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LoadedParts:
    """A model's parts, where they belong, and who knows where that is."""

    transformer: Transformer
    vae: VAE
    text: TextEncoders
    weights: ModelWeights


def load_parts(spec: ModelSpec) -> LoadedParts:
    """Load a model, but for its LoRAs.

    Raises:
        CheckpointError: which says which part is missing or does not fit.
        ValueError: about the device.
        TooLittleMemoryError: if it does not fit.
    """
    device = usable_device(spec.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = _dtype(spec, device)
    paths = _paths(spec)
    memory_gib = spec.memory_gib
    if memory_gib == AUTO or (spec.quantise == AUTO and memory_gib is None):
        memory_gib = _free_gib(device, needed=spec.quantise == AUTO)
    first, quantise, reason, waiting = device, spec.quantise, "", HostStorage()
    parts = {kind: locate_part(paths[part], kind) for part, kind in PART_KINDS.items()}
    check_parts({kind: report for kind, (report, _) in parts.items()}, _tokenizers(spec, paths))
    if memory_gib is not None:
        host = Host(free_host_bytes(), device.type != "cuda", spec.waits)
        form = choose_weights(parts, dtype, quantise, memory_gib, host)
        quantise, reason, waiting = form.quantise, form.reason, form.where.waiting
        if form.where.visiting_bytes:
            first = torch.device("cpu")
    advice = "choose a smaller dtype, or the CPU"
    with explain_oom(f"the weights of {paths['transformer']} on {device}", advice):
        transformer = load_transformer(
            paths["transformer"], dtype=dtype, device=first, quantise=quantise, pack_on=device
        )
        if spec.float8:
            multiply_in_float8(transformer, device)
        vae = load_vae(paths["vae"], dtype=dtype, device=first)
        text = load_text_encoders(
            {part: paths[part] for part in MODEL_PARTS[2:]}
            if isinstance(spec.model, Mapping)
            else paths["vae"],
            dtype=dtype,
            device=first,
            text_length=transformer.config.text_length,
            quantise=quantise,
            pack_on=device,
        )
        if device.type == "cpu":
            lay_out_for_cpu(transformer)
        weights = ModelWeights(
            transformer, vae, text, device, memory_gib=memory_gib, waiting=waiting, form=reason
        )
        if spec.compile:
            _compile(transformer, spec)
    return LoadedParts(transformer, vae, text, weights)


def load_network(spec: ModelSpec, device: torch.device) -> Transformer:
    """Load the transformer alone, in the form of weights that is asked for. Raises: as `load_transformer`."""
    path, dtype = _paths(spec)["transformer"], _dtype(spec, device)
    return load_transformer(path, dtype=dtype, device=device, quantise=spec.quantise).eval()


def _compile(transformer: Transformer, spec: ModelSpec) -> None:
    compile_blocks(transformer)
    if spec.compute is not None and spec.compute.attention not in COMPILED_ATTENTION:
        log.warning("blocks are compiled, with torch's own attention and not %r", spec.compute.attention)


def _dtype(spec: ModelSpec, device: torch.device) -> torch.dtype:
    if spec.dtype is not None:
        return getattr(torch, spec.dtype)
    return torch.float32 if device.type == "cpu" else torch.bfloat16


def _paths(spec: ModelSpec) -> Mapping[str, str | Path]:
    """Where each part is looked for."""
    if isinstance(spec.model, Mapping):
        return spec.model
    return dict.fromkeys(MODEL_PARTS, TINY_FOLDER if spec.model == TINY else Path(spec.model))


def _tokenizers(spec: ModelSpec, paths: Mapping[str, str | Path]) -> dict[str, Path]:
    named = isinstance(spec.model, Mapping)
    return {part: Path(paths[part]) if named else Path(paths[part]) / part for part in MODEL_PARTS[4:]}


def _free_gib(device: torch.device, needed: bool) -> float | Literal["least"] | None:
    """None for a device that does not say. Raises: ValueError if that is needed."""
    if device.type != "cuda":
        if needed:
            raise ValueError(
                f"quantise 'auto' chooses by the memory that is free, but on {device} that is not known: "
                "give memory_gib too"
            )
        return None
    return torch.cuda.mem_get_info(device)[0] / GIB
