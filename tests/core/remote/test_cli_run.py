"""`kontext run`, from the command line to the files."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kontext_core.cli import main
from kontext_core.remote.client import Client
from tools.server import free_port

END = ("executing", {"prompt_id": "p", "node": None})
GRAPH = {
    "1": {"class_type": "Edit", "inputs": {}, "_meta": {"title": "Turn 1"}},
    "2": {"class_type": "Save", "inputs": {"images": ["1", 0]}},
}
PAGE = {
    "nodes": [{"id": 1, "type": "Edit"}, {"id": 2, "type": "Save", "inputs": []}],
    "links": [],
}


@pytest.fixture
def served(stand_in: Any, client: Client, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for ComfyUI that knows the nodes Edit and Save and ends every graph at once."""
    outputs = {
        "1": {"images": [{"filename": "preview.png", "subfolder": "", "type": "temp"}]},
        "2": {"images": [{"filename": "../turn.png", "subfolder": "", "type": "output"}]},
    }
    stand_in.answers |= {
        "/object_info": (
            200,
            {"Edit": {"input": {}, "display_name": "Edit"}, "Save": {"input": {}, "output_node": True}},
        ),
        "/prompt": (200, {"prompt_id": "p"}),
        "/history/p": (200, {"p": {"outputs": outputs}}),
        "/view": (200, b"bytes"),
    }
    socket = client._socket
    socket.messages += [
        json.dumps({"type": kind, "data": data})
        for kind, data in (
            ("executing", {"prompt_id": "p", "node": "1"}),
            ("progress", {"prompt_id": "p", "node": "1", "value": 3, "max": 4}),
            END,
        )
    ]
    monkeypatch.setattr(Client, "_connection", lambda self: socket)
    return stand_in


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`run(graph, *options)`: exit code, standard output and errors."""

    def call(graph: Any, *options: str) -> tuple[int, str, str]:
        file = tmp_path / "w.json"
        if graph is not None:
            file.write_text(json.dumps(graph))
        code = main(["run", str(file), "--output", str(tmp_path / "out"), *options])
        return code, *capsys.readouterr()

    return call


@pytest.mark.parametrize("graph", [GRAPH, PAGE])
def test_pictures_arrive(
    graph: Any, run: Callable[..., tuple[int, str, str]], served: Any, tmp_path: Path
) -> None:
    code, output, progress = run(graph, "--server", served.url)
    assert code == 0
    assert output == f"{tmp_path / 'out' / 'turn.png'}\n"
    assert progress == ("Turn 1" if graph is GRAPH else "Edit") + "  step 3/4  0.0 s\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["turn.png"]
    sent = json.loads(next(body for path, body in served.asked if path == "/prompt"))
    assert ("extra_data" in sent) == (graph is PAGE)


def test_a_turn_that_shows_what_is_saved_is_fetched_once(
    run: Callable[..., tuple[int, str, str]], served: Any, tmp_path: Path
) -> None:
    """As Kontext Edit does, which shows its result and needs no node behind it."""
    edit = served.answers["/object_info"][1]["Edit"]
    edit["output_node"] = True
    assert run(GRAPH, "--server", served.url)[0] == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["turn.png"]


def test_a_turn_with_nothing_behind_it_is_fetched(
    run: Callable[..., tuple[int, str, str]], served: Any, tmp_path: Path
) -> None:
    served.answers["/object_info"][1]["Edit"]["output_node"] = True
    assert run({"1": GRAPH["1"]}, "--server", served.url)[0] == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["preview.png"]


def test_a_folder_that_cannot_be_is_said_before_anything_runs(
    run: Callable[..., tuple[int, str, str]], served: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    code, _, errors = run(GRAPH, "--server", served.url, "--output", str(tmp_path / "file"))
    assert code == 1
    assert (
        errors
        == f"kontext: the folder {tmp_path / 'file'} could not be created: {tmp_path / 'file'} is not a folder\n"
    )
    assert not served.asked


def test_no_picture_is_said(run: Callable[..., tuple[int, str, str]], served: Any) -> None:
    served.answers["/history/p"] = (200, {})
    code, output, errors = run(GRAPH, "--server", served.url)
    assert (code, output) == (0, "")
    assert errors.endswith(
        "the workflow produced no picture; does it have a Save Image or Preview Image node?\n"
    )


def test_faults_are_one_sentence(
    run: Callable[..., tuple[int, str, str]], served: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(graph: Any, *options: str) -> str:
        code, output, errors = run(graph, *options)
        assert (code, output) == (1, "")
        assert errors.count("\n") == 1
        assert not (tmp_path / "out").exists()
        return errors

    nobody = f"http://127.0.0.1:{free_port()}"
    assert fails(None) == f"kontext: there is no workflow {tmp_path / 'w.json'}\n"
    assert fails([1]).endswith(
        "w.json is not a workflow of ComfyUI; save one from the page with Workflow > Save\n"
    )
    assert fails(GRAPH, "--server", nobody) == (
        f"kontext: No ComfyUI answers at {nobody}: Connection refused. Start one, give the address of a "
        "running one (--server), or name one to start for this (--comfyui).\n"
    )
    assert fails(GRAPH, "--server", "nowhere at all").startswith(
        "kontext: 'nowhere at all' is not the address"
    )
    missing = {"7": {"class_type": "Nought", "inputs": {}}}
    assert fails(missing, "--server", served.url) == (
        "kontext: this ComfyUI does not have Nought (node 7): install the pack that provides it\n"
    )
    served.answers["/prompt"] = (400, {"error": {"message": "Prompt has no outputs", "details": ""}})
    assert (
        fails(GRAPH, "--server", served.url) == "kontext: ComfyUI refused the graph: Prompt has no outputs\n"
    )
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "websocket", None)
    assert fails(GRAPH, "--server", served.url).endswith(
        "needs the package websocket-client: pip install websocket-client\n"
    )


def test_no_comfyui_to_start(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, _, errors = run(GRAPH, "--comfyui", str(tmp_path))
    assert code == 1
    assert errors.endswith(
        f"kontext: There is no ComfyUI in {tmp_path}: give the folder that holds its main.py.\n"
    )


def test_server_and_comfyui_exclude_each_other(run: Callable[..., tuple[int, str, str]]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(GRAPH, "--comfyui", "a", "--server", "b")
    assert ended.value.code == 2
