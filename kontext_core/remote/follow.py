"""What a running graph is doing, for somebody who watches a terminal or reads a log."""

import time
from collections.abc import Callable
from typing import Protocol

from .client import Event, Json

_QUIET_S = 10.0  # in a log, the least time between two lines about the same node


class Stream(Protocol):
    """What `Line` needs of a file for text."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...
    def isatty(self) -> bool: ...


class Line:
    """The last line of a terminal, which changes; in a log, a line now and then."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._shown = False
        self._next = time.monotonic() + _QUIET_S

    def show(self, text: str) -> None:
        """Something that will soon be out of date."""
        if self._live:
            self._write(f"\r{text}\x1b[K")
            self._shown = True
        elif time.monotonic() >= self._next:
            self.keep(text)

    def keep(self, text: str) -> None:
        """Something to stay."""
        self._write(f"\r{text}\x1b[K\n" if self._shown else f"{text}\n")
        self._shown = False
        self._next = time.monotonic() + _QUIET_S

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class Follower:
    """Takes a graph's events and shows each node, its steps, and how long it took.

    Args:
        prompt: in API form.
        line: that is written to.
        name: what to call a node by its id, its title unless given; "" leaves the node out.
    """

    def __init__(self, prompt: Json, line: Line, name: Callable[[str], str] | None = None) -> None:
        self._prompt = prompt
        self._line = line
        self._name = name or self._title
        self._node: str | None = None
        self._since = 0.0
        self._steps = ""

    def __call__(self, event: Event) -> None:
        data = event.data
        if event.kind == "executing":
            self._begin(data.get("display_node") or data.get("node"))
        elif event.kind == "progress" and data.get("node") == self._node:
            self._steps = f"  step {data['value']}/{data['max']}"
            self._show()
        elif event.kind in ("execution_error", "execution_interrupted"):
            self._end(" stopped")

    def _begin(self, node: str | None) -> None:
        if node != self._node:
            self._end()
            self._node, self._since, self._steps = node, time.monotonic(), ""
            self._show()

    def _show(self) -> None:
        if self._node is not None and (name := self._name(self._node)):
            self._line.show(f"{name}{self._steps}")

    def _end(self, how: str = "") -> None:
        if self._node is not None and (name := self._name(self._node)):
            self._line.keep(f"{name}{self._steps}{how}  {time.monotonic() - self._since:.1f} s")
        self._node = None

    def _title(self, node: str) -> str:
        described = self._prompt.get(node, {})
        return (described.get("_meta") or {}).get("title") or described.get("class_type") or f"node {node}"
