"""Files of weights as dictionaries of tensors that are read when they are wanted. Nothing is ever unpickled.

A checkpoint is one file, safetensors or GGUF, or a folder of transformers or diffusers: one file, or shards
with an index. Source of the format: huggingface/safetensors README (8 bytes of header length, JSON, data).
"""

import math
import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..checks.strict_json import parse_object, read_object
from ..errors import CheckpointError
from .foreign import AGAIN, LOOKED_AT, PICKLED, TAKE, begins_as, what_file_is
from .tensors import DTYPES, MOST_TENSORS, LazyTensor, Weights, first_few

_USUAL_NAMES = {"model.safetensors", "diffusion_pytorch_model.safetensors"}
_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})\.safetensors$")
_MOST_LOOKED_AT = 64  # files in a folder that has no weights
_MAX_HEADER = 100_000_000  # bytes; the format's own limit


@dataclass(frozen=True)
class Checkpoint:
    """What one file, or one folder of shards, holds.

    Args:
        metadata: the safetensors header's strings.
        config: the JSON that says what shapes cannot: `config` in the header, or config.json beside the
            files; empty where there is none.
        config_fault: why `config` in the header cannot be used, "" if it can; of a LoRA it may be anything.
    """

    path: Path
    weights: Weights
    size: int  # bytes on disk
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    config_fault: str = ""


def open_checkpoint(path: Path) -> Checkpoint:
    """Read the header of a safetensors or GGUF file, or of a folder of transformers or diffusers.

    Raises: CheckpointError where there is no such file, or it cannot be read, or is cut off, or neither.
    """
    try:
        if path.is_dir():
            return _open_folder(path)
        if not path.is_file():
            raise CheckpointError(f"there is no file or folder {path}")
        weights, metadata = _open_file(path)
        return Checkpoint(path, weights, path.stat().st_size, metadata, *_header_config(path, metadata))
    except OSError as error:  # not ours to read, on a drive that fails, removed meanwhile
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def _open_folder(folder: Path) -> Checkpoint:
    indexes = sorted(folder.glob("*.safetensors.index.json"))
    files = _shards(indexes[0]) if indexes else [_only_file(folder)]
    weights: Weights = {}
    metadata: dict[str, str] = {}
    for file in files:
        shard_weights, shard_metadata = _open_file(file)
        if double := weights.keys() & shard_weights.keys():
            raise CheckpointError(
                f"{folder}: {len(double)} tensors are in more than one shard: {first_few(double)}"
            )
        weights |= shard_weights
        metadata |= shard_metadata
    if indexes and (absent := set(read_object(indexes[0])["weight_map"]) - set(weights)):
        raise CheckpointError(
            f"{folder}: {len(absent)} tensors of {indexes[0].name} are in no shard: {first_few(absent)}"
        )
    beside = folder / "config.json"
    config, fault = (read_object(beside), "") if beside.is_file() else _header_config(folder, metadata)
    return Checkpoint(folder, weights, sum(file.stat().st_size for file in files), metadata, config, fault)


def _header_config(path: Path, metadata: dict[str, str]) -> tuple[dict[str, Any], str]:
    """The configuration in a header, and what is wrong with it."""
    try:
        text = metadata.get("config")
        return {} if text is None else parse_object(text, f"'config' in the header of {path}"), ""
    except CheckpointError as error:
        return {}, str(error)


def _shards(index: Path) -> list[Path]:
    mapped = read_object(index).get("weight_map")
    names = list(mapped.values()) if isinstance(mapped, dict) else []
    if not names or any(not isinstance(name, str) or Path(name).name != name or not name for name in names):
        raise CheckpointError(
            f"{index} is not an index of shards: it must map tensors to files next to it, under 'weight_map'"
        )
    shards = [index.parent / name for name in sorted(set(names))]
    if absent := [shard.name for shard in shards if not shard.is_file()]:
        raise CheckpointError(
            f"{index.parent} is incomplete: of {len(shards)} shards {first_few(absent)} is not there"
        )
    return shards


def files_of_weights(folder: Path) -> list[Path]:
    """The files in a folder that may hold weights, by their names' ends."""
    return sorted(file for end in ("*.safetensors", "*.gguf") for file in folder.glob(end))


def check_index(folder: Path) -> None:
    """Raises: CheckpointError if a folder has shards, and no index that says what is in which."""
    shards = [match for file in files_of_weights(folder) if (match := _SHARD.match(file.name))]
    if shards and not any(folder.glob("*.safetensors.index.json")):
        raise CheckpointError(
            f"{folder} holds {len(shards)} of {int(shards[0][2])} shards and no index of them: get "
            f"{shards[0][1]}.safetensors.index.json from their source"
        )


