"""`python -m tools.release_note`: what CHANGELOG.md says of the version in pyproject.toml.

Standard library only. `--tag v1.2.3` refuses a tag of another version, so that nothing is released under a
wrong name.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from pathlib import Path

from .console import ToolError, run, say
from .paths import ROOT

_HEADING = re.compile(r"^## +(.+?) *$", re.MULTILINE)


def version(root: Path = ROOT) -> str:
    """The pack's version; pyproject.toml is the one place where it stands."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def section(changelog: str, number: str) -> str:
    """The text below the heading of a version, which may have more behind the number, such as a date.

    Raises: ToolError if there is no such heading, or nothing below it.
    """
    headings = list(_HEADING.finditer(changelog))
    for index, heading in enumerate(headings):
        if heading[1].split()[0].strip("[]") == number:
            end = headings[index + 1].start() if index + 1 < len(headings) else len(changelog)
            text = changelog[heading.end() : end].strip()
            if text:
                return text
            raise ToolError(
                f"CHANGELOG.md has an empty section for version {number}: write below its heading."
            )
    titles = ", ".join(heading[1] for heading in headings) or "none"
    raise ToolError(
        f"CHANGELOG.md has no section for version {number}, which is pyproject.toml's (its sections: "
        f"{titles}): start one with '## {number}'."
    )


def check_tag(tag: str, number: str) -> None:
    """Refuse a tag that is not `v` and the version. Raises: ToolError."""
    if tag != f"v{number}":
        raise ToolError(
            f"The tag {tag} is not that of version {number}, which is pyproject.toml's: "
            f"set the tag v{number}, or change the version there."
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.release_note", description=__doc__)
    parser.add_argument("--tag", help="the tag that is to be released; refused unless it is the version's")
    options = parser.parse_args()
    number = version()
    if options.tag is not None:
        check_tag(options.tag, number)
    say(section((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), number))


if __name__ == "__main__":
    run(main)
