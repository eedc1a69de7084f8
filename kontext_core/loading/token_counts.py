"""How many tokens an instruction has, by a model's tokenizers alone: no weights are loaded."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from ..config import TINY
from ..errors import CheckpointError
from ..model.text import CLIP_LENGTH, TextEncoders, count_tokens
from ..prompts.lint import TokenCount
from .locate import TINY_FOLDER, locate_part
from .text_encoders import length_of_text
from .tokenizers import FILES, find_tokenizer, load_tokenizer

TokenCounter = Callable[[str], list[TokenCount]]

_lock = Lock()  # a fast tokenizer refuses a second thread


def load_token_counter(model: str) -> TokenCounter:
    """Load the tokenizers of a model.

    Args:
        model: "tiny", or a folder laid out as the published one, in which weights need not be.
    Returns: what counts the tokens of an instruction, for T5 and for CLIP; threads may share it.
    Raises: CheckpointError that says which files to put where.
    """
    folder = TINY_FOLDER if model == TINY else Path(model)
    if not folder.is_dir():
        raise CheckpointError(
            f"there is no folder {folder}; name one laid out as the published model, or 'tiny'"
        )
    clip, t5 = (load_tokenizer(name, find_tokenizer(name, folder / name)) for name in FILES)
    return _counter(t5, length_of_text(folder), clip, _clip_length(folder))


def token_counter_like(text: TextEncoders) -> TokenCounter | None:
    """Load tokenizers like those of a loaded model, which may be in use by another thread.

    Returns: as `load_token_counter`; None if their files are no longer there.
    """
    t5, clip = (str(tokenizer.name_or_path) for tokenizer in (text.t5_tokenizer, text.clip_tokenizer))
    with _lock:
        return _like(t5, text.text_length, clip, text.clip_length)


@lru_cache(maxsize=2)
def _like(t5: str, t5_length: int, clip: str, clip_length: int) -> TokenCounter | None:
    try:
        tokenizers = (load_tokenizer("tokenizer_2", Path(t5)), load_tokenizer("tokenizer", Path(clip)))
    except CheckpointError:
        return None
    return _counter(tokenizers[0], t5_length, tokenizers[1], clip_length)


def _counter(t5: Any, t5_length: int, clip: Any, clip_length: int) -> TokenCounter:
    def count(prompt: str) -> list[TokenCount]:
        with _lock:
            return count_tokens(prompt, (("T5", t5, t5_length), ("CLIP", clip, clip_length)))

    return count


def _clip_length(folder: Path) -> int:
    try:
        return locate_part(folder, "clip")[0].config.max_position_embeddings
    except CheckpointError:
        return CLIP_LENGTH
