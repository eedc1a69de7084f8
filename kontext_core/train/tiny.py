"""The tiny model from nothing: tokenizers, autoencoder, text encoders, flow, and the folder of it all."""

import json
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from ..disk import make_folder, whole
from ..loading import load_text_encoders, load_transformer, load_vae, save_model
from ..loading.checkpoint import open_checkpoint
from ..loading.save import TRANSFORMER_FILE
from ..model.transformer import Transformer
from ..model.vae import VAE
from ..world import corpus, vocabulary
from .autoencoder import reconstruction_psnr, train_autoencoder
from .config import TINY_TRANSFORMER, TINY_VAE, AutoencoderTraining, FlowTraining, TextTraining
from .flow import FlowModel, initialised, train_flow
from .plot import plot
from .state import STATE_FILE, read_progress
from .text_models import tiny_text_models
from .text_training import train_text
from .tokenizers import train_tokenizers

log = logging.getLogger(__name__)


def train_tiny(
    folder: Path,
    *,
    autoencoder: AutoencoderTraining | None = None,
    words: TextTraining | None = None,
    flow: FlowTraining | None = None,
    start: Path | None = None,
    device: str = "cpu",
    measure: Callable[[VAE, FlowModel], Mapping[str, float]] | None = None,
) -> Path:
    """Train the tiny model, or go on with what is in `folder`.

    Args:
        autoencoder: what the autoencoder and the text encoders learn with; None leaves those of `start` as
            they are.
        words: likewise.
        start: a model folder to begin from; None begins from nothing.
        measure: success rates of what there is so far, for the log and the plot.
    Returns: the model folder, laid out as the published one, in bfloat16.
    """
    flow = flow or FlowTraining()
    before = {} if start is None else recorded_training(start)
    seed = len(before.get("seeds", [])) if flow.seed is None else flow.seed
    flow = replace(flow, seed=seed)
    vae = None if start is None else load_vae(start, dtype=torch.float32)
    if vae is None or autoencoder is not None:
        vae = _autoencoder(folder, autoencoder or AutoencoderTraining(), device, vae)
    if start is not None:
        transformer = load_transformer(start, dtype=torch.float32)
        text = load_text_encoders(start, dtype=torch.float32, text_length=transformer.config.text_length)
    else:
        torch.manual_seed(seed)
        transformer = initialised(Transformer(TINY_TRANSFORMER))
        tokenizers = folder / "tokenizers"
        if not tokenizers.exists():
            make_folder(folder)
            with whole(tokenizers) as (partial_folder,):
                train_tokenizers([*vocabulary(), *corpus(4000, random.Random(0))], partial_folder)
        text = tiny_text_models(tokenizers, text_length=TINY_TRANSFORMER.text_length)
        words = words or TextTraining()
    if words is not None:
        text = train_text(text, words, folder / "text", device)
    probe = None if measure is None else partial(measure, vae)
    model = train_flow(transformer, text, vae, flow, folder / "flow", device, measure=probe)
    plot(folder / "flow")
    return export(folder / "model", vae, model, training_record(folder / "flow", before, seed))


def export(folder: Path, vae: VAE, model: FlowModel, training: Mapping[str, Any] | None = None) -> Path:
    """Write the model folder."""
    save_model(folder, transformer=model.transformer, vae=vae, text_encoders=model.text, training=training)
    log.info("wrote %s", folder)
    return folder


def _autoencoder(folder: Path, training: AutoencoderTraining, device: str, start: VAE | None) -> VAE:
    """The finished autoencoder of this folder, trained where it is not there yet."""
    finished = folder / "vae"
    if not (finished / "ae.safetensors").exists():
        vae = train_autoencoder(TINY_VAE, training, finished, device, start=start)
        log.info("autoencoder: %.1f dB on held-out pictures", reconstruction_psnr(vae, device=device))
        save_model(finished, vae=vae.cpu(), dtype=torch.float32)
    return load_vae(finished, dtype=torch.float32, device=device)


def training_record(
    run: Path, before: Mapping[str, Any] = MappingProxyType({}), seed: int = 0
) -> dict[str, Any]:
    """What a run of the flow has behind it, with what the weights that it started from had before.

    Returns: samples, steps and minutes in all, and the seed of each run.
    """
    progress = read_progress(run / STATE_FILE)
    record = {
        "samples": progress["samples"],
        "steps": progress["step"],
        "minutes": round(progress["elapsed"] / 60),
    }
    total = {name: value + before.get(name, 0) for name, value in record.items()}
    return {**total, "seeds": [*before.get("seeds", []), seed]}


def recorded_training(folder: Path) -> dict[str, Any]:
    """What `training_record` wrote into the weights of a model folder; empty where it is not known."""
    path = folder / TRANSFORMER_FILE
    return json.loads(open_checkpoint(path).metadata.get("training", "{}")) if path.is_file() else {}
