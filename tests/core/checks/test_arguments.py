"""Values of the command line: each has a range, and a sentence for anything outside it."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kontext_core import config
from kontext_core.checks.arguments import (
    count,
    file_and_strength,
    gib,
    minutes,
    model,
    number,
    path,
    setting,
    whole_number,
)
from kontext_core.edit_settings import ALLOWED


def test_home_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert path("~/x") == tmp_path / "x"
    assert path("a/~/b~") == Path("a/~/b~")
    assert model("~/models") == str(tmp_path / "models")
    assert model("tiny") == "tiny"
    assert file_and_strength("~/a.safetensors:0.5") == (tmp_path / "a.safetensors", 0.5)
    assert file_and_strength("~/a:b") == (tmp_path / "a:b", 1.0)


WHOLE, REAL, SOME = whole_number(0, 10), number(0, 100), count(64)


@pytest.mark.parametrize(
    ("kind", "text", "sentence"),
    [
        (path, "a\0b", "is not a path: it holds a NUL"),
        (path, "~nobody-of-this-name/x", "there is no such home folder"),
        (file_and_strength, "a:nan", "strength of a LoRA is nan and must be a number from -1000 to 1000"),
        (file_and_strength, "a:1e999", "strength of a LoRA is 1e999 and must be"),
        (WHOLE, "-1", "^-1 is not a whole number from 0 to 10$"),
        (WHOLE, "11", "is not a whole number"),
        (WHOLE, "1.5", "is not a whole number"),
        (WHOLE, "", "^'' is not a whole number"),
        (WHOLE, "9" * 5000, r"^9{80}\.\.\. is not a whole number"),
        (REAL, "nan", "^nan is not a number from 0 to 100$"),
        (REAL, "inf", "is not a number"),
        (REAL, "-0.1", "is not a number"),
        (REAL, "x", "is not a number"),
        (SOME, "0", "^0 is not a count; give 1 or more, up to 64$"),
        (SOME, "65", "is not a count"),
        (SOME, "-1", "is not a count"),
        (SOME, "9" * 5000, "is not a count"),
        (gib, "0", "^0 is not an amount of memory; give GiB above 0$"),
        (gib, "inf", "is not an amount of memory"),
        (gib, "1e300", "^1e300 is not an amount of memory"),
        (minutes, "nan", "^nan is not a time; give minutes above 0$"),
        (WHOLE, "\udce9", r"^'\\udce9' is not a whole number"),
    ],
)
def test_what_is_refused(kind: Callable[[str], Any], text: str, sentence: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=sentence):
        kind(text)


def test_what_is_taken() -> None:
    assert [WHOLE(text) for text in ("0", "10", " 7 ")] == [0, 10, 7]
    assert [REAL(text) for text in ("0", "100", "2.5")] == [0, 100, 2.5]
    assert [SOME(text) for text in ("1", "64")] == [1, 64]
    assert (gib("0.5"), minutes("3")) == (0.5, 3)


@pytest.mark.parametrize(
    ("name", "low", "high"), [("steps", 1, 1000), ("seed", -(2**63), 2**64 - 1), ("guidance", 0, 100)]
)
def test_settings_of_an_edit_have_their_own_ranges(name: str, low: int, high: int) -> None:
    kind = setting(ALLOWED[name])
    assert [kind(str(end)) for end in (low, high)] == [low, high]
    for outside in (low - 1, high + 1):
        with pytest.raises(argparse.ArgumentTypeError, match=f"{outside} is not a .*number from "):
            kind(str(outside))


def test_the_name_of_the_tiny_model_is_that_of_its_folder() -> None:
    from kontext_core.loading.locate import TINY_FOLDER

    assert TINY_FOLDER.name == config.TINY
