"""Errors of every kind in one sentence."""

import errno
import os
from pathlib import Path

import pytest

from kontext_core.checks.sentences import one_line, sentence


def raised(error: Exception) -> Exception:
    """Return the error after it was raised."""
    with pytest.raises(type(error)) as info:
        raise error
    return info.value


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("a sentence"), "a sentence"),
        (ValueError(), "ValueError"),
        (OSError("the folder x could not be made"), "the folder x could not be made"),
        (OSError(errno.EACCES, "Permission denied", "/root/x"), "/root/x: Permission denied"),
        (OSError(errno.EXDEV, "Invalid", "a", None, "b"), "a -> b: Invalid"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (MemoryError(), "there is too little memory"),
        (MemoryError("no 5 GiB"), "there is too little memory (no 5 GiB)"),
        (KeyError("x"), "KeyError: 'x' (a bug in this program)"),
    ],
)
def test_sentences(error: Exception, text: str) -> None:
    assert sentence(error) == text


def test_what_python_says_itself(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        os.rename(tmp_path / "a", tmp_path / "b")
    assert sentence(error.value) == f"{tmp_path / 'a'} -> {tmp_path / 'b'}: No such file or directory"


def test_a_mistake_of_ours_is_said_with_its_place() -> None:
    text = sentence(raised(TypeError("no")))
    assert text.startswith("TypeError: no (a bug in this program, in test_sentences.py, line ")


def test_one_line() -> None:
    assert one_line("a\n  b\r\n\tc ") == "a b c"
