"""A chain in one PNG: the last picture, and in its text how it came to be.

The lineage is JSON in an iTXt chunk. Earlier turns are in it as thumbnails; with their latents, which lie in a
safetensors file of the same name beside the picture, a loaded chain goes on bit by bit where it was saved.
"""

import base64
import io
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from PIL import Image, PngImagePlugin, UnidentifiedImageError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..cues import marks_from, marks_to
from ..disk import whole
from ..editor import UsedLora
from ..images import Placement, from_pil, to_pil
from ..lora.strength import ANY as ANY_STRENGTH
from ..lora.strength import checked_strength
from .turns import Chain, Turn

KEY = "kontext_chain"  # of the text in the PNG
VERSION = 3  # 1 has no marks, 2 no LoRAs
THUMBNAIL_PX = 256
MOST_BYTES = 100 * 2**20
MOST_TURNS = 10_000

_Json = dict[str, Any]


def save_chain(
    chain: Chain, path: str | Path, *, latents: bool = True, texts: Mapping[str, str] | None = None
) -> None:
    """Write the last picture and the lineage; with `latents` also those of all turns, beside it.

    Args: texts: what else the PNG is to say of itself, by keyword.

    Each file is complete or, when writing fails, what it was before; two that do not belong together are refused.

    Raises: OSError if they cannot be written.
    """
    path = Path(path)
    beside = latents_path(path)
    tensors = {
        str(i): turn.latents.float().cpu().contiguous()
        for i, turn in enumerate(chain.turns)
        if latents and turn.latents is not None
    }
    info = PngImagePlugin.PngInfo()
    id = secrets.token_hex(8)  # tells the two files of a chain from those of another
    for keyword, text in (texts or {}).items():
        info.add_text(keyword, text)
    info.add_itxt(KEY, json.dumps(to_json(chain) | {"id": id}, ensure_ascii=False))
    with whole(*((path, beside) if tensors else (path,))) as (partial, *latents_too):
        to_pil(chain.last.image).save(partial, "PNG", pnginfo=info)
        for partial_latents in latents_too:
            save_file(tensors, partial_latents, {"format": "pt", KEY: id})
            partial_latents.chmod(partial.stat().st_mode)  # for the same people as the picture
    if not tensors:
        beside.unlink(missing_ok=True)  # of another chain


def load_chain(path: str | Path) -> Chain:
    """The chain in a PNG. Without the latents beside it, earlier turns are thumbnails and the last is the picture.

    Raises: ValueError in one sentence if there is none, or if it is not to be used.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(
            f"{path.name} is {size / 2**20:.0f} MiB; pictures with a chain are read up to {MOST_BYTES // 2**20} MiB"
        )
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            picture.load()
            text = cast("Mapping[str, str]", getattr(picture, "text", {})).get(KEY)
            image = from_pil(picture)
    except (
        UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError,
    ) as error:  # fmt: skip
        raise ValueError(f"{path.name} is not a whole PNG file: {error}") from error
    if text is None:
        raise ValueError(
            f"{path.name} holds no edit chain: it was not saved by Kontext Save Chain, "
            "or another program wrote it anew; use it as a plain picture"
        )
    lineage = _object(text, path.name)
    return from_json(lineage, image, _latents(latents_path(path), lineage.get("id")), path.name)


def latents_path(path: Path) -> Path:
    """Where the latents of a chain's PNG lie: a name that no file of weights has."""
    return path.with_suffix(".kontext.safetensors")


def to_json(chain: Chain) -> _Json:
    """The lineage, without the last picture and without latents, in the first version that can hold it."""
    turns: list[_Json] = [
        {
            "instruction": turn.instruction,
            "seed": turn.seed,
            "settings": dict(turn.settings),
            "placement": None if turn.placement is None else asdict(turn.placement),
            "thumbnail": _thumbnail(turn.image),
            "references": [_thumbnail(reference) for reference in turn.references],
        }
        | ({"marks": marks_to(turn.marks)} if turn.marks else {})
        | ({"loras": [asdict(lora) for lora in turn.loras]} if turn.loras else {})
        for turn in chain.turns
    ]
    version = (
        3 if any(turn.loras for turn in chain.turns) else 2 if any(turn.marks for turn in chain.turns) else 1
    )
    return {"version": version, "turns": turns}


