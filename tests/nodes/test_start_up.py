"""The pack does not delay ComfyUI's start: no heavy module before a node runs, and little time."""

from typing import Any

import pytest

from benchmarks.start_up import imported, register

MOST_SECONDS = 1.0  # of the process's own time on a busy machine; 0.3 is the aim
LATER = {
    *("pipeline", "loading", "train", "chain", "remote", "lora", "memory", "quant"),
    *("model.transformer", "model.text", "model.vae", "sampling.denoise", "kernels.dispatch"),
}


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return register(tmp_path_factory.mktemp("comfyui"))


def test_nothing_heavy_is_imported(registered: dict[str, Any]) -> None:
    assert registered["heavy"] == []
    assert [name for name in registered["core"] if LATER & {name, name.split(".")[0]}] == []
    assert {"config", "sampling"} <= {name.split(".")[0] for name in registered["core"]}


def test_it_takes_little_time(registered: dict[str, Any]) -> None:
    assert registered["nodes"] > 20
    assert registered["process_seconds"] < MOST_SECONDS


def test_no_package_of_the_core_imports_what_is_heavy() -> None:
    """Whoever imports one of them waits for torch alone; the rest comes when it is asked for."""
    found = imported()
    assert {"kontext_core", "kontext_core.loading", "kontext_core.train"} <= set(found)
    assert {name: one["heavy"] for name, one in found.items() if one["heavy"]} == {}
