"""A chain's record is untrusted: reader and writer check every value of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch

from kontext_core.chain import Chain, load_chain, record, save_chain
from kontext_core.editor import UsedLora
from kontext_core.images.fitting import Placement
from kontext_core.images.marks import Mark

Lineage = dict[str, Any]
Make = Callable[..., Lineage]
Write = Callable[..., Path]
HUGE, INF, NAN = 10**400, float("inf"), float("nan")
MARK = {"kind": "ellipse", "points": [[0, 0], [1, 1]]}
PLACE = {"canvas": [32, 64], "top": 0, "left": 6, "height": 32, "width": 52, "original": [40, 65]}

BAD = [
    ({"seed": True}, "True is not a whole number from -9223372036854775808 to 18446744073709551615"),
    ({"seed": 1.0}, "1.0 is not a whole number"),
    ({"seed": 2**64}, "18446744073709551616 is not a whole number"),
    ({"seed": -(2**63) - 1}, "-9223372036854775809 is not a whole number"),
    ({"seed": HUGE}, "a number of about 400 digits is not a whole number"),
    ({"seed": None}, "None is not a whole number"),
    ({"instruction": None}, "None is not text"),
    ({"instruction": ["a"]}, r"\['a'\] is not text"),
    ({"settings": []}, r"\[\] is not a JSON object"),
    ({"settings": {"guidance": NAN}}, "nan is not a number from"),
    ({"settings": {"guidance": -INF}}, "-inf is not a number from"),
    ({"settings": {"steps": HUGE}}, "a number of about 400 digits is not a whole number"),
    ({"settings": {"steps": {}}}, "the setting 'steps' is dict"),
    ({"loras": [{"name": "a", "strength": HUGE}]}, "the strength of a LoRA is a number of about 400 digits"),
    ({"loras": [{"name": "a", "strength": NAN}]}, "the strength of a LoRA is nan"),
    ({"loras": [{"name": "a", "strength": "1"}]}, "the strength of a LoRA is '1'"),
    ({"loras": [{"name": 5, "strength": 1}]}, "5 is not text"),
    ({"loras": ["a"]}, "'a' is not a JSON object"),
    ({"loras": [{}] * 257}, "a list has 257 values and 0 to 256 are allowed"),
    ({"marks": [MARK | {"width": HUGE}]}, "mark 1: width a number of about 400 digits must be a fraction"),
    ({"marks": [MARK, MARK | {"width": NAN}]}, "mark 2: width nan must be a fraction"),
    ({"marks": [MARK | {"width": True}]}, "mark 1: width True must be a fraction"),
    ({"marks": [MARK | {"points": [[HUGE, 0], [1, 1]]}]}, "mark 1: its points must be pairs .* about 400 digits"),
    ({"marks": [MARK | {"points": [[True, 0], [1, 1]]}]}, (
        "mark 1: its points must be pairs .* True is not a number"
    )),
    ({"marks": [MARK | {"points": [[0, 0, 0], [1, 1]]}]}, "mark 1: its points must be pairs"),
    ({"marks": [MARK | {"points": [[-INF, 0], [1, 1]]}]}, "mark 1: its points must be pairs"),
    ({"marks": [MARK | {"colour": 5}]}, "mark 1: colour 5 must be written #rrggbb"),
    ({"marks": [MARK | {"kind": ["box"]}]}, r"mark 1: kind \['box'\] is not known"),
    ({"placement": 5}, "5 is not a JSON object"),
    ({"placement": {"top": 0}}, "it lacks 'canvas', 'left', 'height', 'width', 'original'"),
    ({"placement": PLACE | {"height": 0}}, "a placement has a side of 0 px"),
    ({"placement": PLACE | {"top": 0.0}}, "0.0 is not a whole number"),
    ({"placement": PLACE | {"left": False}}, "False is not a whole number"),
    ({"placement": PLACE | {"width": HUGE}}, "a number of about 400 digits is not a whole number"),
    ({"placement": PLACE | {"width": 10**9}}, "neither within its canvas of 64 x 32 px nor over all of it"),
    ({"placement": PLACE | {"canvas": [32]}}, "a list has 1 values and 2 to 2 are allowed"),
    ({"placement": PLACE | {"original": [0, 65]}}, "0 is not a whole number from 1"),
    (
        {"placement": PLACE | {"canvas": [2**20, 2**20], "height": 2**20, "width": 2**20, "left": 0}},
        "its canvas is 1048576 x 1048576 px, but 67 million pixels is the maximum",
    ),
    ({"references": "all"}, "'all' is not a list"),
    ({"references": [5]}, "5 is not text"),
    ({"thumbnail": None}, "None is not text"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "sentence"), BAD, ids=[sentence[:50] for _, sentence in BAD])
def test_values_that_nobody_wrote_are_refused_with_file_and_turn(
    lineage: Make, write: Write, changes: Lineage, sentence: str
) -> None:
    path = write(lineage(**changes))
    with pytest.raises(ValueError, match=rf"^the edit chain in a\.png is damaged at turn 1: .*{sentence}"):
        load_chain(path)


def test_what_it_begins_with_loads(lineage: Make, write: Write) -> None:
    changes = {
        "placement": PLACE, "marks": [MARK], "loras": [{"name": "a", "strength": -1}], "seed": 2**64 - 1,
        "settings": {"a": 2.5, "b": None, "c": True, "d": -3, "e": "x"},
    }  # fmt: skip
    turn = load_chain(write(lineage(**changes))).turns[1]
    assert (turn.seed, dict(turn.settings)) == (2**64 - 1, changes["settings"])
    assert turn.loras == (UsedLora("a", -1.0),)
    assert turn.placement is None, "which means nothing without latents"


@pytest.mark.parametrize("version", [True, 0, -1, 1.0, "1", None, INF])
def test_no_version(lineage: Make, write: Write, version: Any) -> None:
    with pytest.raises(ValueError, match=r"^the edit chain in a\.png is damaged: it has no version"):
        load_chain(write(lineage() | {"version": version}))


@pytest.mark.parametrize(("version", "words"), [(5, "5"), (HUGE, "a number of about 400 digits")])
def test_a_version_of_later(lineage: Make, write: Write, version: int, words: str) -> None:
    with pytest.raises(
        ValueError,
        match=rf"^the edit chain in a\.png has version {words}, but this pack reads versions up to 4",
    ):
        load_chain(write(lineage() | {"version": version}))


def test_a_number_of_too_many_digits_for_python(lineage: Make, write: Write, tmp_path: Path) -> None:
    """The message does not mention Python's own limits, which no user has set."""
    text = json.dumps(lineage()).replace('"seed": 0', f'"seed": {"9" * 5000}')
    with pytest.raises(ValueError, match=r"damaged at turn 0: inf is not a whole number") as error:
        record.read_record(text, "a.png")
    assert "set_int_max_str_digits" not in str(error.value)