def from_json(lineage: _Json, image: Tensor, latents: Mapping[str, Tensor], name: str) -> Chain:
    """The reverse of `to_json`; what does not fit is refused.

    Args: image: of the last turn. latents: by the turn's number. name: of the file, for the message.
    """
    version = lineage.get("version")
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"the edit chain in {name} is damaged: it has no version")
    if version > VERSION:
        raise ValueError(
            f"the edit chain in {name} has version {version} and this pack reads up to {VERSION}; update the pack"
        )
    given = lineage.get("turns")
    if not isinstance(given, list) or not 0 < len(cast("list[object]", given)) <= MOST_TURNS:
        raise ValueError(f"the edit chain in {name} is damaged: it has no list of turns")
    turns: list[Turn] = []
    last = len(cast("list[object]", given)) - 1
    for i, one in enumerate(cast("list[_Json]", given)):
        try:
            turns.append(
                Turn(
                    image=image if i == last else _picture(one["thumbnail"]),
                    latents=latents.get(str(i)),
                    placement=_placement(one["placement"]) if str(i) in latents else None,
                    instruction=_typed(one["instruction"], str),
                    seed=_typed(one["seed"], int),
                    settings=_settings(one["settings"]),
                    references=tuple(_picture(text) for text in _typed(one["references"], list)),
                    marks=marks_from(one.get("marks", [])),
                    loras=tuple(_lora(given) for given in _typed(one.get("loras", []), list)),
                )
            )
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise ValueError(f"the edit chain in {name} is damaged at turn {i}: {error}") from error
    return Chain(tuple(turns))


def _latents(path: Path, id: object) -> dict[str, Tensor]:
    if not path.is_file():
        return {}
    try:
        with safe_open(path, "pt") as file:
            belongs = (file.metadata() or {}).get(KEY) == id
            found: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path.name} beside the picture is damaged: {error}; delete it to go on from the picture alone"
        ) from error
    if not belongs:
        raise ValueError(
            f"{path.name} beside the picture is of another chain; delete it to go on from the picture alone"
        )
    wrong = [
        key
        for key, one in found.items()
        if one.ndim != 4 or one.shape[0] != 1 or not one.is_floating_point() or not bool(one.isfinite().all())
    ]
    if wrong:
        raise ValueError(f"{path.name} beside the picture does not hold latents: {', '.join(wrong[:4])}")
    return found


def _object(text: str, name: str) -> _Json:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the edit chain in {name} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"the edit chain in {name} is damaged: it is no JSON object")
    return cast("_Json", found)


def _thumbnail(image: Tensor) -> str:
    picture = to_pil(image)
    picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _picture(text: str) -> Tensor:
    with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=("JPEG",)) as picture:
        return from_pil(picture)


def _placement(given: _Json | None) -> Placement | None:
    if given is None:
        return None
    top, left, height, width = (_typed(given[name], int) for name in ("top", "left", "height", "width"))
    return Placement(_size(given["canvas"]), top, left, height, width, _size(given["original"]))


def _size(given: object) -> tuple[int, int]:
    height, width = (_typed(side, int) for side in _typed(given, list))
    return height, width


def _lora(given: _Json) -> UsedLora:
    return UsedLora(_typed(given["name"], str), float(checked_strength(given["strength"], ANY_STRENGTH)))


def _settings(given: object) -> dict[str, str | int | float | bool | None]:
    settings = cast("_Json", _typed(given, dict))
    for value in settings.values():
        if value is not None and not isinstance(value, str | int | float | bool):
            raise ValueError(f"a setting is {type(value).__name__}")
    return settings


def _typed(value: Any, kind: type[Any]) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{value!r:.40} is no {kind.__name__}")
    return value
