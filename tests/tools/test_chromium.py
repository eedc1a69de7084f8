"""Finding a browser, and the message if there is none."""

import sys
from pathlib import Path

import pytest

from tools import chromium
from tools.console import ToolError


def test_named_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KONTEXT_CHROMIUM", sys.executable)
    assert chromium.ensure() == Path(sys.executable)


def test_wrong_name_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KONTEXT_CHROMIUM", str(tmp_path / "none"))
    with pytest.raises(ToolError, match=r"^KONTEXT_CHROMIUM is .*none, which is not a program\.$"):
        chromium.find()


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "E: Unable to locate package chromium",
            r"^apt-get could not get Chromium: .*chromium\. Install one \(",
        ),
        ("E: Write error (28: No space left on device)", r"^The disk is full"),
    ],
)
def test_apt_that_fails_is_one_sentence(said: str, sentence: str) -> None:
    with pytest.raises(ToolError, match=sentence):
        chromium._apt([sys.executable, "-c", f"print({said!r}); raise SystemExit(100)"])


def test_none_and_not_allowed_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KONTEXT_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(chromium, "MAC", tmp_path / "none")
    with pytest.raises(
        ToolError, match=r"^No Chromium was found, and this user cannot install one\. Install one \("
    ):
        chromium.ensure()
