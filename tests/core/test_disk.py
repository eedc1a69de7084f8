"""A full or read-only disk: one sentence, nothing half-written, the old file unchanged."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kontext_core import disk
from kontext_core.disk import (
    append,
    check_folder,
    create,
    free_number,
    make_folder,
    numbered,
    partial_path,
    whole,
    write_new,
)
from tests.core.small_disk import WRITERS
from tools.paths import ROOT

UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each writer said, and which of its files changed, on disks of a few MiB that
    only one process sees.
    """
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
        ("full", r"could not be written and is unchanged: .*No space left on device"),
        (
            "read_only",
            r"could not be written and is unchanged: .*Read-only file system|"
            r"the folder .* cannot be written to: it, or its disk, is read-only",
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
    with pytest.raises(OSError, match=r"the folder .*file could not be created: File exists"):
        make_folder(tmp_path / "file")


@pytest.mark.parametrize("name", ["n" * 255, "日" * 85, "a"])
def test_names_as_long_as_the_disk_takes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with whole(path) as (partial,):
        partial.write_bytes(b"whole")
        assert partial.parent == tmp_path
    assert path.read_bytes() == b"whole"
    path.unlink()
    create(path, b"new")
    append(path, b"er")
    assert path.read_bytes() == b"newer"
    assert list(tmp_path.iterdir()) == [path]


def test_names_that_are_too_long_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 256)

    def write_whole() -> None:
        with whole(path) as (partial,):
            partial.write_bytes(b"")

    for write in (write_whole, lambda: create(path, b""), lambda: append(path, b"")):
        with pytest.raises(
            OSError, match=r"n{256} could not be written and is unchanged: File name too long$"
        ):
            write()
    assert list(tmp_path.iterdir()) == []


def test_partial_files_are_of_one_writer_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "picture.png"
    names = {partial_path(path).name, partial_path(tmp_path / "another.png").name}
    monkeypatch.setattr(os, "getpid", lambda: 1)
    names.add(partial_path(path).name)
    monkeypatch.setattr(disk.threading, "get_ident", lambda: 1)
    names.add(partial_path(path).name)
    assert len(names) == 4
    assert all(name.startswith(".") and name.endswith(".part") and len(name) < 64 for name in names)


def test_several_files_take_their_places_together_or_not_at_all(tmp_path: Path) -> None:
    old, new, folder = tmp_path / "old", tmp_path / "new", tmp_path / "folder"
    old.write_bytes(b"old")
    (folder / "inner").mkdir(parents=True)

    def write() -> None:
        with whole(old, new, folder) as partials:
            for partial in partials:
                partial.write_bytes(b"other")

    with pytest.raises(OSError, match="old could not be written and is unchanged: Is a directory"):
        write()
    assert old.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["folder", "old"]


def test_a_new_file_appears_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    write = disk._write

    def half(file: Any, data: bytes) -> None:
        write(file, data[:1])
        seen.append([path.name for path in tmp_path.iterdir() if not path.name.endswith(".part")])
        if data == b"stop":
            raise KeyboardInterrupt
        write(file, data[1:])

    monkeypatch.setattr(disk, "_write", half)
    create(tmp_path / "a", b"whole")
    with pytest.raises(KeyboardInterrupt):
        create(tmp_path / "b", b"stop")
    assert seen == [[], ["a"]]
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"whole")]


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a stick: nothing is overwritten there either, nor left half."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert write_new(tmp_path, "a", ".png", b"1").name == "a.png"
    assert write_new(tmp_path, "a", ".png", b"2").name == "a-2.png"
    with whole(tmp_path / "a.png", tmp_path / "b") as partials:
        for partial in partials:
            partial.write_bytes(b"3")
    assert [(tmp_path / name).read_bytes() for name in ("a.png", "a-2.png", "b")] == [b"3", b"2", b"3"]
    replace = os.replace
    monkeypatch.setattr(
        os, "replace", lambda *given: refuse() if given[1] == tmp_path / "c" else replace(*given)
    )
    with pytest.raises(OSError, match="c could not be written"):
        create(tmp_path / "c", b"4")
    assert sorted(os.listdir(tmp_path)) == ["a-2.png", "a.png", "b"]


def test_somebody_who_was_faster_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, link = tmp_path / "a.png", os.link

    def late(partial: Path, target: Path) -> None:
        if target == path:
            path.write_bytes(b"theirs")
        link(partial, target)

    monkeypatch.setattr(os, "link", late)
    assert write_new(tmp_path, "a", ".png", b"mine") == tmp_path / "a-2.png"
    assert (path.read_bytes(), (tmp_path / "a-2.png").read_bytes()) == (b"theirs", b"mine")


def test_numbers_stand_before_the_suffix(tmp_path: Path) -> None:
    names = [
        numbered(tmp_path, "a.b", ending, number).name
        for ending in (".png", "_turn1.png", "")
        for number in (1, 2)
    ]
    assert names == ["a.b.png", "a.b-2.png", "a.b_turn1.png", "a.b_turn1-2.png", "a.b", "a.b-2"]
    for number in (1, 2, 1000):
        name = numbered(tmp_path, "日" * 300, "_turn12.png", number).name
        assert len(os.fsencode(name)) in (253, 254, 255)
        assert name.endswith("_turn12.png" if number == 1 else f"_turn12-{number}.png")


def test_files_that_belong_together_have_one_number(tmp_path: Path) -> None:
    endings = ["_turn1.png", "_turn2.png"]
    assert free_number(tmp_path, "a", endings) == 1
    (tmp_path / "a_turn2.png").touch()
    (tmp_path / "a_turn1-2.png").symlink_to("nowhere")
    assert free_number(tmp_path, "a", endings) == 3
    assert free_number(tmp_path, "a", endings[:1]) == 1
    assert write_new(tmp_path, "a", "_turn1.png", b"", 3).name == "a_turn1-3.png"


def test_cleaning_up_hides_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    def write() -> None:
        with whole(tmp_path / "a"):
            monkeypatch.setattr(Path, "is_dir", refuse)
            raise ValueError("what went wrong")

    with pytest.raises(ValueError, match="what went wrong"):
        write()


def test_whether_a_folder_could_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.touch()
    link.symlink_to(tmp_path / "nowhere")
    for folder in (file, file / "a" / "b", link):
        with pytest.raises(
            OSError, match=rf"^the folder {folder} could not be created: \S+ is not a folder$"
        ):
            check_folder(folder)
        with pytest.raises(OSError, match="could not be created"):
            make_folder(folder)
    for folder in (tmp_path, tmp_path / "new" / "deeper"):
        check_folder(folder)
    assert not (tmp_path / "new").exists()
    monkeypatch.chdir(tmp_path)
    check_folder(Path("output"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OSError, match=r"^the folder \. cannot be written to: "):
        check_folder(Path("output"))
