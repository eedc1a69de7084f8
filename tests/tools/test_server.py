"""Starting and ending a server, with a stand-in for ComfyUI."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tools import server as module
from tools.boot.standins import PACKAGES
from tools.console import ToolError
from tools.server import BOOT, HOST, Server, answers, check_port, free_port

MAIN = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(json.dumps({"system": {}}).encode())
print("arguments", sys.argv[1:])
HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The main.py of a folder that passes for ComfyUI's and answers as it does."""
    folder = tmp_path / "comfyui"
    (folder / "comfy").mkdir(parents=True)
    (folder / "nodes.py").touch()
    (folder / "main.py").write_text(MAIN)
    monkeypatch.setenv("COMFYUI_PATH", str(folder))
    monkeypatch.setattr(module, "BOOT", tmp_path)
    return folder / "main.py"


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").touch()
    return tmp_path / "pack"


@pytest.mark.usefixtures("main")
def test_runs_and_leaves_nothing(pack: Path) -> None:
    with Server(packs={"kontext": pack}) as server:
        assert answers(server.url)
        assert (server.base / "custom_nodes" / "kontext" / "__init__.py").exists()
        assert "'--whitelist-custom-nodes', 'kontext'" in server.log
        assert server.log.startswith("ComfyUI: COMFYUI_PATH, ")
    assert not server.running
    assert not answers(server.url)
    assert not server.base.exists()


@pytest.mark.usefixtures("main")
def test_given_base_stays_and_serves_again(tmp_path: Path, pack: Path) -> None:
    for _ in range(2):
        with Server(base=tmp_path / "base", packs={"kontext": pack}) as server:
            assert server.running
    assert "arguments" in server.log


@pytest.mark.usefixtures("main")
def test_ctrl_c_ends_it(pack: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Server(packs={"kontext": pack}) as server:
        raise KeyboardInterrupt
    assert not answers(server.url)


def test_failure_shows_the_end_of_the_log(main: Path, pack: Path) -> None:
    main.write_text("raise SystemExit('the database is locked')")
    with pytest.raises(
        ToolError, match=r"(?s)^ComfyUI ended with code 1 before it answered\..*database is locked"
    ):
        Server(packs={"kontext": pack}).start()


def test_failure_names_what_is_not_installed(main: Path, pack: Path) -> None:
    main.write_text("import absent_one")
    (main.parent / "requirements.txt").write_text("absent-one==2\n")
    with pytest.raises(
        ToolError, match=r"(?s)answered\. It asks for absent-one==2, .*No module named 'absent_one'"
    ):
        Server(packs={"kontext": pack}).start()


@pytest.mark.usefixtures("main")
def test_further_words_reach_the_command_line(pack: Path) -> None:
    with Server(packs={"kontext": pack}, options=["--preview-method", "none"]) as server:
        assert "'--preview-method', 'none'" in server.log


def test_time_out_is_one_sentence_and_leaves_nothing(main: Path, pack: Path) -> None:
    main.write_text("import time; time.sleep(60)")
    server = Server(packs={"kontext": pack}, timeout=1)
    with pytest.raises(ToolError, match=r"did not answer within 1 seconds"):
        server.start()
    assert not server.running


@pytest.mark.parametrize("port", [0, -1, 65_536, 99_999])
def test_port_that_does_not_exist_is_one_sentence(port: int) -> None:
    with pytest.raises(ToolError, match=rf"^Port {port} does not exist: choose one from 1024 to 65535\.$"):
        check_port(port)


def test_taken_port_is_one_sentence() -> None:
    assert check_port(free_port())
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            ToolError, match=rf"^Port {port} is taken: stop what listens there, or choose another"
        ):
            Server(port=port).start()


def test_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    path = os.pathsep.join([str(BOOT), str(tmp_path)])
    environment = {**os.environ, "PYTHONPATH": path, "KONTEXT_END_WITH_STDIN": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], stdin=subprocess.PIPE, env=environment
    ) as child:
        assert child.stdin
        child.stdin.close()
        assert child.wait(30) == 1
