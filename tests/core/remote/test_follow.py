"""The display of a running graph, in a terminal and in a log."""

import io

import pytest

from kontext_core.remote import follow
from kontext_core.remote.client import Event
from kontext_core.remote.follow import Follower, Line

PROMPT = {
    "1": {"class_type": "Load", "_meta": {"title": "Load it"}},
    "2": {"class_type": "Edit"},
}
EVENTS = [
    Event("execution_start", {}),
    Event("executing", {"node": "1"}),
    Event("executing", {"node": "2.0.1", "display_node": "2"}),
    Event("progress", {"node": "2", "value": 1, "max": 2}),
    Event("progress", {"node": "other", "value": 7, "max": 9}),
    Event("progress", {"node": "2", "value": 2, "max": 2}),
    Event("executing", {"node": None}),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow.time, "monotonic", lambda: 100.0)


def shown(stream: io.StringIO, events: list[Event], **options: object) -> str:
    follower = Follower(PROMPT, Line(stream), **options)
    for event in events:
        follower(event)
    return stream.getvalue()


def test_a_log_gets_a_line_for_each_node() -> None:
    assert shown(io.StringIO(), EVENTS) == "Load it  0.0 s\nEdit  step 2/2  0.0 s\n"


def test_a_log_gets_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_QUIET_S", 0.0)
    assert "Edit  step 1/2\n" in shown(io.StringIO(), EVENTS)


def test_a_terminal_sees_every_step_in_one_line() -> None:
    text = shown(Terminal(), EVENTS)
    assert text.count("\n") == 2
    assert "\rEdit  step 1/2\x1b[K\rEdit  step 2/2\x1b[K\rEdit  step 2/2  0.0 s\x1b[K\n" in text


def test_nodes_can_be_named_or_left_out() -> None:
    assert shown(io.StringIO(), EVENTS, name={"1": "", "2": "turn 1"}.get) == "turn 1  step 2/2  0.0 s\n"


@pytest.mark.parametrize("kind", ["execution_error", "execution_interrupted"])
def test_stopped(kind: str) -> None:
    assert shown(io.StringIO(), [*EVENTS[:4], Event(kind, {})]).endswith("Edit  step 1/2 stopped  0.0 s\n")


def test_unknown_node_has_its_number() -> None:
    assert shown(io.StringIO(), [Event("executing", {"node": "9"}), EVENTS[-1]]) == "node 9  0.0 s\n"
