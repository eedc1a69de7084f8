"""Writing a model as a folder laid out as the published one."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..disk import make_folder, whole
from ..errors import CheckpointError
from ..model.transformer import Transformer
from ..model.vae import VAE
from ..quant.layer import whole_state_dict

if TYPE_CHECKING:
    from ..model.text import TextEncoders

TRANSFORMER_FILE = "flux1-kontext-dev.safetensors"
VAE_FILE = "ae.safetensors"

# What a text encoder's config.json needs to say for every transformers version to build the same model.
_CLIP_FIELDS = (
    "model_type", "vocab_size", "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers",
    "num_attention_heads", "max_position_embeddings", "hidden_act", "layer_norm_eps", "attention_dropout",
    "bos_token_id", "eos_token_id", "pad_token_id",
)  # fmt: skip
_T5_FIELDS = (
    "model_type", "vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads",
    "relative_attention_num_buckets", "relative_attention_max_distance", "dropout_rate", "layer_norm_epsilon",
    "feed_forward_proj", "eos_token_id", "pad_token_id",
)  # fmt: skip
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "spiece.model", "vocab.json",
    "merges.txt",
)  # fmt: skip


def save_model(
    folder: str | Path,
    *,
    transformer: Transformer | None = None,
    vae: VAE | None = None,
    text_encoders: "TextEncoders | None" = None,
    dtype: torch.dtype = torch.bfloat16,
    training: Mapping[str, Any] | None = None,
) -> None:
    """Write the given parts, packed weights multiplied out.

    Each file is complete or, when writing fails, what it was before.

    Args:
        training: how the transformer came to be, kept as JSON in its file's header.
    Raises: OSError in one sentence if it cannot be written.
    """
    folder = Path(folder)
    make_folder(folder)
    if transformer is not None:
        config = asdict(transformer.config)
        notes = {} if training is None else {"training": json.dumps(dict(training))}
        _save_weights(folder / TRANSFORMER_FILE, whole_state_dict(transformer, dtype), config, dtype, notes)
    if vae is not None:
        _save_weights(folder / VAE_FILE, vae.state_dict(), asdict(vae.config), dtype)
    if text_encoders is not None:
        clip, t5 = text_encoders.clip.state_dict(), whole_state_dict(text_encoders.t5, dtype)
        clip = {f"text_model.{key.removeprefix('text_model.')}": tensor for key, tensor in clip.items()}
        del t5["encoder.embed_tokens.weight"]  # the same as shared.weight
        _save_encoder(folder / "text_encoder", clip, text_encoders.clip, _CLIP_FIELDS, dtype)
        _save_encoder(folder / "text_encoder_2", t5, text_encoders.t5, _T5_FIELDS, dtype)
        _copy_tokenizer(text_encoders.clip_tokenizer, folder / "tokenizer")
        _copy_tokenizer(text_encoders.t5_tokenizer, folder / "tokenizer_2")


def _save_encoder(
    folder: Path, tensors: dict[str, Tensor], model: Any, fields: tuple[str, ...], dtype: torch.dtype
) -> None:
    config = {name: getattr(model.config, name) for name in fields} | {
        "architectures": [type(model).__name__]
    }
    make_folder(folder)
    _save_weights(folder / "model.safetensors", tensors, config, dtype)
    text = json.dumps(config, indent=2) + "\n"
    with whole(folder / "config.json") as (partial,):
        partial.write_text(text, encoding="utf-8")


def _save_weights(
    path: Path,
    tensors: dict[str, Tensor],
    config: dict[str, Any],
    dtype: torch.dtype,
    notes: Mapping[str, str] = MappingProxyType({}),
) -> None:
    ready = {key: tensor.detach().to("cpu", dtype).contiguous() for key, tensor in tensors.items()}
    metadata = {
        "format": "pt",
        "config": json.dumps(config),
        **notes,
    }  # transformers wants to be told the format
    with whole(path) as (partial,):
        save_file(ready, partial, metadata)


def _copy_tokenizer(tokenizer: Any, folder: Path) -> None:
    """The files it was loaded from: what transformers itself would save differs from version to version."""
    source = Path(tokenizer.name_or_path)
    files = [source / name for name in _TOKENIZER_FILES if (source / name).is_file()]
    if not files:
        raise CheckpointError(f"the tokenizer was loaded from {source}, where its files no longer are")
    make_folder(folder)
    if folder.resolve() != source.resolve():
        for file in files:
            with whole(folder / file.name) as (partial,):
                shutil.copyfile(file, partial)
