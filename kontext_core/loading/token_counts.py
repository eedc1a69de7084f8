"""How many tokens an instruction has, by a model's tokenizers alone: no weights are loaded."""

from collections.abc import Callable
from pathlib import Path

from ..config import TINY
from ..errors import CheckpointError
from ..model.text import CLIP_LENGTH, count_tokens
from ..prompts.lint import TokenCount
from .locate import TINY_FOLDER, locate_part
from .text_encoders import length_of_text
from .tokenizers import FILES, find_tokenizer, load_tokenizer


def load_token_counter(model: str) -> Callable[[str], list[TokenCount]]:
    """Load the tokenizers of a model.

    Args:
        model: "tiny", or a folder laid out as the published one, in which weights need not be.
    Returns: what counts the tokens of an instruction, for T5 and for CLIP.
    Raises: CheckpointError that says which files to put where.
    """
    folder = TINY_FOLDER if model == TINY else Path(model)
    if not folder.is_dir():
        raise CheckpointError(
            f"there is no folder {folder}; name one laid out as the published model, or 'tiny'"
        )
    clip, t5 = (load_tokenizer(name, find_tokenizer(name, folder / name)) for name in FILES)
    encoders = (("T5", t5, length_of_text(folder)), ("CLIP", clip, _clip_length(folder)))
    return lambda prompt: count_tokens(prompt, encoders)


def _clip_length(folder: Path) -> int:
    try:
        return locate_part(folder, "clip")[0].config.max_position_embeddings
    except CheckpointError:
        return CLIP_LENGTH
