"""ComfyUI's folders: which of their files can be used, and where a name in a workflow leads."""

from __future__ import annotations

import functools
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import folder_paths  # pyright: ignore[reportMissingImports]

from ..values import FileNames, described, slashed

CHAIN_LATENTS = ".kontext.safetensors"  # what `chain.latents_path` ends in
_WEIGHTS = (".safetensors", ".sft", ".gguf")
_PICKLED = (".pth", ".pt", ".bin")
_SETTLED_NS = 2 * 10**9  # a folder that changed just now may change again within one tick of its clock

_walked: dict[str, tuple[dict[str, int], tuple[str, ...]]] = {}  # what is known of a folder, see `_below`


def locate(
    roots: Iterable[str | Path], name: str, usable: Callable[[str], bool] = os.path.isfile
) -> Path | None:
    """Follow a name in a workflow: the one rule for models, LoRAs, pictures and chains.

    A name goes down from a folder that ComfyUI names (its model folders and those of extra_model_paths.yaml,
    its input and output folder), with either slash, and never out of it: no "..", no absolute path, no drive
    letter, no NUL. A link in a model folder, or inside a folder linked there, is followed wherever
    it leads, as in ComfyUI: anyone who can put a link there can put the file itself there.

    Args:
        roots: the folders.
        name: the name in the workflow.
        usable: a condition for the path.
    Returns: the path as it is named, through links; None if the name leads out, or to nothing usable.
    """
    if leads_out(name):
        return None
    paths = (os.path.join(root, way) for root in roots for way in dict.fromkeys((name, slashed(name))))
    return next((Path(path) for path in paths if usable(path)), None)


def leads_out(name: str) -> bool:
    """Tell whether a name does not go down from a folder."""
    first, *others = slashed(name).split("/")
    return first in ("", "..") or first[1:2] == ":" or ".." in others or "\0" in name


def is_text(name: str) -> bool:
    """Tell whether a name is valid UTF-8; safetensors opens no other."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


# Models


def weight_files(folder: str) -> FileNames:
    """List the safetensors and GGUF files in one of ComfyUI's model folders that can be used.

    A link to nothing, links in a circle, a closed folder, a file that has gone meanwhile and a name that is
    not text are skipped. ComfyUI's own list leaves GGUF out, loops over circular links, and fails altogether
    at one closed folder or one disconnected drive.
    """
    return FileNames(_names(folder, _WEIGHTS))


def pickled_files(folder: str) -> Sequence[str]:
    """List the files there that could run code when opened, and that nothing here opens."""
    return _names(folder, _PICKLED)


def weight_path(folder: str, name: str) -> Path:
    """Locate a file of weights. Raises: ValueError in one sentence if it is not there."""
    usable = name.lower().endswith(_WEIGHTS) and is_text(name)
    path = locate(roots_of(folder), name) if usable else None
    if path is None:
        why = obstacle(roots_of(folder), name)
        raise ValueError(
            f"there is no file {described(name)} in {named_folders(folder)}{f': {why}' if why else ''}"
        )
    return path


def obstacle(roots: Iterable[str | Path], name: str) -> str:
    """Say why a file is not found: its name, or a link to nothing; "" if it does not exist at all."""
    if leads_out(name):
        return ""
    if not is_text(name):
        return "its name is not valid UTF-8: rename it"
    parts = slashed(name).rstrip("/").split("/")
    ways = (os.path.join(root, *parts[:depth]) for root in roots for depth in range(1, len(parts) + 1))
    broken = next((way for way in ways if os.path.islink(way) and not os.path.exists(way)), None)
    if broken is None:
        return ""
    return f"{broken} is a link to {os.readlink(broken)}, and nothing can be read there"


def roots_of(folder: str) -> list[Path]:
    """List the folders in which ComfyUI looks for models of one kind."""
    return [Path(path) for path in folder_paths.get_folder_paths(folder)]


def named_folders(folder: str) -> str:
    """Name those folders in a message."""
    return " or ".join(str(path) for path in roots_of(folder))


def subfolders(folder: str | Path) -> list[Path]:
    """List the folders in a folder, including links, sorted; those that cannot be read are skipped."""
    return sorted(Path(entry.path) for entry in _entries(folder) if _holds(entry.is_dir))


def files_at(path: Path) -> list[Path]:
    """List the file, or all files of a folder, through links."""
    return [path / name for name in _below(path)] if os.path.isdir(path) else [path]


def tokenizer_folders() -> dict[str, Path]:
    """Locate the tokenizers of CLIP-L and T5-XXL that ComfyUI includes."""
    comfy_folder = Path(str(folder_paths.__file__)).parent / "comfy"
    return {
        "tokenizer": comfy_folder / "sd1_tokenizer",
        "tokenizer_2": comfy_folder / "text_encoders" / "t5_tokenizer",
    }


def _names(folder: str, ends: tuple[str, ...]) -> tuple[str, ...]:
    return _ending(tuple(_below(root) for root in roots_of(folder)), ends)


@functools.lru_cache(maxsize=32)
def _ending(names: tuple[tuple[str, ...], ...], ends: tuple[str, ...]) -> tuple[str, ...]:
    """Sort the names with such endings, except those that workflows may not have or that cannot be opened."""
    some = {name for inner in names for name in inner if name.lower().endswith(ends)}
    return tuple(sorted(name for name in some if is_text(name) and not leads_out(name)))


def _below(root: Path) -> tuple[str, ...]:
    """List all files below a folder, through links, entering no folder twice on one path.

    ComfyUI asks for them many times per run: they are remembered until a folder or the target of a link
    changes.
    """
    walk = _walked.get(str(root))
    if walk is None or any(_mark(path) != mark for path, mark in walk[0].items()):
        walk = _walk(str(root))
        settled = time.time_ns() - _SETTLED_NS
        if all(mark < settled for mark in walk[0].values()):
            _walked[str(root)] = walk
        else:
            _walked.pop(str(root), None)
    return walk[1]


def _walk(root: str) -> tuple[dict[str, int], tuple[str, ...]]:
    """Walk down from a folder.

    Returns: marks of the folders and links on the way, by their paths, and the names of the files.
    """
    names: list[str] = []
    marks = {root: _mark(root)}
    waiting: list[tuple[str, tuple[str, ...]]] = [("", (os.path.realpath(root),))]
    while waiting:
        place, way = waiting.pop()
        for entry in _entries(os.path.join(root, place)):
            name, link = os.path.join(place, entry.name), _holds(entry.is_symlink)
            if link:
                marks[entry.path] = _mark(entry.path)
            if _holds(entry.is_file):
                names.append(name)
            elif _holds(entry.is_dir) and entry.name != ".git":
                real = os.path.realpath(entry.path) if link else os.path.join(way[-1], entry.name)
                if real not in way:
                    marks[entry.path] = _mark(entry.path)
                    waiting.append((name, (*way, real)))
    return marks, tuple(names)


def _mark(path: str) -> int:
    """Return when a folder was last changed, in ns; a small number for a file, one below 0 for nothing."""
    try:
        status = os.stat(path)
    except OSError:
        return -1
    return status.st_mtime_ns if stat.S_ISDIR(status.st_mode) else int(stat.S_ISREG(status.st_mode))


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """List the contents of a folder; nothing if they cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _holds(test: Callable[[], bool]) -> bool:
    """Test a property of a file; False if it cannot be determined."""
    try:
        return test()
    except OSError:
        return False


