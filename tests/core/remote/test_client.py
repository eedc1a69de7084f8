"""How the client handles ComfyUI's messages, and everything that is not as expected."""

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kontext_core.remote.client import (
    Client,
    Event,
    ExecutionFailed,
    PromptRefused,
    RemoteError,
)
from kontext_core.remote.messages import read_event, refusal
from tools.server import free_port


def test_event_with_preview() -> None:
    metadata = json.dumps({"node_id": "3", "prompt_id": "p"}).encode()
    message = struct.pack(">II", 4, len(metadata)) + metadata + b"jpeg"
    assert read_event(message) == Event("preview", {"node_id": "3", "prompt_id": "p"}, b"jpeg")
    assert read_event(struct.pack(">II", 1, 1) + b"jpeg") is None


def test_event_as_text() -> None:
    assert read_event('{"type": "progress", "data": {"value": 1}}') == Event("progress", {"value": 1})
    assert read_event('{"type": "status"}') == Event("status", {})


def test_refusal_names_nodes_and_inputs() -> None:
    errors = [{"message": "Value 0 smaller than min of 1", "details": "steps"}]
    answer = {
        "error": {"message": "Prompt outputs failed validation", "details": ""},
        "node_errors": {"4": {"class_type": "KontextSampler", "errors": errors}},
    }
    assert refusal(answer) == (
        "ComfyUI refused the graph: Prompt outputs failed validation\n"
        "node 4 (KontextSampler): Value 0 smaller than min of 1: steps"
    )


def test_refused_graph_raises_it(client: Client, stand_in: Any) -> None:
    stand_in.answers["/prompt"] = (400, {"error": {"message": "no outputs"}, "node_errors": {}})
    with pytest.raises(PromptRefused, match=r"^ComfyUI refused the graph: no outputs$"):
        client.queue({"1": {"class_type": "A", "inputs": {}}})


def test_failure_names_the_node() -> None:
    details = {
        "node_id": "1",
        "node_type": "KontextEdit",
        "exception_type": "ValueError",
        "exception_message": "no\n",
    }
    assert str(ExecutionFailed(details)) == "Node 1 (KontextEdit) failed: ValueError: no"


def test_nobody_there_is_one_sentence() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(RemoteError, match=rf"^No ComfyUI answers at {url}: .*[Rr]efused.*\.$"):
        Client(url).history("x")
    with pytest.raises(RemoteError, match=rf"^No ComfyUI answers at {url}: .*[Rr]efused.*\.$"):
        Client(url).queue({})
    assert not Client(url).answers()


@pytest.mark.parametrize("typed", ["127.0.0.1:8188", "http://127.0.0.1:8188/", "http://127.0.0.1:8188"])
def test_address_as_people_type_it(typed: str) -> None:
    assert Client(typed).url == "http://127.0.0.1:8188"


@pytest.mark.parametrize("typed", ["", "ftp://a", "http://", "http://a:port", "http://a b", "http://a:99999"])
def test_no_address(typed: str) -> None:
    with pytest.raises(
        RemoteError, match=r"is not the address of a ComfyUI; it looks like http://127\.0\.0\.1:8188\.$"
    ):
        Client(typed)


def test_something_else_answers(client: Client, stand_in: Any) -> None:
    with pytest.raises(RemoteError, match=rf"^{stand_in.url} answered /object_info with 404 Not Found\.$"):
        client.object_info()
    stand_in.answers["/object_info"] = (200, b"<html>")
    with pytest.raises(RemoteError, match=r"is not ComfyUI: /object_info is not JSON\.$"):
        client.object_info()
    stand_in.answers["/object_info"] = (200, ["a"])
    with pytest.raises(RemoteError, match=r"is not ComfyUI: /object_info is not as expected\.$"):
        client.object_info()
    with pytest.raises(RemoteError, match=r"^No ComfyUI answers at .*404"):
        Client(stand_in.url).queue({})


