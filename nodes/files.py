"""Which files make a model: what the loader offers, and what "auto" finds.

Files are recognised by content, not by name.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from ..kontext_core.errors import CheckpointError
from . import values
from .host import folders
from .values import FileNames, slashed

if TYPE_CHECKING:
    from ..kontext_core.config import TransformerConfig
    from ..kontext_core.loading import FileReport
    from ..kontext_core.loading.tokenizers import Vocabulary

TINY = "tiny (comes along)"
AUTO = "auto"

# Input of the loader: the part, its kind, ComfyUI's folder for it, what it is called, and a usual file.
FILE_INPUTS: dict[str, tuple[str, str, str, str, str]] = {
    "vae": ("vae", "vae", "vae", "autoencoder", "ae.safetensors"),
    "clip_l": ("text_encoder", "clip", "text_encoders", "CLIP-L text encoder", "clip_l.safetensors"),
    "t5xxl": ("text_encoder_2", "t5", "text_encoders", "T5-XXL text encoder", "t5xxl_fp16.safetensors"),
}
_KINDS = {"transformer": "transformer"} | {part: kind for part, kind, *_ in FILE_INPUTS.values()}
# How the names of the usual files begin.
_USUAL = {
    choice: re.compile(rf"{word}(?![a-z])")
    for choice, word in zip(FILE_INPUTS, ("ae", "clip_l", "t5xxl"), strict=True)
}

_MODELS = ("diffusion_models", "diffusers")  # ComfyUI's folders in which whole model folders may be
_ENCODER = "text_encoder_2"  # the folder that makes one
_APPROXIMATE = "vae_approx"  # ComfyUI's folder for preview decoders
_MOST_BESIDE = 4  # files that a note names

Parts = Mapping[str, Path]
State = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Selection:
    """The files of a model.

    Args:
        parts: the path of every part.
        notes: what "auto" took where several files fit, one line each.
    """

    parts: dict[str, Path]
    notes: tuple[str, ...] = ()


def models() -> FileNames:
    """List what the loader offers: the tiny model, model folders (with a slash at the end), single files."""
    names = folders.weight_files("diffusion_models")
    inside = sorted(
        {parts[: parts.index(_ENCODER)] for name in names if _ENCODER in (parts := _parts(name))[1:]}
    )
    own = [
        folder.name
        for root in folders.roots_of("diffusers")
        for folder in folders.subfolders(root)
        if os.path.isdir(folder / _ENCODER) and folders.is_text(folder.name)
    ]
    whole = sorted({*("/".join(parts) for parts in inside), *own})
    single = [name for name in names if not any(_parts(name)[: len(parts)] == parts for parts in inside)]
    return FileNames([TINY, *(f"{name}/" for name in whole), *single])


def select(model: str, **choices: str) -> Selection:
    """Find the files of a model.

    Args:
        model: one of `models()`.
        choices: for each of `FILE_INPUTS`, a file's name or "auto", which is the model folder's own, else
            the file that fits: by its usual name, else the largest.
    Raises: ValueError or CheckpointError naming the folder and the file that is needed.
    """
    place = _place(model)
    tokenizers = folders.tokenizer_folders()
    whole = os.path.isdir(place)
    if whole:
        own = {name: place / name for name in tokenizers if os.path.isdir(place / name)}
        parts = dict.fromkeys(_KINDS, place) | tokenizers | own
    else:
        parts = {"transformer": place} | tokenizers
    notes: list[str] = []
    for choice, name in choices.items():
        part, _, folder, *_ = FILE_INPUTS[choice]
        if name != AUTO:
            parts[part] = folders.weight_path(folder, name)
        elif not whole:
            parts[part] = _auto(choice, parts, notes)
    return Selection(parts, tuple(notes))


def check_model(model: object) -> None:
    """Raise ValueError in one sentence if the loader cannot offer this model."""
    _place(values.text(model, "model"))


def preview_decoder() -> Path | None:
    """Find taef1 in models/vae_approx: taef1_decoder.safetensors, as ComfyUI calls it, or diffusers' taef1.

    This is the only place where a name matters: nothing else distinguishes this decoder from that of Stable
    Diffusion 3.

    Raises: ValueError if it exists in pickled form only.
    """
    names = [
        name
        for name in folders.weight_files(_APPROXIMATE)
        if name.startswith("taef1") and "encoder" not in name
    ]
    named = sorted(names, key=lambda name: (not name.startswith("taef1_decoder"), name))
    if named:
        return folders.weight_path(_APPROXIMATE, named[0])
    if pickled := [name for name in folders.pickled_files(_APPROXIMATE) if name.startswith("taef1_decoder")]:
        raise ValueError(f"{pickled[0]} is pickled and is not read; put taef1_decoder.safetensors next to it")
    return None


def state_of(parts: Parts) -> State:
    """Return a value that changes when one of the files does."""
    files = sorted({file for path in parts.values() for file in folders.files_at(path)})
    return tuple((str(file), *_stamp(file)) for file in files if os.path.isfile(file))


def fingerprint(model: str | None, **choices: str | None) -> object:
    """Tell the state of a model's files to ComfyUI, which asks before every run; this never raises.

    Args:
        model: as for `select`; None is a name that arrives through a connection, which may be any existing
            one.
        choices: likewise.
    """
    try:
        if model is None or None in choices.values():
            every = {folder for _, _, folder, *_ in FILE_INPUTS.values()} | set(_MODELS)
            return state_of({str(root): root for folder in every for root in folders.roots_of(folder)})
        names = {choice: values.text(name, choice) for choice, name in choices.items()}
        selection = select(values.text(model, "model"), **names)
        return *state_of(selection.parts), *selection.notes  # which the node shows
    except (ValueError, OSError) as error:
        return str(error)  # which execute says


def reports_of(parts: Parts) -> list[FileReport]:
    """Recognise each file. Raises: CheckpointError."""
    from ..kontext_core.loading.locate import locate_part

    return [locate_part(parts[part], kind)[0] for part, kind in _KINDS.items()]


def transformer_config(model: str) -> TransformerConfig:
    """Read the sizes of a model's transformer from its file's header; remembered until the file changes.

    Raises: ValueError or CheckpointError.
    """
    return _config_at(_place(model))


def _parts(name: str) -> tuple[str, ...]:
    return PurePath(slashed(name)).parts


def _place(model: str) -> Path:
    """Locate the file or folder of a model. Raises: ValueError in one sentence if it is not there."""
    if model == TINY:
        from ..kontext_core.loading import locate as own

        return own.TINY_FOLDER
    roots = [root for folder in _MODELS for root in folders.roots_of(folder)]
    if slashed(model).endswith("/"):
        path = folders.locate(roots, model, lambda path: os.path.isdir(os.path.join(path, _ENCODER)))
        why = folders.obstacle(roots, model)
    else:
        try:
            return folders.weight_path("diffusion_models", model)
        except ValueError:
            path, why = None, folders.obstacle(folders.roots_of("diffusion_models"), model)
    if path is None:
        raise ValueError(
            f"the model {values.described(model)} is not there{f' ({why})' if why else ''}: put the file "
            "(flux1-dev-kontext_fp8_scaled.safetensors, or another of FLUX.1 Kontext) or the published "
            f"folder into {folders.named_folders('diffusion_models')}, or choose {TINY!r}"
        )
    return path


def _config_at(path: Path) -> TransformerConfig:
    return _config_of(path, state_of({"transformer": path}))


@functools.lru_cache(maxsize=16)
def _config_of(path: Path, _state: State) -> TransformerConfig:
    from ..kontext_core.loading.locate import locate_part

    return locate_part(path, "transformer")[0].config


def _auto(choice: str, parts: Parts, notes: list[str]) -> Path:
    """Choose the file that fits the transformer, usual names first, then the largest; note the others."""
    _, _, folder, called, usual = FILE_INPUTS[choice]
    candidates = _candidates(choice, parts)
    fitting = [(name, report) for name, report, fault in candidates if not fault]
    if not fitting:
        near = "".join(f"; {name} does not fit: {fault}" for name, _, fault in candidates[:_MOST_BESIDE])
        raise CheckpointError(
            f"no {called} that fits {parts['transformer'].name} is in {folders.named_folders(folder)}; put "
            f"{usual} there{near}"
        )
    fitting.sort(key=lambda entry: _rank(choice, entry[1]))
    best, path = fitting[0][0], fitting[0][1].path
    # a link to a file is that file, and not another
    files = {os.path.realpath(report.path): name for name, report in reversed(fitting)}
    if others := [name for name in reversed(files.values()) if name != best]:
        more = f" and {len(others) - _MOST_BESIDE} more" if len(others) > _MOST_BESIDE else ""
        beside = f"{', '.join(others[:_MOST_BESIDE])}{more}"
        notes.append(
            f"{choice}: auto took {best}; {beside} would fit too: choose another in the node if you prefer"
        )
    return path


def _candidates(choice: str, parts: Parts) -> list[tuple[str, FileReport, str]]:
    """List the files of a kind: name, title, and why it does not fit the transformer ("" if it does)."""
    from ..kontext_core.loading.matching import TOKENIZER_OF, misfit

    _, kind, folder, *_ = FILE_INPUTS[choice]
    config = _config_at(parts["transformer"])
    tokenizer = TOKENIZER_OF.get(kind)
    vocabulary = None if tokenizer is None else _vocabulary(tokenizer, parts[tokenizer])
    alike = [(name, report) for name, report in _reports(folder) if report.kind == kind]
    return [
        (name, report, misfit(report, config, vocabulary) or _unloadable(kind, report.path))
        for name, report in alike
    ]


def _rank(choice: str, report: FileReport) -> tuple[bool, bool, int, str]:
    """Order the files that fit as "auto" takes them."""
    name, usual = report.path.name.lower(), FILE_INPUTS[choice][-1]
    return name != usual, not _USUAL[choice].match(name), -report.size, str(report.path)


def _reports(folder: str) -> Iterator[tuple[str, FileReport]]:
    """Inspect the files in one of ComfyUI's folders, by name, except those that cannot be read."""
    for name in folders.weight_files(folder):
        try:
            file = folders.weight_path(folder, name)
        except ValueError:  # gone meanwhile
            continue
        if (report := _inspected(file, *_stamp(file))) is not None:
            yield name, report