# Pictures and chains


def next_picture(prefix: str, *, width: int, height: int, ending: str = "png") -> tuple[Path, dict[str, str]]:
    """Choose the next free file of this prefix below the output folder, and how to name it to the page.

    Args:
        prefix: as a workflow gives it.
        width: of the picture in px, for %width% in the prefix.
        height: of the picture in px.
        ending: of the file.
    Raises: ValueError if the prefix leads out of that folder, also by a link; OSError if it cannot be
    created.
    """
    output = folder_paths.get_output_directory()
    below = slashed(prefix)
    if (prefix and leads_out(prefix)) or not _lies_in(os.path.join(output, below), output):
        raise ValueError(
            f"filename_prefix {described(prefix)} leads out of ComfyUI's output folder; give a name or a "
            "folder below it"
        )
    try:
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(below, output, width, height)
    except OSError as error:
        raise OSError(f"the folder of {prefix!r} could not be made in {output}: {error.strerror}") from error
    file = f"{name}_{counter:05}_.{ending}"
    return Path(folder, file), {"filename": file, "subfolder": subfolder, "type": "output"}


def chain_pictures() -> list[str]:
    """List PNG files that may hold a chain: all in the input folder, those with latents in the output folder.

    The page asks whenever it lists the nodes: of the output folder only two levels below it are looked at.
    """
    inputs, output = folder_paths.get_input_directory(), folder_paths.get_output_directory()
    files = set(_inside(output, (".png", CHAIN_LATENTS), 2))
    chains = {
        f"{name.removesuffix(CHAIN_LATENTS)}.png": _changed(os.path.join(output, name))
        for name in files
        if name.endswith(CHAIN_LATENTS)
    }
    newest = sorted(files & chains.keys(), key=lambda name: (chains[name], name), reverse=True)
    saved = (name.replace(os.sep, "/") for name in newest)
    return [*(f"{name} [output]" for name in saved), *sorted(_inside(inputs, (".png",), 0))]


def picture_path(name: str) -> Path:
    """Locate a picture that the page names, in the input or the output folder.

    A link there that leads out of the folder is not followed, as in ComfyUI 0.28 and later.

    Raises: ValueError if it is not there, or the name leads elsewhere.
    """
    inner, known = folder_paths.annotated_filepath(name)
    folder = Path(known or folder_paths.get_input_directory())
    path = locate([folder], inner)
    if path is None:
        raise ValueError(
            f"there is no picture {described(name)} in {folder}: choose another, upload it, or take it "
            "out of the workflow"
        )
    if not _lies_in(path, folder):
        raise ValueError(
            f"the picture {described(name)} is a link that leads out of {folder}, which ComfyUI does not "
            "follow: put the picture itself there"
        )
    return path


def _inside(root: str, ends: tuple[str, ...], levels: int, place: str = "") -> Iterator[str]:
    """List files in a folder and a number of levels below it, except links that lead out of the root."""
    for entry in _entries(os.path.join(root, place)):
        if _holds(entry.is_symlink) and not _lies_in(entry.path, root):
            continue
        name = os.path.join(place, entry.name)
        if _holds(entry.is_file):
            if name.endswith(ends):
                yield name
        elif levels and _holds(entry.is_dir):
            yield from _inside(root, ends, levels - 1, name)


def _changed(path: str) -> float:
    """Return when a file was last changed; 0 if it has gone meanwhile."""
    try:
        return os.path.getmtime(path)
    except OSError:
        return 0.0


def _lies_in(path: str | Path, folder: str | Path) -> bool:
    """Tell whether a path is in a folder, after all links."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
