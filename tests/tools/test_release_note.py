"""The release note is the changelog's section of its version, under that version's tag."""

import re
import subprocess
import sys

import pytest

from tools.console import ToolError
from tools.paths import ROOT
from tools.release_note import check_tag, section, version

CHANGELOG = """# Changelog

## 1.2.0 (2030-01-02)

### Added

- A thing; `## 1.1.0` is no heading.

## [1.1.0]

- Another thing.
## 1.0.0

## 0.9.0
- The first thing."""


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("1.2.0", "### Added\n\n- A thing; `## 1.1.0` is no heading."),
        ("1.1.0", "- Another thing."),
        ("0.9.0", "- The first thing."),
    ],
)
def test_the_section_of_a_version(number: str, text: str) -> None:
    assert section(CHANGELOG, number) == text


@pytest.mark.parametrize(
    ("changelog", "number", "sentence"),
    [
        (
            CHANGELOG,
            "1.2",
            r"no section for version 1\.2, .*: 1\.2\.0 \(2030-01-02\), \[1\.1\.0\], 1\.0\.0, 0\.9\.0\)",
        ),
        (CHANGELOG, "1.0.0", r"has an empty section for version 1\.0\.0"),
        ("", "1.0.0", r"its sections: none\): start one with '## 1\.0\.0'"),
    ],
)
def test_no_such_section(changelog: str, number: str, sentence: str) -> None:
    with pytest.raises(ToolError, match=sentence):
        section(changelog, number)


@pytest.mark.parametrize("tag", ["v1.2", "1.2.0", "v1.2.0-rc1", "v1.2.01", "V1.2.0", ""])
def test_a_tag_of_another_version(tag: str) -> None:
    check_tag("v1.2.0", "1.2.0")
    with pytest.raises(ToolError, match=r"is not that of version 1\.2\.0"):
        check_tag(tag, "1.2.0")


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """The tool as a process."""
    line = [sys.executable, "-m", "tools.release_note", *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)


def test_the_note_of_this_version() -> None:
    ended = command("--tag", f"v{version()}")
    assert (ended.returncode, ended.stderr) == (0, "")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert ended.stdout.strip() in changelog
    assert "\n## " not in f"\n{ended.stdout}"
    assert command().stdout == ended.stdout


def test_a_wrong_tag_ends_in_one_sentence() -> None:
    ended = command("--tag", "v0.0.0")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("The tag v0.0.0 is not that of version ")
    assert ended.stderr.count("\n") == 1


def test_the_version_stands_once() -> None:
    """In pyproject.toml; whoever needs it reads it there."""
    setting = re.compile(rf"version\w*['\"]?\s*[:=]\s*['\"]{re.escape(version())}['\"]", re.IGNORECASE)
    folders = [ROOT / name for name in ("kontext_core", "nodes", "tools", "web/js")]
    files = [ROOT / "pyproject.toml", ROOT / "__init__.py", ROOT / "Makefile"]
    files += [file for folder in folders for end in ("*.py", "*.js") for file in folder.rglob(end)]
    assert len(files) > 100
    texts = {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in files}
    assert [file for file, text in texts.items() for _ in setting.findall(text)] == ["pyproject.toml"]
