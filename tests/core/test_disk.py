"""A full or read-only disk: one sentence, nothing half-written, the old file as it was."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kontext_core.disk import append, create, make_folder, whole
from tests.core.small_disk import WRITERS
from tools.paths import ROOT

UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each writer said, and which of its files changed, on disks of a few MiB that only one process sees."""
    try:
        subprocess.run([*UNSHARE, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system lets nobody mount a disk for one process (unshare)")
    disk = tmp_path_factory.mktemp("disk")
    command = [*UNSHARE, sys.executable, "-m", "tests.core.small_disk", str(disk)]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert not list(disk.iterdir()), "the disk was that process's own"
    return json.loads(made.stdout)


@pytest.mark.parametrize("writer", [writer.__name__ for writer in WRITERS])
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("full", r"could not be written, and is what it was before: .*No space left on device"),
        (
            "read_only",
            r"could not be written, and is what it was before: .*Read-only file system|"
            r"the folder .* cannot be written to: it, or its disk, is read-only here",
        ),
    ],
)
def test_everything_that_writes(
    found: dict[str, dict[str, Any]], writer: str, fault: str, sentence: str
) -> None:
    one = found[fault][writer]
    assert re.search(sentence, one["said"])
    assert "\n" not in one["said"]
    assert writer in one["said"], "it names the file or its folder"
    assert one["changed"] == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), ValueError("no"), OSError("no")])
def test_what_is_stopped_leaves_nothing(tmp_path: Path, stop: BaseException) -> None:
    def stopped() -> None:
        with whole(old, new) as (partial, partial_folder):
            partial.write_bytes(b"half")
            (partial_folder / "deeper").mkdir(parents=True)
            raise stop

    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"old")
    with pytest.raises(type(stop)):
        stopped()
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_bytes() == b"old"


def test_what_is_whole_takes_its_place(tmp_path: Path) -> None:
    for text in (b"one", b"two"):
        with whole(tmp_path / "a", tmp_path / "b") as partials:
            for partial in partials:
                partial.write_bytes(text)
        assert [(tmp_path / name).read_bytes() for name in ("a", "b")] == [text, text]
    with whole(tmp_path / "folder") as (partial,):
        partial.mkdir()
        (partial / "c").write_bytes(b"in it")
    assert (tmp_path / "folder" / "c").read_bytes() == b"in it"
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "folder"]


def test_lines_follow_one_another(tmp_path: Path) -> None:
    for line in (b"a\n", b"b\n"):
        append(tmp_path / "lines", line)
    assert (tmp_path / "lines").read_bytes() == b"a\nb\n"


def test_nothing_is_overwritten_nor_written_through_a_link(tmp_path: Path) -> None:
    create(tmp_path / "a", b"old")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("a", "link"):
        with pytest.raises(FileExistsError):
            create(tmp_path / name, b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"the folder .*file could not be made: File exists"):
        make_folder(tmp_path / "file")
