"""The pack does not hold up ComfyUI's start: no heavy module before a node runs, and little time."""

from typing import Any

import pytest

from benchmarks.start_up import register

MOST_SECONDS = 1.0  # of the process's own time on a busy machine; 0.3 is the aim
LATER = ("pipeline", "loading", "transformer", "text", "train", "chain", "remote", "lora", "sampler", "vae")


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return register(tmp_path_factory.mktemp("comfyui"))


def test_nothing_heavy_is_imported(registered: dict[str, Any]) -> None:
    assert registered["heavy"] == []
    assert [one for one in registered["core"] if one.split(".")[0] in LATER] == []


def test_it_takes_little_time(registered: dict[str, Any]) -> None:
    assert registered["nodes"] > 20
    assert registered["process_seconds"] < MOST_SECONDS
