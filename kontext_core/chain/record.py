"""A chain's record, the lineage: every turn as JSON, checked by the same code when read and when written."""

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any

from torch import Tensor

from ..checks.json_values import Json, listing, number, read_json, record, whole, whole_letters, words
from ..checks.shorten import short
from ..edit_settings import ALLOWED
from ..editor import UsedLora
from ..images.fitting import Placement, check_placement
from ..images.marks import Mark, areas_of, marks_from, marks_to
from .limits import (
    MOST_CANVAS_PIXELS,
    MOST_COMMAS,
    MOST_LETTERS,
    MOST_LORAS,
    MOST_READ_TEXT_BYTES,
    MOST_REFERENCES,
    MOST_TURNS,
    SMALLEST_THUMBNAIL_PX,
    THUMBNAIL_PX,
    thumbnail_side,
)
from .thumbnails import Thumbnails, encode_thumbnails
from .turns import Chain, Settings, Turn

VERSION = 4  # 1 has no marks, 2 no LoRAs, 3 no areas
_SEEDS = int(ALLOWED["seed"].low or 0), int(ALLOWED["seed"].high)
_MOST_PX = 2**31 - 1  # of a side or a place; `check_placement` says what fits together
_SAMPLED = 64  # previews that tell how much all will take
_MOST_NUMBER = 1e300  # in settings and strengths: anything finite that anybody meant
_SHORTER = "go back to an earlier turn, or start a new chain from the last picture"


@dataclass(frozen=True)
class TurnRecord:
    """A turn as its record holds it.

    Args:
        thumbnail, references: previews.
        placement: where its latents would lie.
    """

    instruction: str
    seed: int
    settings: Settings
    placement: Placement | None
    thumbnail: str
    references: tuple[str, ...]
    marks: tuple[Mark, ...]
    loras: tuple[UsedLora, ...]


def to_json(chain: Chain, side_px: int = THUMBNAIL_PX) -> Json:
    """Make the lineage, without the last picture and without latents, in the first version that can hold it.

    Args:
        side_px: the longer side of the previews, at most.
    """
    thumbnails = encode_thumbnails(_pictures(chain), side_px)
    turns: list[Json] = [
        {
            "instruction": turn.instruction,
            "seed": turn.seed,
            "settings": dict(turn.settings),
            "placement": None if turn.placement is None else asdict(turn.placement),
            "thumbnail": thumbnails[id(turn.image)],
            "references": [thumbnails[id(reference)] for reference in turn.references],
        }
        | ({"marks": marks_to(turn.marks)} if turn.marks else {})
        | ({"loras": [asdict(lora) for lora in turn.loras]} if turn.loras else {})
        for turn in chain.turns
    ]
    return {"version": max(map(_version, chain.turns)), "turns": turns}


def _version(turn: Turn) -> int:
    """The first version that can hold a turn."""
    return 4 if areas_of(turn.marks) else 3 if turn.loras else 2 if turn.marks else 1


def _pictures(chain: Chain) -> Generator[Tensor]:
    for turn in chain.turns:
        yield from (turn.image, *turn.references)


def record_text(chain: Chain, name: str, room: int, fault: str) -> str:
    """Write a chain's record, with previews as large as there is room for, and check it as a reader will.

    Args:
        name: of the chain, which its latents repeat.
        room: in bytes.
        fault: what a message begins with.
    Raises: ValueError in one sentence if it could not be read again, or there is no room.
    """
    _check_counts(chain, fault)
    side = thumbnail_side({id(image): image.shape[1:3] for image in _pictures(chain)}.values())
    while True:
        try:
            text = whole_letters(json.dumps(to_json(chain, side) | {"id": name}, ensure_ascii=False))
        except TypeError as error:  # a setting that is none of JSON's
            raise ValueError(f"{fault}: {error}") from error
        size = len(text.encode())
        if size <= room:
            _read_turns(_parse(text, fault), fault)
            return text
        if side == SMALLEST_THUMBNAIL_PX:
            raise ValueError(
                f"{fault}: its record has {size / 2**20:.0f} MiB with the smallest previews, but there is "
                f"room for only {room / 2**20:.0f} MiB; {_SHORTER}"
            )
        side = _smaller_side(list(_pictures(chain)), side, room / size)