def test_without_websocket_client(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websocket", None)
    client = Client(stand_in.url)
    stand_in.answers["/object_info"] = (200, {"A": {}})
    assert client.object_info() == {"A": {}}
    with pytest.raises(
        RemoteError, match=r"needs the package websocket-client: pip install websocket-client$"
    ):
        client.queue({})


def test_follows_its_own_graph_to_the_end(speaking: Callable[..., Client], stand_in: Any) -> None:
    stand_in.answers["/history/p"] = (200, {"p": {"outputs": {"2": {"images": [{"filename": "a.png"}]}}}})
    client = speaking(
        ("status", {}),
        ("execution_cached", {"prompt_id": "p", "nodes": ["1"]}),
        ("executing", {"prompt_id": "p", "node": "2"}),
        ("executing", {"prompt_id": "other", "node": None}),
        ("progress", {"prompt_id": "p", "node": "2", "value": 1, "max": 1}),
        ("executing", {"prompt_id": "p", "node": None}),
    )
    seen: list[str] = []
    result = client.wait("p", lambda event: seen.append(event.kind))
    assert (result.executed, result.cached, result.interrupted) == (("2",), ("1",), False)
    assert result.images("2") == [{"filename": "a.png"}]
    assert result.images("1") == []
    assert seen == ["execution_cached", "executing", "progress", "executing"]


def test_failing_node_raises(speaking: Callable[..., Client]) -> None:
    fault = {
        "prompt_id": "p",
        "node_id": "2",
        "node_type": "A",
        "exception_type": "E",
        "exception_message": "no",
    }
    client = speaking(("execution_error", fault), ("executing", {"prompt_id": "p", "node": None}))
    with pytest.raises(ExecutionFailed, match=r"^Node 2 \(A\) failed: E: no$"):
        client.wait("p")


def test_late_and_lost_connections(speaking: Callable[..., Client]) -> None:
    with pytest.raises(RemoteError, match=r"^ComfyUI did not finish the graph p in time\.$"):
        speaking().wait("p", timeout=0.1)
    with pytest.raises(RemoteError, match=r"^The connection to ComfyUI was lost during the run: gone\.$"):
        speaking(then=ConnectionResetError("gone")).wait("p")


def test_upload_and_cancel(client: Client, stand_in: Any, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"\x89PNG")
    stand_in.answers["/upload/image"] = (200, {"name": "a (1).png", "subfolder": "mine", "type": "input"})
    assert client.upload(picture, "mine") == "mine/a (1).png"
    path, body = stand_in.asked[-1]
    assert path == "/upload/image"
    assert b'name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n' in body

    stand_in.answers |= {"/queue": (200, b""), "/interrupt": (200, b"")}
    client.cancel("p")
    assert [(path, json.loads(body)) for path, body in stand_in.asked[-2:]] == [
        ("/queue", {"delete": ["p"]}),
        ("/interrupt", {"prompt_id": "p"}),
    ]


@pytest.mark.parametrize("cancelled", [True, False])  # false: it has ended already
def test_cancel_in_one_step_where_comfyui_can(client: Client, stand_in: Any, cancelled: bool) -> None:
    stand_in.answers["/api/jobs/p/cancel"] = (200, {"cancelled": cancelled})
    client.cancel("p")
    assert stand_in.asked == [("/api/jobs/p/cancel", b"{}")]


@pytest.mark.parametrize("status", [404, 405])  # as versions before 0.26 answer
def test_cancel_where_comfyui_knows_no_such_step(client: Client, stand_in: Any, status: int) -> None:
    stand_in.answers |= {
        "/api/jobs/p/cancel": (status, b"not found"),
        "/queue": (200, b""),
        "/interrupt": (200, b""),
    }
    client.cancel("p")
    assert [path for path, _ in stand_in.asked] == ["/api/jobs/p/cancel", "/queue", "/interrupt"]
