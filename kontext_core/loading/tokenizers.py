"""Where the tokenizers lie: in the folder that is named, or else in Hugging Face's cache on this machine."""

import logging
from pathlib import Path

from ..errors import CheckpointError
from ..strict_json import read_object

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

# Published repositories with the same tokenizers, and the folder in them.
_FLUX = ("FLUX.1-Kontext-dev", "FLUX.1-dev", "FLUX.1-schnell")
_CACHED = {
    name: (*((f"black-forest-labs/{flux}", name) for flux in _FLUX), (alone, ""))
    for name, alone in (("tokenizer", "openai/clip-vit-large-patch14"), ("tokenizer_2", "google/t5-v1_1-xxl"))
}


def is_tokenizer(name: str, folder: Path) -> bool:
    """Args: name: "tokenizer" or "tokenizer_2"."""
    return any(all((folder / file).is_file() for file in files) for files in FILES[name][1])


def find_tokenizer(name: str, folder: Path) -> Path:
    """The folder, if it holds a tokenizer; else a published one that was downloaded before. Nothing is downloaded.

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
    wanted = ", or ".join(" and ".join(files) for files in reversed(choices))
    raise CheckpointError(f"there is no tokenizer for {model} in {folder}; wanted there: {wanted}")


def check_files(folder: Path) -> None:
    """Look over the files of a tokenizer that transformers is going to parse.

    Raises:
        CheckpointError: in one sentence that names the file, where its JSON cannot be used, or a number in it
            would fill the memory.
    """
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