def is_one_model(folder: Path) -> bool:
    """Whether transformers or diffusers wrote a folder as one model, and it is no collection of files."""
    if any(folder.glob("*.safetensors.index.json")):
        return True
    files = [file.name for file in files_of_weights(folder)]
    return (folder / "config.json").is_file() and (len(files) == 1 or not _USUAL_NAMES.isdisjoint(files))


def _only_file(folder: Path) -> Path:
    files = files_of_weights(folder)
    for file in files:
        if file.name in _USUAL_NAMES:  # beside variants such as model.fp16.safetensors
            return file
    check_index(folder)
    if len(files) != 1:
        problem = f"holds several: {first_few([file.name for file in files])}; name one"
        raise CheckpointError(
            f"a safetensors file is needed in {folder}, which "
            f"{problem if files else others_in(folder) or 'holds none'}"
        )
    return files[0]


def others_in(folder: Path) -> str:
    """What to say of the files in a folder that has no weights; "" if there are none that are known."""
    kinds: dict[str, list[str]] = {}
    for file in sorted(file for file in folder.iterdir() if file.is_file())[:_MOST_LOOKED_AT]:
        try:
            with file.open("rb") as opened:
                what = begins_as(opened.read(LOOKED_AT))
        except OSError:
            continue
        kinds.setdefault(what, []).append(file.name)
    kinds.pop("", None)
    if PICKLED in kinds:
        names = first_few(kinds[PICKLED])
        return f"holds {names}: {PICKLED}; get the model as safetensors, or convert it where it was made"
    return "; ".join(f"holds {first_few(names)}: {what}" for what, names in kinds.items())


def _open_file(path: Path) -> tuple[Weights, dict[str, str]]:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == b"GGUF":
        from .gguf import open_gguf

        return open_gguf(path)
    header = _read_header(path)
    metadata = {str(key): str(value) for key, value in header.pop("__metadata__", {}).items()}
    try:
        file = safe_open(path, framework="pt")
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    weights = {
        key: LazyTensor(
            tuple(entry["shape"]), DTYPES[entry["dtype"]], partial(file.get_tensor, key), mapped=True
        )
        for key, entry in header.items()
    }
    return weights, metadata


def _read_header(path: Path) -> dict[str, Any]:
    """Parse and check the header: the safetensors library's own messages mean nothing to most people."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(LOOKED_AT)
        length = int.from_bytes(start[:8], "little")
        is_text = length > size and start[:8].decode("ascii", errors="replace").isprintable()
        if size < 9 or start[8:9] != b"{" or is_text:
            raise CheckpointError(f"{path} is not a safetensors file: it is {what_file_is(start)}")
        if length > size - 8:
            raise CheckpointError(
                f"{path} is cut off: its header alone should be {length} bytes, but the file has {size}; "
                f"{AGAIN}"
            )
        if length > _MAX_HEADER:
            raise CheckpointError(
                f"{path} is damaged: its header would be {length} bytes, but {_MAX_HEADER} is the maximum"
            )
        file.seek(8)
        header = parse_object(file.read(length), f"the header of {path}")

    if not isinstance(header.setdefault("__metadata__", {}), dict):
        raise CheckpointError(f"{path} is damaged: the metadata in its header is not a JSON object")
    if len(header) - 1 > MOST_TENSORS:
        raise CheckpointError(
            f"{path} holds {len(header) - 1:,} tensors, but {MOST_TENSORS:,} is the maximum"
        )
    places: list[tuple[int, int, str]] = []
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        if not _describes_a_tensor(entry):
            raise CheckpointError(f"{path} is damaged: its header does not describe {key!r}")
        if entry["dtype"] not in DTYPES:
            raise CheckpointError(
                f"{path}: {key!r} is stored as {entry['dtype']}, which is not supported; {TAKE}"
            )
        start, end = entry["data_offsets"]
        if end - start != math.prod(entry["shape"]) * DTYPES[entry["dtype"]].itemsize:
            raise CheckpointError(
                f"{path} is damaged: {key!r} is {entry['dtype']} of shape {entry['shape']} in {end - start} bytes"
            )
        places.append((start, end, key))
    end = 0
    for start, stop, key in sorted(places):
        if start < end:
            raise CheckpointError(f"{path} is damaged: {key!r} lies on top of another tensor")
        end = stop
    if size < 8 + length + end:
        raise CheckpointError(
            f"{path} is cut off: it should be {8 + length + end} bytes, but is {size}; {AGAIN}"
        )
    return header


def _describes_a_tensor(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("dtype"), str)
        and _is_natural_numbers(entry.get("shape"))
        and _is_natural_numbers(entry.get("data_offsets"))
        and len(entry["data_offsets"]) == 2
    )


def _is_natural_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