def test_half_a_letter_is_replaced_and_saved_again(lineage: Make, write: Write, tmp_path: Path) -> None:
    chain = load_chain(write(lineage(instruction="a\ud800b", settings={"fit": "\udfff"})))
    assert chain.turns[1].instruction == "a\ufffdb"
    save_chain(Chain((replace(chain.last, instruction="\ud83d x"),)), tmp_path / "b.png")
    assert load_chain(tmp_path / "b.png").last.instruction == "\ufffd x"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seed": 2**64}, "at turn 1: 18446744073709551616 is not a whole number"),
        ({"instruction": None}, "at turn 1: None is not text"),
        ({"settings": MappingProxyType({"guidance": NAN})}, "at turn 1: nan is not a number"),
        ({"settings": {"mask": torch.zeros(1)}}, "Object of type Tensor is not JSON serializable"),
        ({"marks": (Mark(kind="box", points=((0, 0), (9, 9))),)}, "at turn 1: mark 1: its points must be pairs"),
        ({"loras": (UsedLora("a", INF),)}, "at turn 1: the strength of a LoRA is inf"),
        ({"placement": Placement((32, 64), 0, 6, 0, 52, (40, 65))}, "at turn 1: a placement has a side of 0 px"),
    ],
)  # fmt: skip
def test_what_could_not_be_read_again_is_not_written(
    short: Chain, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    first, second, last = short.turns
    save_chain(short, tmp_path / "a.png")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=rf"^the chain cannot be saved as a\.png:? ?.*{sentence}"):
        save_chain(Chain((first, replace(second, **changes), last)), tmp_path / "a.png")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_more_values_than_any_chain_has_are_refused_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(record, "read_json", lambda _: pytest.fail("read"))
    with pytest.raises(
        ValueError, match=r"a\.png is damaged: its record has 4000001 values, but 4000000 is the maximum"
    ):
        record.read_record("[" + "{}," * 4_000_001 + "{}]", "a.png")
