"""A client of ComfyUI's HTTP and websocket interface: queue a graph, follow it, fetch what it made."""

from __future__ import annotations

import json
import mimetypes
import re
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Self

from .messages import Event as Event
from .messages import Json as Json
from .messages import missed_events, read_event, refusal

if TYPE_CHECKING:
    import websocket

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_SILENCE_S = 5.0  # without a word of a graph, after which its server is asked for it
_MOST_UNANSWERED = 5  # questions in a row, each for a minute: a server that reads a large model may be slow


class RemoteError(RuntimeError):
    """What went wrong between us and a ComfyUI, in a sentence for the user."""


class SlowServer(RemoteError):
    """A server that is there, or was, and did not answer in time."""


@dataclass(frozen=True)
class Result:
    """How a graph ended: `outputs` by node id, the nodes that ran, in order, and those from the cache."""

    prompt_id: str
    outputs: dict[str, Json]
    executed: tuple[str, ...]
    cached: tuple[str, ...]
    interrupted: bool

    def images(self, node: str) -> list[Json]:
        """What `Client.view` takes, for each picture that a node put out."""
        output = self.outputs.get(node)
        images = output.get("images") if isinstance(output, dict) else None
        return [image for image in images if isinstance(image, dict)] if isinstance(images, list) else []


class PromptRefused(RemoteError):
    """The graph did not pass ComfyUI's checks; `errors` is what it said, by node id."""

    def __init__(self, message: str, errors: Json) -> None:
        super().__init__(message)
        self.errors = errors


class ExecutionFailed(RemoteError):
    """A node raised; `details` is the event, with exception_type, exception_message and traceback."""

    def __init__(self, details: Json) -> None:
        what = f"{details.get('exception_type')}: {str(details.get('exception_message')).strip()}"
        super().__init__(f"Node {details.get('node_id')} ({details.get('node_type')}) failed: {what}")
        self.details = details


