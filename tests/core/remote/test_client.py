"""What the client makes of ComfyUI's messages."""

import json
import struct

import pytest

from kontext_core.remote.client import Client, Event, ExecutionFailed, _event, _refusal
from tools.console import ToolError
from tools.server import free_port


def test_event_with_preview() -> None:
    metadata = json.dumps({"node_id": "3", "prompt_id": "p"}).encode()
    message = struct.pack(">II", 4, len(metadata)) + metadata + b"jpeg"
    assert _event(message) == Event("preview", {"node_id": "3", "prompt_id": "p"}, b"jpeg")
    assert _event(struct.pack(">II", 1, 1) + b"jpeg") is None


def test_event_as_text() -> None:
    assert _event('{"type": "progress", "data": {"value": 1}}') == Event("progress", {"value": 1})
    assert _event('{"type": "status"}') == Event("status", {})


def test_refusal_names_nodes_and_inputs() -> None:
    errors = [{"message": "Value 0 smaller than min of 1", "details": "steps"}]
    answer = {
        "error": {"message": "Prompt outputs failed validation", "details": ""},
        "node_errors": {"4": {"class_type": "KontextSampler", "errors": errors}},
    }
    assert _refusal(answer) == (
        "ComfyUI refused the graph: Prompt outputs failed validation\n"
        "node 4 (KontextSampler): Value 0 smaller than min of 1: steps"
    )


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
    with pytest.raises(ToolError, match=f"^No ComfyUI answers at {url}: "):
        Client(url).history("x")
    with pytest.raises(ToolError, match=f"^No ComfyUI answers at {url}: "):
        Client(url).queue({})
