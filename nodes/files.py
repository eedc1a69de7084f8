"""Which files make a model: what the loader offers, and what "auto" finds. Files are known by content, not by name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from ..kontext_core.errors import CheckpointError
from . import host

if TYPE_CHECKING:
    from ..kontext_core.config import TransformerConfig
    from ..kontext_core.loading import FileReport

TINY = "tiny (comes along)"
AUTO = "auto"

# Input of the loader: the part, its kind, ComfyUI's folder for it, what it is called, and a usual file.
PARTS: dict[str, tuple[str, str, str, str, str]] = {
    "vae": ("vae", "vae", "vae", "autoencoder", "ae.safetensors"),
    "clip_l": ("text_encoder", "clip", "text_encoders", "CLIP-L text encoder", "clip_l.safetensors"),
    "t5xxl": ("text_encoder_2", "t5", "text_encoders", "T5-XXL text encoder", "t5xxl_fp16.safetensors"),
}
_KINDS = {"transformer": "transformer"} | {part: kind for part, kind, *_ in PARTS.values()}

_APPROXIMATE = "vae_approx"  # ComfyUI's folder for it

Parts = Mapping[str, Path]


def models() -> list[str]:
    """What the loader offers: the tiny model, model folders (with a slash at the end), single files."""
    folders = _model_folders()
    inside = tuple(PurePath(name).parts for name in folders)
    files = [
        name
        for name in host.weight_files("diffusion_models")
        if not any(PurePath(name).parts[: len(parts)] == parts for parts in inside)
    ]
    return [TINY, *folders, *files]


def parts_of(model: str, **choices: str) -> dict[str, Path]:
    """Where every part of a model lies.

    Args: model: one of `models()`. choices: for each of `PARTS`, a file's name or "auto", which is the model folder's
        own, else the largest file of that kind that fits.
    Raises: ValueError or CheckpointError naming the folder and the file that is wanted.
    """
    if fault := missing(model):
        raise ValueError(fault)
    folder = _folder(model)
    parts: dict[str, Path] = {} if folder is None else dict.fromkeys(_KINDS, folder)
    if folder is None:
        parts["transformer"] = host.weight_path("diffusion_models", model)
        parts |= host.tokenizer_folders()
    else:
        for file in (
            (folder, *folder.rglob("*.safetensors"), *folder.rglob("*.gguf")) if model != TINY else ()
        ):
            host.inside(file)
        for name, brought_along in host.tokenizer_folders().items():
            parts[name] = folder / name if (folder / name).is_dir() else brought_along
    for choice, name in choices.items():
        if name != AUTO:
            parts[PARTS[choice][0]] = host.weight_path(PARTS[choice][2], name)
        elif folder is None:
            parts[PARTS[choice][0]] = _found(choice, parts["transformer"])
    return parts


def missing(model: str) -> str:
    """One sentence if the loader cannot offer this model, "" if it can."""
    if model in models():
        return ""
    return (
        f"the model {model!r} is not there: put the file (flux1-dev-kontext_fp8_scaled.safetensors, or another of "
        f"FLUX.1 Kontext) or the published folder into {host.named_folders('diffusion_models')}, or choose {TINY!r}"
    )


def preview_decoder() -> Path | None:
    """taef1 in models/vae_approx: taef1_decoder.safetensors, as ComfyUI calls it, or diffusers' file or folder taef1.

    The one place where a name counts: nothing else tells this decoder from that of Stable Diffusion 3.
    Raises: ValueError if it is a link that leads out of ComfyUI's folders, or there in pickled form only.
    """
    names = [
        name for name in host.weight_files(_APPROXIMATE) if name.startswith("taef1") and "encoder" not in name
    ]
    named = sorted(names, key=lambda name: (not name.startswith("taef1_decoder"), name))
    if named:
        return host.weight_path(_APPROXIMATE, named[0])
    if pickled := [name for name in host.pickled_files(_APPROXIMATE) if name.startswith("taef1_decoder")]:
        raise ValueError(f"{pickled[0]} is pickled and is not read; put taef1_decoder.safetensors beside it")
    return None


def state_of(parts: Parts) -> tuple[tuple[str, int, int], ...]:
    """Changes when one of the files does."""
    files = [
        file
        for path in dict.fromkeys(parts.values())
        for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if file.is_file()
    ]
    return tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)


def reports_of(parts: Parts) -> list[FileReport]:
    """What each file is. Raises: CheckpointError."""
    from ..kontext_core.loading.folders import find

    return [find(parts[part], kind)[0] for part, kind in _KINDS.items()]


def transformer_config(model: str) -> TransformerConfig:
    """Sizes of a model's transformer, from its file's header; remembered until the file changes.

    Raises: ValueError or CheckpointError.
    """
    path = {"transformer": parts_of(model)["transformer"]}
    return _config_of(path["transformer"], state_of(path))


@functools.lru_cache(maxsize=16)
def _config_of(path: Path, _state: tuple[tuple[str, int, int], ...]) -> TransformerConfig:
    from ..kontext_core.loading.folders import find

    return find(path, "transformer")[0].config


def _model_folders() -> dict[str, Path]:
    """Folders with text encoders of their own, by the name that the loader shows."""
    found: dict[str, Path] = {}
    for name in host.weight_files("diffusion_models"):
        parts = PurePath(name).parts
        if "text_encoder_2" in parts[1:]:
            inner = PurePath(*parts[: parts.index("text_encoder_2")])
            file = host.weight_path("diffusion_models", name)
            found[f"{inner.as_posix()}/"] = file.parents[len(parts) - len(inner.parts) - 1]
    for folder in host.folders("diffusers"):
        for encoder in sorted(folder.glob("*/text_encoder_2")):
            found.setdefault(f"{encoder.parent.name}/", encoder.parent)
    return dict(sorted(found.items()))


def _folder(model: str) -> Path | None:
    if model == TINY:
        from ..kontext_core.loading import folders

        return folders.TINY
    return _model_folders().get(model)


def _found(choice: str, transformer: Path) -> Path:
    """The largest file whose content is of the right kind and whose sizes fit the transformer."""
    from ..kontext_core.loading.folders import find

    _, kind, folder, called, usual = PARTS[choice]
    config = find(transformer, "transformer")[0].config
    files = [host.weight_path(folder, name) for name in host.weight_files(folder)]
    reports = [report for file in files if (report := _inspected(str(file), *_stamp(file))) is not None]
    fitting = [
        one for one in reports if one.kind == kind and not one.refusal and _FITS[kind](one.config, config)
    ]
    if not fitting:
        alike = [one for one in reports if one.kind == kind][:4]
        near = "".join(f"; {one.path.name} does not fit: {one.refusal or 'other sizes'}" for one in alike)
        raise CheckpointError(
            f"no {called} that fits {transformer.name} is in {host.named_folders(folder)}; put {usual} there{near}"
        )
    return max(fitting, key=lambda one: (one.size, str(one.path))).path


_FITS: dict[str, Callable[[Any, Any], bool]] = {
    "vae": lambda vae, model: vae.z_channels * 4 == model.in_channels,
    "clip": lambda clip, model: clip.hidden_size == model.vec_in_dim,
    "t5": lambda t5, model: t5.d_model == model.context_in_dim,
}


def _stamp(file: Path) -> tuple[int, int]:
    return file.stat().st_mtime_ns, file.stat().st_size


@functools.lru_cache(maxsize=256)
def _inspected(file: str, _modified: int, _size: int) -> FileReport | None:
    """What a file is; None if it cannot be read. Remembered until it changes."""
    from ..kontext_core.loading import inspect

    try:
        return inspect(file)
    except CheckpointError:
        return None
