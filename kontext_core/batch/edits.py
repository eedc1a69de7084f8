"""The file of a batch: a line of JSON for each edit."""

import hashlib
import json
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from ..checks.ranges import Allowed
from ..checks.shorten import short
from ..edit_settings import ALLOWED, SHORT_NAMES, check_mask, check_negative, check_size
from ..sampling.step_cache import parse_step_cache

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_RESERVED = re.compile(r"results|(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.I)
_LONGEST_LINE = 2**24  # bytes


@dataclass(frozen=True)
class BatchEdit:
    """One line.

    Args:
        line: its number.
        id: names its files.
        pictures: files; the first is edited, others are references.
        instructions: a turn each.
        settings: by the names of `EditSettings`.
        mask: a file, white where the first picture may change.
    """

    line: int
    id: str
    pictures: tuple[Path, ...]
    instructions: tuple[str, ...]
    settings: Mapping[str, Any]
    mask: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All that it reads, the mask last."""
        return self.pictures if self.mask is None else (*self.pictures, self.mask)

    def key(self, pictures: list[bytes], model: str) -> str:
        """Change when the result would.

        Args:
            pictures: the bytes of `files`.
            model: what else it depends on.
        """
        content: dict[str, Any] = {
            "instructions": self.instructions,
            "settings": dict(self.settings),
            "model": model,
        }
        if self.mask is not None:  # else as before there were masks
            content["masked"] = True
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
        for picture in pictures:
            digest.update(hashlib.sha256(picture).digest())
        return digest.hexdigest()


# What a line may say beside its pictures and instructions: the field of `EditSettings`, and what it may be,
# as at every other entry point; who wants the default leaves it out.
SETTINGS: dict[str, tuple[str, Allowed]] = {
    name: (field, replace(ALLOWED[field], optional=False)) for field, name in SHORT_NAMES.items()
}
_KEYS = ("id", "pictures", "instructions", *SETTINGS, "mask")


def read_edits(path: Path, pictures: Path, defaults: Mapping[str, Any]) -> tuple[list[BatchEdit], list[str]]:
    """The edits of a file, in order, and a sentence for each line that cannot be used.

    Empty lines count as none.

    Args:
        pictures: the folder that pictures are named from and lie in.
        defaults: settings of lines that say nothing.
    Raises: ValueError if there is no such file or folder.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if not pictures.is_dir():
        raise ValueError(
            f"there is no folder {pictures} to take pictures from; choose another with --pictures"
        )
    edits: dict[str, BatchEdit] = {}
    faults: list[str] = []
    with path.open("rb") as lines:
        for number, text in enumerate(_lines(lines), start=1):
            if not text.strip():
                continue
            try:
                if len(text) > _LONGEST_LINE:
                    raise ValueError(f"it is longer than {_LONGEST_LINE // 2**20} MiB")
                edit = _edit(number, text, pictures.resolve(), defaults)
                earlier = edits.setdefault(edit.id.lower(), edit)  # as some systems know files
                if earlier is not edit:
                    raise ValueError(
                        f"its id {edit.id!r} is also that of line {earlier.line}; give it a different id"
                    )
            except ValueError as error:
                faults.append(f"line {number} of {path.name}: {error}")
    return list(edits.values()), faults


def _lines(file: BinaryIO) -> Generator[bytes]:
    """Yield the lines of a file; of one that is too long, a little more than may be."""
    while line := file.readline(_LONGEST_LINE + 1):
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(_LONGEST_LINE)
        yield line


def _edit(number: int, text: bytes, folder: Path, defaults: Mapping[str, Any]) -> BatchEdit:
    try:
        line = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error})") from error
    except RecursionError as error:
        raise ValueError("its JSON cannot be read (it is nested too deeply)") from error
    except UnicodeDecodeError as error:
        raise ValueError("it is not JSON (it is not UTF-8)") from error
    except ValueError as error:  # the one that is left
        raise ValueError("its JSON cannot be read (a number has thousands of digits)") from error
    if not isinstance(line, dict):
        raise ValueError('it must be an object, as in {"pictures": "a.png", "instructions": "make it night"}')
    unknown = [key for key in line if key not in _KEYS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not known; a line may have {', '.join(_KEYS)}")
    names = _texts("pictures", line.get("pictures", []))
    instructions = _texts("instructions", line.get("instructions"))
    if not instructions:
        raise ValueError("it has no instructions; give one, or an empty text for no instruction")
    settings = dict(defaults)
    for key, (name, allowed) in SETTINGS.items():
        if key not in line:
            continue
        if not allowed.admits(line[key]):
            raise ValueError(f"{key} is {short(line[key])} and must be {allowed}")
        settings[name] = line[key]
    check_negative(settings)
    if (approximate := settings.get("approximate")) is not None:
        parse_step_cache(approximate)
    masks = _mask(line, names)
    check_mask(settings, masked=bool(masks))
    check_size(settings, has_picture=bool(names))
    if not names and settings.get("strength", 1) < 1:
        raise ValueError("a strength below 1 starts from the first picture, but there is none; name one")
    chosen = line.get("id", _named(names, [names, instructions, settings, *masks]))
    if not isinstance(chosen, str) or not _ID.fullmatch(chosen) or _RESERVED.fullmatch(chosen):
        raise ValueError(
            f"the id {short(chosen)} names files, so it must be up to 100 letters, digits, dots, hyphens and "
            "underscores, starting with a letter or digit, and not 'results' or a name that an operating "
            "system reserves"
        )
    pictures, mask = [_inside(folder, name) for name in names], [_inside(folder, name) for name in masks]
    return BatchEdit(number, chosen, tuple(pictures), instructions, settings, *mask)


def _mask(line: Mapping[str, Any], pictures: tuple[str, ...]) -> tuple[str, ...]:
    """The mask of a line, if it has one. Raises: ValueError."""
    if "mask" not in line:
        return ()
    mask = line["mask"]
    if not isinstance(mask, str):
        raise ValueError(f"mask is {short(mask)} and must be a text: the name of a picture")
    if not pictures:
        raise ValueError(
            "a mask says which part of the first picture may change, but there is no picture; name one"
        )
    return (mask,)


def _texts(key: str, value: Any) -> tuple[str, ...]:
    """A text, or a list of texts."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(
            f"{key} must be a text or a list of texts" + (", and there are none" * (value is None))
        )
    return tuple(texts)


def _named(names: tuple[str, ...], parts: Sequence[Any]) -> str:
    """An id that tells different edits apart, wherever in the file they stand.

    Args:
        names: of the pictures.
        parts: all that a line says, as JSON can hold it.
    """
    content = json.dumps(parts, sort_keys=True)
    stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(names[0]).stem)[:60].strip("-") if names else ""
    return f"{stem or 'edit'}-{hashlib.sha256(content.encode()).hexdigest()[:10]}"


def _inside(folder: Path, name: str) -> Path:
    """Raises: ValueError unless the file is there and lies in the folder, links followed."""
    try:
        path = (folder / name).resolve()
        there = path.is_file()
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise ValueError(f"the picture {short(name)} cannot be a file ({reason})") from error
    if not path.is_relative_to(folder):
        raise ValueError(
            f"the picture {short(name)} lies outside {folder}; choose its folder with --pictures"
        )
    if not there:
        raise ValueError(f"there is no picture {short(name)} in {folder}")
    return path
