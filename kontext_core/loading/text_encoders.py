"""T5, CLIP and their tokenizers from folders or single files, where transformers would fail in silence.

transformers loads random weights with a mere warning where keys do not match, makes a T5 tokenizer of four
words out of a vocabulary file alone, and takes any tokenizer for any model. Here the encoders are filled
strictly, and the tokenizers are read from their folders and compared with the encoders.
"""

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from transformers import CLIPTextModel, T5EncoderModel

from ..config import KONTEXT_DEV
from ..errors import CheckpointError
from ..model.text import TextEncoders
from ..quant.schemes import checked
from .empty_weights import empty_weights
from .locate import locate_part
from .models import T5_BLOCKS, fill_model, own_dtype
from .recognise import FileReport
from .tensors import Weights
from .tokenizers import FILES as TOKENIZERS
from .tokenizers import Vocabulary, find_tokenizer, load_tokenizer

log = logging.getLogger(__name__)


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
    """Load CLIP-L and T5 with their tokenizers.

    Args:
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
        text_length = text_length or length_of_text(folder)
    folders = {name: find_tokenizer(name, folder) for name, folder in folders.items()}
    tokenizers = {name: load_tokenizer(name, folder) for name, folder in folders.items()}
    encoders = {"tokenizer": locate_part(clip_path, "clip"), "tokenizer_2": locate_part(t5_path, "t5")}
    for name, (report, _) in encoders.items():
        if fault := Vocabulary.of(tokenizers[name], folders[name]).misfit(report.config):
            raise CheckpointError(fault)

    clip = _load_clip(*encoders["tokenizer"], dtype, device)
    t5 = _load_t5(*encoders["tokenizer_2"], dtype, device, checked(quantise), pack_on)
    return TextEncoders(t5, clip, tokenizers["tokenizer_2"], tokenizers["tokenizer"], text_length).eval()


def length_of_text(folder: Path) -> int:
    """Read how many T5 tokens the transformer beside the encoders takes; 512 where there is none."""
    try:
        return locate_part(folder, "transformer")[0].config.text_length
    except CheckpointError:
        length = KONTEXT_DEV.text_length
        log.info("no transformer next to the text encoders in %s; prompts have %d tokens", folder, length)
        return length


def empty_clip(report: FileReport, weights: Weights) -> tuple[CLIPTextModel, Weights]:
    """A CLIP text encoder without memory, and the weights under its own names. Raises: CheckpointError."""
    with empty_weights(), _explained_config(report):
        model = CLIPTextModel(report.config)
    if not any(key.startswith("text_model.") for key in model.state_dict()):  # transformers 5
        weights = {key.removeprefix("text_model."): tensor for key, tensor in weights.items()}
    return model, weights


def empty_t5(report: FileReport, weights: Weights) -> tuple[T5EncoderModel, Weights]:
    """The same of T5."""
    with empty_weights(), _explained_config(report):
        model = T5EncoderModel(report.config)
    return model, weights | {"encoder.embed_tokens.weight": weights["shared.weight"]}


@contextmanager
def _explained_config(report: FileReport) -> Generator[None]:
    try:
        yield
    except (ArithmeticError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"the config of {report.path} makes no text encoder: {error}") from error


def _load_clip(
    report: FileReport, weights: Weights, dtype: torch.dtype | None, device: torch.device | str
) -> CLIPTextModel:
    model, weights = empty_clip(report, weights)
    fill_model(model, report, weights, dtype, device)
    for module in model.modules():  # the one buffer that no file holds
        if "position_ids" in dict(module.named_buffers(recurse=False)):
            module.position_ids = torch.arange(model.config.max_position_embeddings, device=device)[None]
    _check_filled(model)
    return model


def _load_t5(
    report: FileReport,
    weights: Weights,
    dtype: torch.dtype | None,
    device: torch.device | str,
    quantise: str | None,
    pack_on: torch.device | str | None,
) -> T5EncoderModel:
    dtype = dtype or own_dtype(weights)
    if dtype == torch.float16:
        log.info("T5 is used in bfloat16: it overflows in float16")
        dtype = torch.bfloat16
    model, weights = empty_t5(report, weights)
    fill_model(
        model, report, weights, dtype, device, stays_packed=T5_BLOCKS, quantise=quantise, pack_on=pack_on
    )
    model.get_encoder().set_input_embeddings(model.shared)  # one parameter again
    _check_filled(model)
    return model


def _check_filled(model: nn.Module) -> None:
    left = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.is_meta]
    assert not left, f"{left} of {type(model).__name__} were not loaded"
