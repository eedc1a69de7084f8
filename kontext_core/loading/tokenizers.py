"""Tokenizers: where they lie, in the folder that is named or in Hugging Face's cache, and what they know."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checks.sentences import one_line
from ..checks.shorten import cut
from ..checks.strict_json import MOST_BYTES, read_object
from ..errors import CheckpointError

log = logging.getLogger(__name__)

# Tokenizer folders: whose they are, and the sets of files of which one is enough.
FILES = {
    "tokenizer": ("CLIP", (("tokenizer.json",), ("vocab.json", "merges.txt"))),
    "tokenizer_2": ("T5", (("tokenizer.json",), ("spiece.model",))),
}

_MOST_TOKENS = 2**20  # the largest vocabularies that are known have a quarter of it

# What transformers reads of a tokenizer's folder.
_JSON = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "config.json",
)  # fmt: skip

# What it reads there besides, in forms of its own.
_OTHERS = ("spiece.model", "merges.txt")
_LONGEST_FAULT = 200  # letters of what its libraries say, which may be a list of all that they know

# Published repositories with the same tokenizers, and the folder in them.
_FLUX = ("FLUX.1-Kontext-dev", "FLUX.1-dev", "FLUX.1-schnell")
_CACHED = {
    name: (*((f"black-forest-labs/{flux}", name) for flux in _FLUX), (alone, ""))
    for name, alone in (("tokenizer", "openai/clip-vit-large-patch14"), ("tokenizer_2", "google/t5-v1_1-xxl"))
}

_VOCABULARY_MULTIPLE = 128  # T5's embedding has 32128 rows for 32100 tokens


@dataclass(frozen=True)
class Vocabulary:
    """What a tokenizer knows.

    Args:
        folder: where the tokenizer lies.
        size: its number of tokens.
        highest: the highest number that it gives a token.
        end: the token that ends a text.
    """

    folder: Path
    size: int
    highest: int
    end: int | None

    @classmethod
    def of(cls, tokenizer: Any, folder: Path) -> "Vocabulary":
        """Read it off a tokenizer of transformers."""
        highest = max(tokenizer.get_vocab().values(), default=0)
        return cls(folder, len(tokenizer), highest, tokenizer.eos_token_id)

    def misfit(self, config: Any) -> str:
        """Say why a text encoder does not belong to this tokenizer: half a sentence, "" where it does.

        A tokenizer of another model would give a picture of something else, and no error.

        Args:
            config: of the text encoder, a CLIPTextConfig or T5Config.
        """
        padded = -self.size % _VOCABULARY_MULTIPLE + self.size
        if config.vocab_size not in (self.size, padded):
            return (
                f"the tokenizer in {self.folder} knows {self.size} tokens, but its text encoder "
                f"{config.vocab_size}; they do not belong together, or a file is missing from the folder"
            )
        if self.highest >= config.vocab_size:
            return (
                f"the tokenizer in {self.folder} gives a token the number {self.highest}, and its text encoder "
                f"knows {config.vocab_size}"
            )
        end = config.eos_token_id
        if end == 2 and config.model_type == "clip_text_model":
            end = config.vocab_size - 1  # older than transformers 4.31, where CLIP pools at the highest id
        if self.end != end:
            ends = f"ends a text with token {self.end}, its text encoder expects {end}"
            return f"the tokenizer in {self.folder} {ends}"
        return ""


def is_tokenizer(name: str, folder: Path) -> bool:
    """Tell whether a folder holds a tokenizer.

    Args:
        name: "tokenizer" or "tokenizer_2".
    """
    return any(all((folder / file).is_file() for file in files) for files in FILES[name][1])


def find_tokenizer(name: str, folder: Path) -> Path:
    """The folder, if it holds a tokenizer; else a published one that was downloaded before.

    Nothing is downloaded.

    Raises: CheckpointError that says which files to put where.
    """
    if is_tokenizer(name, folder):
        return folder
    for repository, inner in _CACHED[name]:
        snapshots = cache_folder() / f"models--{repository.replace('/', '--')}" / "snapshots"
        for snapshot in sorted(snapshots.glob("*")):
            if is_tokenizer(name, snapshot / inner):
                log.info("no tokenizer in %s; that of %s in Hugging Face's cache is used", folder, repository)
                return snapshot / inner
    model, choices = FILES[name]
    alternatives = ", or ".join(" and ".join(files) for files in reversed(choices))
    raise CheckpointError(f"there is no tokenizer for {model} in {folder}; needed there: {alternatives}")


def check_files(folder: Path) -> None:
    """Look over the files of a tokenizer that transformers is going to parse.

    Raises:
        CheckpointError: in one sentence that names the file, where its JSON cannot be used, or a number in it
            or its size would fill the memory.
    """
    for path in (folder / name for name in _OTHERS):
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise CheckpointError(
                f"{path} has more than {MOST_BYTES // 2**20} MiB, which no tokenizer needs; download it again"
            )
    for name in _JSON:
        path = folder / name
        if not path.is_file():
            continue
        content = read_object(path)
        added = content.get("added_tokens_decoder")
        ids = [content.get("extra_ids"), *(added if isinstance(added, dict) else ())]
        for number in map(str, ids):
            if number.lstrip("-").isdecimal() and not 0 <= int(number) <= _MOST_TOKENS:
                raise CheckpointError(
                    f"{path} speaks of a token {number}; numbers up to {_MOST_TOKENS:,} are read"
                )


def cache_folder() -> Path:
    """Where Hugging Face's programs keep what they downloaded."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def load_tokenizer(name: str, folder: Path) -> Any:
    """Load a tokenizer from its folder alone.

    Args:
        name: "tokenizer" or "tokenizer_2".
        folder: that of its files.
    Raises: CheckpointError.
    """
    from transformers import CLIPTokenizerFast, T5TokenizerFast

    check_files(folder)
    kind = CLIPTokenizerFast if name == "tokenizer" else T5TokenizerFast
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except BaseException as error:  # the tokenizers library raises nothing more special, or panics
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = cut(one_line(str(error)), _LONGEST_FAULT)
        raise CheckpointError(f"the tokenizer in {folder} cannot be read: {reason}") from error


def read_vocabulary(name: str, folder: Path) -> Vocabulary:
    """Find the tokenizer that loading would take, and what it knows. Raises: CheckpointError."""
    place = find_tokenizer(name, folder)
    return Vocabulary.of(load_tokenizer(name, place), place)
