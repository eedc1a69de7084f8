"""Installing the pack into an existing ComfyUI."""

import os
import shutil
from pathlib import Path

import pytest

from tools.console import DiskFull, ToolError
from tools.install import install
from tools.place import COPY_MARK


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    folder = tmp_path / "ComfyUI"
    (folder / "comfy").mkdir(parents=True)
    for name in ("main.py", "nodes.py"):
        (folder / name).touch()
    return folder


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    folder = tmp_path / "pack"
    (folder / ".git").mkdir(parents=True)
    (folder / "__init__.py").write_text("first")
    return folder


def refuse_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError("links need a privilege here")

    monkeypatch.setattr(Path, "symlink_to", refuse)


def test_links_once(comfyui: Path, pack: Path) -> None:
    place = comfyui / "custom_nodes" / "kontext"
    assert install(comfyui, pack) == f"{place} was linked."
    assert (place / "__init__.py").read_text() == "first"
    assert install(comfyui, pack) == f"{place} is already this pack."


def test_copies_where_links_are_refused_and_renews_its_copy(
    comfyui: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_links(monkeypatch)
    place = comfyui / "custom_nodes" / "kontext"
    assert install(comfyui, pack) == f"{place} was copied."
    assert not (place / ".git").exists()
    (pack / "__init__.py").write_text("second")
    assert install(comfyui, pack) == f"{place} was copied again."
    assert (place / "__init__.py").read_text() == "second"


def test_a_foreign_folder_stays(comfyui: Path, pack: Path) -> None:
    place = comfyui / "custom_nodes" / "kontext"
    place.mkdir(parents=True)
    (place / "theirs.py").touch()
    with pytest.raises(ToolError, match=r"already exists and is not this checkout: move it away"):
        install(comfyui, pack)
    assert (place / "theirs.py").exists()


def test_wrong_path_is_one_sentence(comfyui: Path, pack: Path) -> None:
    with pytest.raises(
        ToolError, match=r"^There is no ComfyUI in .*: give the folder that holds main\.py\.$"
    ):
        install(comfyui / "models", pack)
    with pytest.raises(ToolError, match=r": did you mean .*ComfyUI\?$"):
        install(comfyui.parent, pack)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            PermissionError(13, "Permission denied", "x"),
            r"\(Permission denied\): run this as the owner of that ComfyUI",
        ),
        (OSError(30, "Read-only file system", "x"), r"\(Read-only file system\): run this as the owner"),
        (
            shutil.Error([("a", "b", "[Errno 13] no")]),
            r"\(b could not be written: \[Errno 13\] no\): run this",
        ),
    ],
)
def test_somebody_elses_comfyui_is_one_sentence(
    comfyui: Path, pack: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, sentence: str
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(shutil, "copytree", refuse)
    refuse_links(monkeypatch)
    with pytest.raises(
        ToolError, match=rf"^The pack could not be put into .*custom_nodes {sentence}"
    ) as info:
        install(comfyui, pack)
    assert "\n" not in str(info.value)
    assert list((comfyui / "custom_nodes").iterdir()) == []


def test_a_file_in_the_way_is_nobodys_rights(tmp_path: Path, comfyui: Path, pack: Path) -> None:
    shutil.rmtree(comfyui / "custom_nodes", ignore_errors=True)
    (comfyui / "custom_nodes").touch()
    with pytest.raises(ToolError, match=r"custom_nodes \(File exists\): check that it is a folder"):
        install(comfyui, pack)


def test_a_full_disk_is_said_as_such(comfyui: Path, pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr(shutil, "copytree", refuse)
    refuse_links(monkeypatch)
    with pytest.raises(DiskFull):
        install(comfyui, pack)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="no other users to be")
@pytest.mark.parametrize("closed", ["custom_nodes", "."])
def test_as_another_user(comfyui: Path, pack: Path, closed: str) -> None:
    (comfyui / "custom_nodes").mkdir()
    folder, user = comfyui / closed, os.geteuid()
    for parent in (comfyui, *list(comfyui.parents)[:-2]):
        parent.chmod(0o755)
    folder.chmod(0o000 if closed == "." else 0o555)
    if user == 0:
        os.seteuid(65534)  # root may write anywhere
    try:
        with pytest.raises(ToolError, match=r"could not be put into .*custom_nodes \(Permission denied\)"):
            install(comfyui, pack)
    finally:
        os.seteuid(user)
        folder.chmod(0o755)


def test_a_run_that_was_killed_is_taken_up(
    comfyui: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any moment of copying: what ComfyUI sees is a whole pack or none, and the next run goes on."""
    refuse_links(monkeypatch)
    place, copytree, rename = comfyui / "custom_nodes" / "kontext", shutil.copytree, Path.rename

    class Killed(BaseException):
        pass

    def half(source: Path, target: Path, **options: object) -> None:
        target.mkdir()
        (target / "half").touch()
        raise Killed

    def seen() -> list[str]:
        return [path.name for path in place.parent.iterdir() if not path.name.endswith(".disabled")]

    monkeypatch.setattr(shutil, "copytree", half)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # nothing is cleaned up after a kill
    with pytest.raises(Killed):
        install(comfyui, pack)
    assert seen() == []
    monkeypatch.undo()
    refuse_links(monkeypatch)
    assert install(comfyui, pack) == f"{place} was copied."
    assert sorted(path.name for path in place.iterdir()) == [COPY_MARK, "__init__.py"]

    (pack / "__init__.py").write_text("second")
    monkeypatch.setattr(shutil, "copytree", half)
    with pytest.raises(Killed):
        install(comfyui, pack)
    assert seen() == ["kontext"], "the earlier one is back"
    monkeypatch.setattr(
        Path, "rename", lambda path, to: (rename(path, to), (_ for _ in ()).throw(Killed()))[0]
    )
    with pytest.raises(Killed):
        install(comfyui, pack)
    assert seen() == [], "it was killed between the two"
    monkeypatch.undo()
    refuse_links(monkeypatch)
    monkeypatch.setattr(shutil, "copytree", copytree)
    assert install(comfyui, pack) == f"{place} was copied again."
    assert (place / "__init__.py").read_text() == "second"
    assert [path.name for path in place.parent.iterdir()] == ["kontext"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_ring_of_links_is_not_this_pack(comfyui: Path, pack: Path) -> None:
    place = comfyui / "custom_nodes" / "kontext"
    place.parent.mkdir()
    place.symlink_to(place)
    with pytest.raises(ToolError, match="already exists and is not this checkout"):
        install(comfyui, pack)
