"""T5, CLIP and their tokenizers from folders or single files, where transformers would fail in silence.

transformers loads random weights with a mere warning where keys do not match, makes a T5 tokenizer of four
words out of a vocabulary file alone, and takes any tokenizer for any model. Here the encoders are filled
strictly, and the tokenizers are read from their folders and compared with the encoders.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizerFast, T5EncoderModel, T5TokenizerFast

from ..config import KONTEXT_DEV
from ..errors import CheckpointError
from ..packed.schemes import checked
from ..text import TextEncoders
from .folders import find
from .models import T5_BLOCKS, fill, own_dtype
from .tokenizers import FILES as TOKENIZERS
from .tokenizers import check_files, find_tokenizer

log = logging.getLogger(__name__)

_VOCABULARY_MULTIPLE = 128  # T5's embedding has 32128 rows for 32100 tokens


@torch.inference_mode(False)  # as in `models`
def load_text_encoders(
    path: str | Path | Mapping[str, str | Path],
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    text_length: int | None = None,
    quantise: str | None = None,
    pack_on: torch.device | str | None = None,
) -> TextEncoders:
    """Args:
        path: a folder laid out as the published one, or a mapping from "text_encoder", "text_encoder_2",
            "tokenizer" and "tokenizer_2" to files or folders; tokenizers are folders.
        dtype: None is the files' own. T5 takes bfloat16 in place of float16.
        text_length: T5 tokens. None is what the transformer beside the encoders says, or 512.
        quantise, pack_on: as for `load_transformer`, for the linears of T5.
    Raises: CheckpointError that says what is missing, or does not fit.
    """
    if isinstance(path, Mapping):
        if absent := {"text_encoder", "text_encoder_2", *TOKENIZERS} - path.keys():
            raise CheckpointError(f"text encoders need four paths; not given: {', '.join(sorted(absent))}")
        clip_path, t5_path = Path(path["text_encoder"]), Path(path["text_encoder_2"])
        folders = {name: Path(path[name]) for name in TOKENIZERS}
        text_length = text_length or KONTEXT_DEV.text_length
    else:
        folder = clip_path = t5_path = Path(path)
        folders = {name: folder / name for name in TOKENIZERS}
        text_length = text_length or _text_length(folder)
    folders = {name: find_tokenizer(name, folder) for name, folder in folders.items()}

    clip = _load_clip(clip_path, dtype, device)
    t5 = _load_t5(t5_path, dtype, device, checked(quantise), pack_on)
    clip_tokenizer = _load_tokenizer(CLIPTokenizerFast, folders["tokenizer"])
    t5_tokenizer = _load_tokenizer(T5TokenizerFast, folders["tokenizer_2"])
    _check_tokenizer(t5_tokenizer, folders["tokenizer_2"], t5.config.vocab_size, t5.config.eos_token_id)
    clip_end = clip.config.eos_token_id
    if clip_end == 2:  # configurations older than transformers 4.31, for which CLIP pools at the highest id
        clip_end = clip.config.vocab_size - 1
    _check_tokenizer(clip_tokenizer, folders["tokenizer"], clip.config.vocab_size, clip_end)
    return TextEncoders(t5, clip, t5_tokenizer, clip_tokenizer, text_length).eval()


def _text_length(folder: Path) -> int:
    try:
        return find(folder, "transformer")[0].config.text_length
    except CheckpointError:
        length = KONTEXT_DEV.text_length
        log.info("no transformer beside the text encoders in %s; prompts are %d tokens", folder, length)
        return length


def _load_clip(path: Path, dtype: torch.dtype | None, device: torch.device | str) -> CLIPTextModel:
    report, weights = find(path, "clip")
    with torch.device("meta"):
        model = CLIPTextModel(report.config)
    if not any(key.startswith("text_model.") for key in model.state_dict()):  # transformers 5
        weights = {key.removeprefix("text_model."): tensor for key, tensor in weights.items()}
    fill(model, report, weights, dtype, device)
    for module in model.modules():  # the one buffer that no file holds
        if "position_ids" in dict(module.named_buffers(recurse=False)):
            module.position_ids = torch.arange(model.config.max_position_embeddings, device=device)[None]
    _check_filled(model)
    return model


def _load_t5(
    path: Path,
    dtype: torch.dtype | None,
    device: torch.device | str,
    quantise: str | None,
    pack_on: torch.device | str | None,
) -> T5EncoderModel:
    report, weights = find(path, "t5")
    dtype = dtype or own_dtype(weights)
    if dtype == torch.float16:
        log.info("T5 is used in bfloat16: it overflows in float16")
        dtype = torch.bfloat16
    with torch.device("meta"):
        model = T5EncoderModel(report.config)
    weights = weights | {"encoder.embed_tokens.weight": weights["shared.weight"]}
    fill(model, report, weights, dtype, device, stays_packed=T5_BLOCKS, quantise=quantise, pack_on=pack_on)
    model.get_encoder().set_input_embeddings(model.shared)  # one parameter again
    _check_filled(model)
    return model


def _check_filled(model: nn.Module) -> None:
    left = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.is_meta]
    assert not left, f"{left} of {type(model).__name__} were not loaded"


def _load_tokenizer(kind: Any, folder: Path) -> Any:
    check_files(folder)
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except BaseException as error:  # the tokenizers library raises nothing more special, or panics
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise CheckpointError(f"the tokenizer in {folder} cannot be read: {error}") from error


def _check_tokenizer(tokenizer: Any, folder: Path, vocabulary: int, end: Any) -> None:
    """A tokenizer of another model would give a picture of something else, and no error."""
    padded = -len(tokenizer) % _VOCABULARY_MULTIPLE + len(tokenizer)
    if vocabulary not in (len(tokenizer), padded):
        raise CheckpointError(
            f"the tokenizer in {folder} knows {len(tokenizer)} tokens and its text encoder {vocabulary}; "
            "they do not belong together, or a file is missing from the folder"
        )
    highest = max(tokenizer.get_vocab().values(), default=0)
    if highest >= vocabulary:
        raise CheckpointError(
            f"the tokenizer in {folder} gives a token the number {highest}, and its text encoder knows "
            f"{vocabulary}"
        )
    if tokenizer.eos_token_id != end:
        raise CheckpointError(
            f"the tokenizer in {folder} ends a text with token {tokenizer.eos_token_id}, "
            f"its text encoder expects {end}"
        )
