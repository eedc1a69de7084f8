"""A graph without messages: the server is asked and reports what became of it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import websocket

from kontext_core.remote import client as module
from kontext_core.remote.client import Client, ExecutionFailed, RemoteError, SlowServer

ID = "p"
RUNNING = ("executing", {"prompt_id": ID, "node": "2"})
END = ("executing", {"prompt_id": ID, "node": None})
OUTPUTS = {"2": {"images": [{"filename": "a.png"}]}}
CACHED = ["execution_cached", {"prompt_id": ID, "nodes": ["1"]}]


class Silent:
    """Gives its messages, then nothing, whatever time it is given; notes how long it was waited for."""

    def __init__(self, *messages: Any) -> None:
        self.messages, self.patience = list(messages), list[float]()

    def settimeout(self, seconds: float) -> None:
        self.patience.append(seconds)

    def recv(self) -> str:
        message = self.messages.pop(0) if self.messages else None
        if message is None:
            raise websocket.WebSocketTimeoutException("late")
        return message if isinstance(message, str) else json.dumps({"type": message[0], "data": message[1]})


@pytest.fixture
def wait(client: Client, stand_in: Any) -> Callable[..., Any]:
    """`wait(messages, queue, history)`: a graph's result; the server answers in turn, the last for good."""

    def call(messages: list[Any], queue: list[Any], history: list[Any]) -> Any:
        asked = {"/queue": queue, f"/history/{ID}": history}
        request = client._request

        def answer(path: str, *arguments: Any, **options: Any) -> bytes:
            if path not in asked:
                return request(path, *arguments, **options)
            answers = asked[path]
            value = answers.pop(0) if len(answers) > 1 else answers[0]
            stand_in.asked.append((path, b""))
            if isinstance(value, Exception):
                raise value
            return json.dumps(value).encode()

        client._socket = Silent(*messages)  # type: ignore[assignment]
        client._request = answer  # type: ignore[method-assign]
        return client.wait(ID, timeout=3600)

    return call


def queued(*ids: str) -> dict[str, Any]:
    return {"queue_running": [], "queue_pending": [[1, id, {}, {}, []] for id in ids]}


def record(*messages: Any, outputs: Any = OUTPUTS) -> dict[str, Any]:
    return {ID: {"outputs": outputs, "status": {"completed": True, "messages": list(messages)}}}


def test_a_cleared_queue_is_said(wait: Callable[..., Any]) -> None:
    with pytest.raises(RemoteError, match=r"^The graph is neither in ComfyUI's queue nor in its history"):
        wait([RUNNING], [queued(ID), queued(ID), queued("another")], [{}])


def test_a_server_that_began_anew_is_said(wait: Callable[..., Any]) -> None:
    with pytest.raises(RemoteError, match="or ComfyUI was restarted"):
        wait([], [{"queue_running": [], "queue_pending": []}], [{}])


@pytest.mark.parametrize("heard", [[], [RUNNING]])
def test_an_end_that_nobody_heard_is_one(wait: Callable[..., Any], heard: list[Any]) -> None:
    running = {"queue_running": [[1, ID]], "queue_pending": []}
    result = wait(heard, [running, queued()], [record(CACHED)])
    assert (result.cached, result.interrupted) == (("1",), False)
    assert result.executed == (("2",) if heard else ())
    assert result.images("2") == [{"filename": "a.png"}]


def test_what_was_heard_counts_once(wait: Callable[..., Any]) -> None:
    assert wait([tuple(CACHED), RUNNING], [queued()], [record(CACHED)]).cached == ("1",)


def test_a_failure_that_nobody_heard_raises(wait: Callable[..., Any]) -> None:
    fault = {"node_id": "2", "node_type": "A", "exception_type": "E", "exception_message": "no"}
    with pytest.raises(ExecutionFailed, match=r"^Node 2 \(A\) failed: E: no$"):
        wait([], [queued()], [record(["execution_error", fault])])


def test_an_interrupt_that_nobody_heard_is_one(wait: Callable[..., Any]) -> None:
    assert wait([], [queued()], [record(["execution_interrupted", {}])]).interrupted


@pytest.mark.parametrize(
    "odd", [{ID: {"outputs": [], "status": 5}}, {ID: {"status": {"messages": [5, ["x"], ["y", 1]]}}}]
)
def test_a_record_of_another_shape(wait: Callable[..., Any], odd: Any) -> None:
    result = wait([], [queued()], [odd])
    assert (result.outputs, result.images("2")) == ({}, [])


def test_a_slow_server_is_asked_again_and_a_dead_one_is_not_waited_for(
    wait: Callable[..., Any], stand_in: Any
) -> None:
    assert wait([], [SlowServer("slow"), SlowServer("slow"), queued()], [record()]).outputs == OUTPUTS
    stand_in.asked.clear()
    with pytest.raises(SlowServer, match="no answer"):
        wait([], [SlowServer("no answer")], [record()])
    assert len(stand_in.asked) == module._MOST_UNANSWERED
    with pytest.raises(RemoteError, match="refused"):
        wait([], [RemoteError("refused")], [record()])


def test_a_graph_that_ends_between_two_questions_is_not_lost(client: Client) -> None:
    running = [True]

    def answer(path: str, *_: Any, **__: Any) -> bytes:
        known = queued(ID) if running else queued()
        done = {} if running else record()
        running.clear()
        return json.dumps(known if path == "/queue" else done).encode()

    client._socket = Silent()  # type: ignore[assignment]
    client._request = answer  # type: ignore[method-assign]
    assert client.wait(ID, timeout=3600).outputs == OUTPUTS


def test_it_asks_now_and_then(
    wait: Callable[..., Any], stand_in: Any, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for every message of others, nor without waiting first."""
    monkeypatch.setattr(module.time, "monotonic", lambda: 100.0)
    others = [("status", {}), ("progress", {"prompt_id": "another"}), "no JSON", '{"type": 5}'] * 25
    assert wait([*others, RUNNING, *others, END], [queued(ID)], [record()]).executed == ("2",)
    assert [path for path, _ in stand_in.asked] == [f"/history/{ID}"], "for the outputs, at the end"
    socket: Any = client._socket
    assert set(socket.patience) == {module._SILENCE_S}


def test_messages_of_others_are_no_sign_of_life(
    wait: Callable[..., Any], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(10_000))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(seconds)))
    with pytest.raises(RemoteError, match="is neither in ComfyUI's queue nor"):
        wait([("status", {})] * 100, [queued("another")], [{}])
    socket: Any = client._socket
    assert len(socket.messages) > 90, "it asked while they still came"
