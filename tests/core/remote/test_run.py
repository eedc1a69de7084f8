"""From a workflow to files in one folder, and never outside it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kontext_core.remote.client import Client, Json, RemoteError, Result
from kontext_core.remote.run import as_prompt, download, execute, output_nodes, write_new

GRAPH = {"1": {"class_type": "Save", "inputs": {}}}
END = ("executing", {"prompt_id": "p", "node": None})


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a.png", "a.png"),
        ("../../etc/a.png", "a.png"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\a.png", "a.png"),
        ("C:\\Windows\\a.png", "a.png"),
        ("a:b|c?.png", "a_b_c_.png"),
        ("..", "picture"),
        ("", "picture"),
        ("x/", "picture"),
        ("a\x00b.png", "a_b.png"),
        ("schön 日.png", "schön 日.png"),
        ("half \ud83c.png", "half _.png"),
        ("日" * 200 + ".png", "日" * 83 + ".png"),
    ],
)
def test_names_stay_inside_the_folder(tmp_path: Path, name: str, written: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    assert write_new(folder, name, b"x") == folder / written
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [written]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"mine")
    assert write_new(tmp_path, "a.png", b"new").name == "a-2.png"
    assert write_new(tmp_path, "b/a.png", b"newer").name == "a-3.png"
    assert (tmp_path / "a.png").read_bytes() == b"mine"


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder, outside = tmp_path / "out", tmp_path / "precious"
    folder.mkdir()
    (folder / "a.png").symlink_to(outside)
    assert write_new(folder, "a.png", b"x").name == "a-2.png"
    assert not outside.exists()


def test_all_pictures_are_fetched(client: Client, stand_in: Any, tmp_path: Path) -> None:
    stand_in.answers["/view"] = (200, b"bytes")
    outputs = {
        "5": {"images": [{"filename": "a.png", "subfolder": "x", "type": "output"}, {"filename": "a.png"}]},
        "6": {"text": ["no picture"]},
        "7": {"images": [{"filename": "b.png", "subfolder": "", "type": "temp"}]},
    }
    result = Result("p", outputs, (), (), interrupted=False)
    files = download(client, result, tmp_path / "new" / "folder")
    assert [file.name for file in files] == ["a.png", "a-2.png", "b.png"]
    assert {file.read_bytes() for file in files} == {b"bytes"}
    assert stand_in.asked[0][0] == "/view?filename=a.png&subfolder=x&type=output"
    assert [file.name for file in download(client, result, tmp_path / "two", {"7"})] == ["b.png"]


def test_a_picture_that_another_node_saves_is_fetched_once() -> None:
    def put_out(kind: str) -> Json:
        return {"images": [{"filename": "a.png", "type": kind}]}

    known = {"Load": {}, "Edit": {"output_node": True}, "Save": {"output_node": True}}
    prompt = {
        "1": {"class_type": "Load", "inputs": {}},
        "2": {"class_type": "Edit", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "Edit", "inputs": {"image": ["2", 0], "steps": 4}},
        "4": {"class_type": "Save", "inputs": {"images": ["3", 0], "filename_prefix": "x"}},
        "5": {"class_type": "Save", "inputs": {"images": ["4", 0], "list": []}},
    }
    outputs = {id: put_out("temp") for id in "1234"}
    shown = Result("p", outputs, (), (), interrupted=False)
    assert output_nodes(prompt, known, shown) == {"2", "3", "4", "5"}
    saved = Result("p", outputs | {"4": put_out("output"), "5": put_out("output")}, (), (), interrupted=False)
    assert output_nodes(prompt, known, saved) == {"2", "4", "5"}


def test_either_form_is_taken(tmp_path: Path) -> None:
    known = {"Save": {"input": {}, "display_name": "Save it"}}
    page = {"nodes": [{"id": 1, "type": "Save"}], "links": []}
    assert as_prompt(GRAPH, known) is GRAPH
    assert as_prompt(page, known) == {
        "1": {"inputs": {}, "class_type": "Save", "_meta": {"title": "Save it"}}
    }
    with pytest.raises(ValueError, match=r"^this ComfyUI does not have Save \(node 1\)"):
        as_prompt(GRAPH, {})


def test_execute_queues_and_waits(speaking: Callable[..., Client], stand_in: Any) -> None:
    stand_in.answers |= {"/prompt": (200, {"prompt_id": "p", "node_errors": {}}), "/history/p": (200, {})}
    result = execute(speaking(END), GRAPH, {"nodes": []})
    assert result.prompt_id == "p"
    sent = json.loads(stand_in.asked[0][1])
    assert sent["prompt"] == GRAPH
    assert sent["extra_data"] == {"extra_pnginfo": {"workflow": {"nodes": []}}}


def test_stopped_over_there(speaking: Callable[..., Client], stand_in: Any) -> None:
    stand_in.answers |= {"/prompt": (200, {"prompt_id": "p"}), "/history/p": (200, {})}
    with pytest.raises(RemoteError, match=r"^The graph was stopped on ComfyUI before it had finished\.$"):
        execute(speaking(("execution_interrupted", {"prompt_id": "p"}), END), GRAPH)


def test_stopped_here_takes_it_off_the_queue(speaking: Callable[..., Client], stand_in: Any) -> None:
    stand_in.answers |= {"/prompt": (200, {"prompt_id": "p"}), "/queue": (200, b""), "/interrupt": (200, b"")}

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(speaking(END), GRAPH, on_event=stop)
    asked = [path for path, _ in stand_in.asked]
    assert asked == ["/prompt", "/api/jobs/p/cancel", "/queue", "/interrupt"]