class Client:
    """Talks to the ComfyUI at `url`; close it, or use it in a `with`.

    Raises: RemoteError if that is no address of a server. So do all methods if nothing useful answers there.
    """

    def __init__(self, url: str) -> None:
        self.url = _address(url)
        self.id = uuid.uuid4().hex
        self._socket: websocket.WebSocket | None = None
        self._kept: dict[str, list[Event]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the websocket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def answers(self) -> bool:
        """Whether a ComfyUI is there and ready."""
        try:
            return "system" in self._json("/system_stats")
        except RemoteError:
            return False

    def object_info(self, node: str | None = None) -> Json:
        """What the server knows of all nodes, or of one."""
        path = f"/object_info/{node}" if node else "/object_info"
        nodes = self._json(path)
        if not all(isinstance(info, dict) for info in nodes.values()):
            raise self._odd(path)
        return nodes

    def settings(self, values: Json) -> None:
        """Set settings of the page, by their ids."""
        self._request("/settings", values)

    def upload(self, path: Path, subfolder: str = "") -> str:
        """Upload a picture into ComfyUI's input folder; returns the name that LoadImage takes."""
        boundary = uuid.uuid4().hex
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        name = re.sub(r'["\r\n\ud800-\udfff]', "_", path.name)
        parts = [
            f'Content-Disposition: form-data; name="subfolder"\r\n\r\n{subfolder}\r\n'.encode(),
            f'Content-Disposition: form-data; name="image"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n'.encode()
            + path.read_bytes()
            + b"\r\n",
        ]
        mark = f"--{boundary}"
        body = b"".join(f"{mark}\r\n".encode() + part for part in parts) + f"{mark}--\r\n".encode()
        kind = f"multipart/form-data; boundary={boundary}"
        answer = self._parsed("/upload/image", self._request("/upload/image", body, kind))
        if "name" not in answer:
            raise self._odd("/upload/image")
        return f"{answer['subfolder']}/{answer['name']}" if answer.get("subfolder") else answer["name"]

    def queue(self, prompt: Json, workflow: Json | None = None) -> str:
        """Queue a graph in API form, with its page form for what it saves; returns the prompt's id.

        Raises: PromptRefused naming nodes and inputs.
        """
        self._connection()
        body: Json = {"client_id": self.id, "prompt": prompt}
        if workflow is not None:
            body["extra_data"] = {"extra_pnginfo": {"workflow": workflow}}
        answer = self._parsed("/prompt", self._request("/prompt", body, accept=(400,)))
        if answer.get("error") or answer.get("node_errors"):
            raise PromptRefused(refusal(answer), answer.get("node_errors") or {})
        if not isinstance(answer.get("prompt_id"), str):
            raise self._odd("/prompt")
        return answer["prompt_id"]

    def wait(
        self, prompt_id: str, on_event: Callable[[Event], object] | None = None, timeout: float = 600
    ) -> Result:
        """Follow a queued graph to its end, handing every event to `on_event`.

        Where nothing is heard of it for some seconds, the server is asked whether it still has it.

        Raises: ExecutionFailed if a node raised; RemoteError after `timeout` seconds, or if it is gone.
        """
        executed: list[str] = []
        cached: list[str] = []
        interrupted = False
        failure: Json | None = None
        for event in self._events(prompt_id, timeout):
            if on_event is not None:
                on_event(event)
            if event.kind == "execution_cached":
                cached += event.data.get("nodes") or []
            elif event.kind == "executing" and event.data.get("node") is None:
                break
            elif event.kind == "executing":
                executed.append(event.data["node"])
            elif event.kind == "execution_interrupted":
                interrupted = True
            elif event.kind == "execution_error":
                failure = event.data
        if failure is not None:
            raise ExecutionFailed(failure)
        outputs = self.history(prompt_id).get("outputs") or {}
        return Result(
            prompt_id,
            outputs if isinstance(outputs, dict) else {},
            tuple(executed),
            tuple(cached),
            interrupted,
        )

    def run(self, prompt: Json, workflow: Json | None = None, timeout: float = 600) -> Result:
        """`queue`, then `wait`."""
        return self.wait(self.queue(prompt, workflow), timeout=timeout)

    def history(self, prompt_id: str) -> Json:
        """The record of a graph that ended, with its outputs and status; empty while it has not."""
        record = self._json(f"/history/{prompt_id}").get(prompt_id)
        return record if isinstance(record, dict) else {}

    def view(self, image: Mapping[str, str]) -> bytes:
        """The bytes of a picture that `Result.images` names."""
        query = {key: image.get(key, "") for key in ("filename", "subfolder", "type")}
        return self._request(f"/view?{urllib.parse.urlencode(query, errors='replace')}")

    def interrupt(self) -> None:
        """Ask the running graph to stop."""
        self._request("/interrupt", {})

    def cancel(self, prompt_id: str) -> None:
        """Take one graph off the queue, or stop it where it runs; others go on.

        ComfyUI 0.26 and later do it in one step. Before, a graph that ends between the two is left alone as
        well.
        """
        job = urllib.parse.quote(prompt_id, safe="")
        if b"cancelled" in self._request(f"/api/jobs/{job}/cancel", {}, accept=(404, 405)):
            return
        self._request("/queue", {"delete": [prompt_id]})
        self._request("/interrupt", {"prompt_id": prompt_id})

    def _events(self, prompt_id: str, timeout: float) -> Iterator[Event]:
        yield from self._kept.pop(prompt_id, [])
        end, kinds, unanswered = time.monotonic() + timeout, set[str](), 0
        last_heard = time.monotonic()  # of this graph
        while True:
            now = time.monotonic()
            if now > end:
                raise RemoteError(f"ComfyUI did not finish the graph {prompt_id} in time.")
            is_last = end <= last_heard + _SILENCE_S
            event = self._receive(max((end if is_last else last_heard + _SILENCE_S) - now, 0.01))
            owner = None if event is None else event.data.get("prompt_id")
            if event is not None and owner == prompt_id:
                last_heard = time.monotonic()
                kinds.add(event.kind)
                yield event
                continue
            if event is not None and owner:
                self._kept.setdefault(owner, []).append(event)
            if event is not None and time.monotonic() < last_heard + _SILENCE_S:
                continue
            if is_last:
                raise RemoteError(f"ComfyUI did not finish the graph {prompt_id} in time.")
            try:
                for event in self._asked(prompt_id):
                    if event.kind == "executing" or event.kind not in kinds:  # the first is the end
                        yield event
                unanswered = 0
            except SlowServer:
                unanswered += 1
                if unanswered == _MOST_UNANSWERED:
                    raise
            last_heard = time.monotonic()

    def _asked(self, prompt_id: str) -> list[Event]:
        """Ask what came of a graph. Returns: the events that nobody heard; none while it waits or runs.

        Raises: RemoteError if the server knows nothing of it.
        """
        queue = self._json("/queue")  # first, for from there it goes into the history
        entries = [entry for key in ("queue_running", "queue_pending") for entry in queue.get(key) or []]
        if any(isinstance(entry, list) and prompt_id in entry[:2] for entry in entries):
            return []
        record = self.history(prompt_id)
        if not record:
            raise RemoteError(
                "The graph is neither in ComfyUI's queue nor in its history: they were cleared, or ComfyUI "
                "was restarted. Run the graph again."
            )
        return missed_events(prompt_id, record)

    def _receive(self, seconds: float) -> Event | None:
        """Wait for the next event; None if none comes in time. What is of no use here has the kind ""."""
        socket, module = self._connection(), _websocket()
        socket.settimeout(seconds)
        try:
            message = socket.recv()
        except module.WebSocketTimeoutException:
            return None
        except (OSError, module.WebSocketException) as error:
            raise RemoteError(f"The connection to ComfyUI was lost during the run: {error}.") from error
        if not message:
            raise RemoteError("ComfyUI closed the connection during the run.")
        return read_event(message) or Event("", {})

    def _connection(self) -> websocket.WebSocket:
        if self._socket is not None:
            return self._socket
        module = _websocket()
        address = f"{self.url.replace('http', 'ws', 1)}/ws?clientId={self.id}"
        try:
            socket = module.create_connection(address, timeout=30, http_no_proxy=["*"])
            socket.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
            while json.loads(socket.recv())["type"] != "feature_flags":
                pass
        except (OSError, module.WebSocketException) as error:
            raise self._absent(error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise self._odd("/ws") from error
        self._socket = socket
        return socket

    def _json(self, path: str) -> Json:
        return self._parsed(path, self._request(path))

    def _parsed(self, path: str, answer: bytes) -> Json:
        try:
            parsed = json.loads(answer)
        except ValueError as error:
            raise RemoteError(f"What answers at {self.url} is not ComfyUI: {path} is not JSON.") from error
        if not isinstance(parsed, dict):
            raise self._odd(path)
        return parsed

    def _request(
        self,
        path: str,
        body: Json | bytes | None = None,
        kind: str = "application/json",
        accept: tuple[int, ...] = (),
    ) -> bytes:
        try:
            data = json.dumps(body).encode() if isinstance(body, dict) else body
        except RecursionError as error:
            raise RemoteError("The graph is nested too deeply for JSON.") from error
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": kind})
        try:
            with _DIRECT.open(request, timeout=60) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            if error.code in accept:
                return error.read()
            raise RemoteError(
                f"{self.url} answered {path.partition('?')[0]} with {error.code} {error.reason}."
            ) from error
        except (OSError, HTTPException) as error:
            raise self._absent(error) from error

    def _absent(self, error: Exception) -> RemoteError:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        kind = SlowServer if isinstance(reason, TimeoutError) else RemoteError
        words = (isinstance(reason, OSError) and reason.strerror) or reason
        return kind(f"No ComfyUI answers at {self.url}: {words}.")

    def _odd(self, path: str) -> RemoteError:
        return RemoteError(f"What answers at {self.url} is not ComfyUI: {path} is not as expected.")


def _address(url: str) -> str:
    """An address as a person may type it, with scheme and without a slash at the end."""
    full = url if "://" in url else f"http://{url}"
    try:
        parts = urllib.parse.urlsplit(full)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        good = False
    if not good or any(character.isspace() for character in full):
        raise RemoteError(f"{url!r} is not the address of a ComfyUI; it looks like http://127.0.0.1:8188.")
    return full.rstrip("/")


def _websocket() -> ModuleType:
    """The package websocket-client, which only following a graph needs."""
    try:
        import websocket
    except ImportError as error:
        raise RemoteError(
            "Following a graph on ComfyUI needs the package websocket-client: pip install websocket-client"
        ) from error
    return websocket
