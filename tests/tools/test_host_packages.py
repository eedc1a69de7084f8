"""The requirements of another ComfyUI and its front end, on folders made for the purpose."""

import logging
from pathlib import Path
from typing import Any

import pytest

from tools import frontend, host_packages, server
from tools.console import DiskFull, ToolError

REQUIREMENTS = """
comfyui-frontend-package==1.27.10
comfyui-workflow-templates==0.1.94
torch
torchvision
torchaudio>=99
numpy>=1.25.0
NumPy>=99  # a comment
absent-one==0.2.31
# absent-two
--extra-index-url https://example.org
git+https://example.org/absent-three

#non essential dependencies:
spandrel
absent_four~=2.0; python_version >= "3"
absent-five; python_version < "3"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "requirements.txt").write_text(REQUIREMENTS)
    return tmp_path


def test_what_is_missing_but_never_torch(folder: Path) -> None:
    assert host_packages.missing(folder) == [
        "NumPy>=99", "absent-one==0.2.31", 'absent_four~=2.0; python_version >= "3"',
    ]  # fmt: skip
    message = host_packages.advice(folder)
    assert message.startswith("It asks for NumPy>=99, absent-one==0.2.31, absent_four~=2.0")
    assert message.endswith(f"'COMFYUI_PATH={folder} python3 -m tools.setup_env' does that.")


def test_who_asks_for_nothing(tmp_path: Path) -> None:
    assert host_packages.missing(tmp_path) == []
    assert host_packages.advice(tmp_path) == ""
    assert host_packages.front_end_version(tmp_path) is None


def test_what_is_missing_is_installed_and_torch_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    lines = [["absent-one==0.2.31"], []]
    monkeypatch.setattr(host_packages, "missing_in", lambda *_: lines.pop(0))
    monkeypatch.setattr(host_packages, "pip", lambda _, arguments, **__: calls.append(arguments))
    options: Any = {"limits": ["-c", "torch.txt"], "log": folder / "log"}
    assert host_packages.install(Path("python"), folder, **options) == "installed absent-one==0.2.31"
    assert host_packages.install(Path("python"), folder, **options) == "there already"
    assert calls == [["install", "absent-one==0.2.31", "-c", "torch.txt"]]


def test_what_cannot_be_had_is_said_in_a_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise errors.pop(0)

    errors: list[ToolError] = [ToolError("No network."), DiskFull()]
    monkeypatch.setattr(host_packages, "missing_in", lambda *_: ["absent-one"])
    monkeypatch.setattr(host_packages, "pip", fail)
    message = host_packages.install(Path("python"), folder, limits=[], log=folder / "log")
    assert message == "it asks for absent-one, and that is not installed. No network."
    with pytest.raises(DiskFull):
        host_packages.install(Path("python"), folder, limits=[], log=folder / "log")


def test_a_page_of_its_own_release(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert host_packages.front_end_version(folder) == "1.27.10"
    monkeypatch.setattr(frontend, "get", lambda version: folder / version)
    monkeypatch.setattr(frontend, "installed_version", lambda: "1.32.9")
    assert server.released_front_end(folder) == folder / "1.27.10"
    monkeypatch.setattr(frontend, "installed_version", lambda: "1.27.10")
    assert server.released_front_end(folder) is None

    def fail(_: str) -> Path:
        raise ToolError("No network.")

    monkeypatch.setattr(frontend, "installed_version", lambda: None)
    monkeypatch.setattr(frontend, "get", fail)
    with caplog.at_level(logging.WARNING):
        assert server.released_front_end(folder) is None
    assert "Front end 1.27.10 is not used, but the installed one: No network." in caplog.text
