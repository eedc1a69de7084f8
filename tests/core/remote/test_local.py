"""Starting and stopping a ComfyUI, with a stand-in for it."""

import sys
from pathlib import Path

import pytest

from kontext_core.remote import local
from kontext_core.remote.client import Client, RemoteError
from kontext_core.remote.local import own_python, started

MAIN = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(json.dumps({"system": sys.argv}).encode())
HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nodes.py").touch()
    (tmp_path / "main.py").write_text(MAIN)
    return tmp_path


def test_runs_and_ends(folder: Path) -> None:
    with started(folder) as url:
        arguments = Client(url)._json("/system_stats")["system"]
        assert arguments[0] == "main.py"
        assert "--disable-auto-launch" in arguments
    assert not Client(url).answers()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_ends_whatever_happens(folder: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), started(folder) as url:
        raise error
    assert not Client(url).answers()


def test_no_comfyui_there(tmp_path: Path) -> None:
    with (
        pytest.raises(
            RemoteError,
            match=r"^There is no ComfyUI in .*: give the folder that holds its main\.py\.$",
        ),
        started(tmp_path),
    ):
        pass


def test_it_fails(folder: Path) -> None:
    (folder / "main.py").write_text("raise SystemExit('no room')")
    with (
        pytest.raises(
            RemoteError, match=r"ended with code 1 before it answered\. The end of its log:\nno room$"
        ),
        started(folder),
    ):
        pass
    (folder / "main.py").write_text("raise SystemExit(3)")
    with pytest.raises(RemoteError, match=r"ended with code 3 .* It printed nothing\.$"), started(folder):
        pass


def test_it_never_answers(folder: Path) -> None:
    (folder / "main.py").write_text("import time; time.sleep(60)")
    with (
        pytest.raises(RemoteError, match=r"did not answer within 1 seconds\. It printed nothing\.$"),
        started(folder, timeout=1),
    ):
        pass


def test_interpreter_is_none(folder: Path) -> None:
    with (
        pytest.raises(
            RemoteError, match=r"no-python cannot start the ComfyUI in .*: No such file or directory\.$"
        ),
        started(folder, folder / "no-python"),
    ):
        pass


def test_its_own_environment_is_preferred(folder: Path) -> None:
    assert own_python(folder) == Path(sys.executable)
    for name in ("venv/bin/python", ".venv/bin/python"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()
        assert own_python(folder) == folder / name


@pytest.mark.parametrize(
    ("version", "nvidia", "wanted"),
    [
        ("2.9.0+cpu", "/usr/bin/nvidia-smi", True),
        ("2.9.0+cu128", "/usr/bin/nvidia-smi", False),
        ("2.9.0+cu128", None, True),
        ("2.9.0", None, True),
        ("2.9.0+rocm6.4", None, False),
        ("2.9.0+xpu", None, False),
    ],
)
def test_without_a_gpu_it_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, nvidia: str | None, wanted: bool
) -> None:
    class Answer:
        stdout = f"{version}\n"

    monkeypatch.setattr(local.subprocess, "run", lambda *_, **__: Answer)
    monkeypatch.setattr(local.shutil, "which", lambda _: nvidia)
    monkeypatch.setattr(local.sys, "platform", "linux")
    assert local._needs_cpu_flag(tmp_path) is wanted
    monkeypatch.setattr(local.sys, "platform", "darwin")
    assert local._needs_cpu_flag(tmp_path) is False
