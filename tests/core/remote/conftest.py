"""A stand-in for ComfyUI: HTTP answers from a table, and websocket messages from a list."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import websocket

from kontext_core.remote.client import Client

# path -> (status, body); a body that is not bytes is sent as JSON
Answers = dict[str, tuple[int, Any]]


class StandIn:
    """The answers of the stand-in, and the requests it received."""

    def __init__(self, url: str, answers: Answers) -> None:
        self.url = url
        self.answers = answers
        self.asked: list[tuple[str, bytes]] = []


class FakeSocket:
    """Gives its messages one after the other, then raises."""

    def __init__(self, *messages: Any, then: Exception | None = None) -> None:
        self.messages = [json.dumps({"type": kind, "data": data}) for kind, data in messages]
        self.then = then or websocket.WebSocketTimeoutException("late")

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def recv(self) -> str:
        if not self.messages:
            raise self.then
        return self.messages.pop(0)

    def close(self) -> None:
        pass


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """An HTTP server on its own port; it answers 404 for anything not in its table."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(b"")

        def do_POST(self) -> None:
            self.answer(self.rfile.read(int(self.headers["Content-Length"])))

        def answer(self, body: bytes) -> None:
            path = self.path.partition("?")[0]
            server.asked.append((self.path, body))
            status, data = server.answers.get(path, (404, b"nothing here"))
            payload = data if isinstance(data, bytes) else json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server = StandIn(f"http://127.0.0.1:{http.server_port}", {})
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield server
        http.shutdown()


@pytest.fixture
def client(stand_in: StandIn) -> Client:
    """A client of the stand-in, whose websocket says nothing."""
    client = Client(stand_in.url)
    speak(client)
    return client


@pytest.fixture
def speaking(client: Client) -> Callable[..., Client]:
    """`speaking((kind, data), ...)`: the same client, with these messages to come."""
    return lambda *messages, then=None: speak(client, *messages, then=then)


def speak(client: Client, *messages: Any, then: Exception | None = None) -> Client:
    client._socket = FakeSocket(*messages, then=then)  # type: ignore[assignment]
    return client
