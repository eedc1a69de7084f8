"""Where the parts of a model are: in a file that is named, or in a folder laid out as the published one."""

from pathlib import Path

from ..errors import CheckpointError
from .checkpoint import check_index, files_of_weights, is_one_model, open_checkpoint, others_in
from .recognise import recognise
from .report import FileReport
from .tensors import Weights, first_few

TINY_FOLDER = Path(__file__).parents[1] / "tiny"  # the model that comes along

# What to say when a part is not there: what it is called, and what to put where.
_PARTS: dict[str, tuple[str, str]] = {
    "transformer": (
        "transformer",
        "flux1-kontext-dev.safetensors, or diffusers' files in a folder 'transformer'",
    ),
    "vae": ("autoencoder", "ae.safetensors, or diffusers' files in a folder 'vae'"),
    "clip": ("CLIP text encoder", "a folder 'text_encoder' with config.json and model.safetensors"),
    "t5": (
        "T5 text encoder",
        "a folder 'text_encoder_2' with config.json and model.safetensors, or its shards and their index",
    ),
    "preview": ("decoder for previews", "taef1_decoder.safetensors, or diffusers' file of taef1"),
}
_FOLDERS = {
    "transformer": "transformer", "vae": "vae", "clip": "text_encoder", "t5": "text_encoder_2", "preview": "taef1",
}  # fmt: skip


def locate_part(path: str | Path, part: str) -> tuple[FileReport, Weights]:
    """One part of a model, recognised and ready to load.

    Args:
        path: a safetensors or GGUF file; a folder with one; or a folder laid out as the published one.
        part: "transformer", "vae", "clip", "t5" or "preview".
    Raises: CheckpointError if it is not there, or is something else, or cannot be used.
    """
    path = Path(path)
    name, expected = _PARTS[part]
    if not path.exists():
        raise CheckpointError(
            f"there is no file or folder {path}, where the {name} should be; needed: {expected}"
        )
    report, weights = _in_folder(path, part) if path.is_dir() else recognise(open_checkpoint(path), part)
    if report.kind != part:
        raise CheckpointError(
            f"{report.path} is {report.title} and not the {name} of FLUX.1; "
            f"{report.instead or f'needed: {expected}'}"
        )
    if report.refusal:
        raise CheckpointError(f"{report.path} cannot be used as the {name}: {report.refusal}")
    return report, weights


def _in_folder(folder: Path, part: str) -> tuple[FileReport, Weights]:
    if is_one_model(folder):
        return recognise(open_checkpoint(folder), part)

    check_index(folder)
    damaged: list[CheckpointError] = []
    recognised: list[tuple[FileReport, Weights]] = []
    for file in files_of_weights(folder):
        try:
            recognised.append(recognise(open_checkpoint(file), part))
        except CheckpointError as error:
            damaged.append(error)
    fitting = [(report, weights) for report, weights in recognised if report.kind == part]
    usable = [(report, weights) for report, weights in fitting if not report.refusal] or fitting
    name, expected = _PARTS[part]
    if len(usable) > 1:
        names = first_few(report.path.name for report, _ in usable)
        raise CheckpointError(
            f"{folder} holds several files that could be the {name}: {names}; name one of them"
        )
    if usable:
        return usable[0]
    if (folder / _FOLDERS[part]).is_dir():
        return recognise(open_checkpoint(folder / _FOLDERS[part]), part)
    if damaged:
        raise damaged[0]
    others = "".join(f"; {report.path.name} is {report.title}" for report, _ in recognised)
    if other := others_in(folder):
        others += f"; it {other}"
    raise CheckpointError(f"there is no {name} in {folder}; needed there: {expected}{others}")