def _smaller_side(pictures: Sequence[Tensor], side: int, share: float) -> int:
    """The largest side below this at which previews, by a sample of them, take such a share of their room."""
    sample = pictures[:: max(len(pictures) // _SAMPLED, 1)]

    def room(side: int) -> int:
        texts = encode_thumbnails(sample, side)
        return sum(len(texts[id(picture)]) for picture in sample)

    most = room(side) * share
    fitting, low, high = SMALLEST_THUMBNAIL_PX, SMALLEST_THUMBNAIL_PX + 1, side - 1
    while low <= high:
        middle = (low + high) // 2
        if room(middle) <= most:
            fitting, low = middle, middle + 1
        else:
            high = middle - 1
    return fitting


def _check_counts(chain: Chain, fault: str) -> None:
    if len(chain.turns) > MOST_TURNS:
        raise ValueError(
            f"{fault}: it has {len(chain.turns)} turns, but {MOST_TURNS} is the maximum; {_SHORTER}"
        )
    for i, turn in enumerate(chain.turns):
        if len(turn.references) > MOST_REFERENCES:
            raise ValueError(
                f"{fault}: turn {i} has {len(turn.references)} references, but {MOST_REFERENCES} is the "
                "maximum; stitch some of them into one"
            )


def read_record(text: str, name: str) -> tuple[list[TurnRecord], object]:
    """Read the turns of a chain, each value checked and no preview opened, and the chain's name.

    Args:
        name: of the file, for the message.
    Raises: ValueError in one sentence that names the file and the turn.
    """
    fault = f"the edit chain in {name} is damaged"
    lineage = _parse(text, fault)
    version = lineage.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ValueError(f"{fault}: it has no version")
    if version > VERSION:
        raise ValueError(
            f"the edit chain in {name} has version {short(version)}, but this pack reads versions up to "
            f"{VERSION}; update the pack"
        )
    return _read_turns(lineage, fault), lineage.get("id")


def make_chain(
    records: Sequence[TurnRecord], image: Tensor, latents: Mapping[str, Tensor], name: str
) -> Chain:
    """Make the chain of a record.

    Args:
        image: of the last turn.
        latents: by the turn's number.
        name: of the file, for the message.
    Raises: ValueError in one sentence that names the file and the turn.
    """
    fault, thumbnails = f"the edit chain in {name} is damaged", Thumbnails()
    last = len(records) - 1
    for i, turn in enumerate(records):
        with _at_turn(i, fault):
            for text in turn.references if i == last else (turn.thumbnail, *turn.references):
                thumbnails.look_at(text)
    turns: list[Turn] = []
    for i, turn in enumerate(records):
        with _at_turn(i, fault):
            turns.append(
                Turn(
                    image=image if i == last else thumbnails.picture(turn.thumbnail),
                    latents=latents.get(str(i)),
                    placement=turn.placement if str(i) in latents else None,
                    instruction=turn.instruction,
                    seed=turn.seed,
                    settings=turn.settings,
                    references=tuple(thumbnails.picture(text) for text in turn.references),
                    marks=turn.marks,
                    loras=turn.loras,
                )
            )
    return Chain(tuple(turns))


def _parse(text: str, fault: str) -> Json:
    if (commas := text.count(",")) > MOST_COMMAS:
        raise ValueError(f"{fault}: its record has {commas} values, but {MOST_COMMAS} is the maximum")
    try:
        return record(read_json(text))
    except ValueError as error:
        raise ValueError(f"{fault}: {error}") from error


def _read_turns(lineage: Json, fault: str) -> list[TurnRecord]:
    try:
        turns = listing(lineage.get("turns"), MOST_TURNS, least=1)
    except ValueError as error:
        raise ValueError(f"{fault}: it has no list of turns: {error}") from error
    records: list[TurnRecord] = []
    for i, turn in enumerate(turns):
        with _at_turn(i, fault):
            records.append(_read_turn(turn))
    return records


@contextmanager
def _at_turn(i: int, fault: str) -> Generator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{fault} at turn {i}: {error}") from error


def _read_turn(entry: Any) -> TurnRecord:
    turn = record(entry, "instruction", "seed", "settings", "placement", "thumbnail", "references")
    return TurnRecord(
        instruction=words(turn["instruction"], MOST_LETTERS),
        seed=whole(turn["seed"], *_SEEDS),
        settings={name: _setting(name, value) for name, value in record(turn["settings"]).items()},
        placement=None if turn["placement"] is None else _placement(turn["placement"]),
        thumbnail=words(turn["thumbnail"], MOST_READ_TEXT_BYTES),
        references=tuple(
            words(text, MOST_READ_TEXT_BYTES) for text in listing(turn["references"], MOST_REFERENCES)
        ),
        marks=marks_from(turn.get("marks", [])),
        loras=tuple(_lora(lora) for lora in listing(turn.get("loras", []), MOST_LORAS)),
    )


def _setting(name: str, value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return words(value, MOST_LETTERS)
    if isinstance(value, int):
        return whole(value, *_SEEDS)
    if isinstance(value, float):
        return number(value, -_MOST_NUMBER, _MOST_NUMBER)
    raise ValueError(f"the setting {short(name)} is {type(value).__name__}")


def _placement(entry: Any) -> Placement:
    values = record(entry, *(field.name for field in fields(Placement)))
    top, left, height, width = (
        whole(values[name], -_MOST_PX, _MOST_PX) for name in ("top", "left", "height", "width")
    )
    place = Placement(_size(values["canvas"]), top, left, height, width, _size(values["original"]))
    check_placement(place)
    if place.canvas[0] * place.canvas[1] > MOST_CANVAS_PIXELS:
        raise ValueError(
            f"its canvas is {place.canvas[1]} x {place.canvas[0]} px, but {MOST_CANVAS_PIXELS / 1e6:.0f} "
            "million pixels is the maximum"
        )
    return place


def _size(entry: Any) -> tuple[int, int]:
    height, width = (whole(side, 1, _MOST_PX) for side in listing(entry, 2, least=2))
    return height, width


def _lora(entry: Any) -> UsedLora:
    values = record(entry, "name", "strength")
    try:
        strength = number(values["strength"], -_MOST_NUMBER, _MOST_NUMBER)
    except ValueError as error:
        raise ValueError(f"the strength of a LoRA is {short(values['strength'])}") from error
    return UsedLora(words(values["name"], MOST_LETTERS), strength)