def _vocabulary(tokenizer: str, folder: Path) -> Vocabulary:
    return _vocabulary_of(tokenizer, folder, state_of({tokenizer: folder}))


@functools.lru_cache(maxsize=16)
def _vocabulary_of(tokenizer: str, folder: Path, _state: State) -> Vocabulary:
    from ..kontext_core.loading.tokenizers import read_vocabulary

    return read_vocabulary(tokenizer, folder)


def _stamp(file: Path) -> tuple[int, int]:
    """Return when a file was last changed, and its size; nothing if it is gone."""
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


@functools.lru_cache(maxsize=1024)
def _inspected(file: Path, _modified: int, _size: int) -> FileReport | None:
    """Inspect a file; None if it cannot be read. Remembered until the file changes."""
    from ..kontext_core.loading import inspect

    try:
        return inspect(file)
    except CheckpointError:
        return None


def _unloadable(kind: str, file: Path) -> str:
    """Say why loading a file would fail; "" if it would not."""
    return _unloadable_at(kind, file, *_stamp(file))


@functools.lru_cache(maxsize=256)
def _unloadable_at(kind: str, file: Path, _modified: int, _size: int) -> str:
    from ..kontext_core.loading.matching import check_tensors

    try:
        check_tensors(file, kind)
    except CheckpointError as error:
        return str(error)
    return ""
