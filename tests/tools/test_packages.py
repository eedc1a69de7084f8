"""Failures of pip, in one sentence each."""

import os
import sys
from pathlib import Path

import pytest

from tools.console import DiskFull, ToolError
from tools.packages import explain, offered_versions, pip

NO_ROUTE = (
    "WARNING: Retrying after NewConnectionError('...: [Errno -2] Name or service not known'): /simple/x/"
)


@pytest.mark.parametrize(
    ("output", "kind", "start"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", DiskFull, "The disk is full"),
        ("fatal: write error: No space left on device", DiskFull, "The disk is full"),
        (f"{NO_ROUTE}\nERROR: No matching distribution found for x", ToolError, "No network: x could not be"),
        (
            "ERROR: No matching distribution found for x==9",
            ToolError,
            "No package index known to pip offers x==9",
        ),
        ("note\nERROR: hashes differ", ToolError, "pip could not get x: ERROR: hashes differ."),
        ("python: No module named pip\n\n", ToolError, "pip could not get x: python: No module named pip."),
        ("", ToolError, "pip could not get x: it gave no reason."),
    ],
)
def test_explain(output: str, kind: type[ToolError], start: str) -> None:
    error = explain(output, "x")
    assert type(error) is kind
    assert str(error).startswith(start)
    assert "\n" not in str(error)


@pytest.fixture
def _nothing_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip as it is where there is no network: its only index refuses."""
    for name in [name for name in os.environ if name.upper().startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")


@pytest.mark.usefixtures("_nothing_reachable")
def test_pip_without_network(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(
        ToolError, match=r"^No network: a thing could not be downloaded\. .*it continues where it stopped\."
    ) as error:
        pip(
            sys.executable,
            ["download", "--no-deps", "--dest", str(tmp_path), "thing"],
            what="a thing",
            log=log,
        )
    assert str(log) in str(error.value)
    assert "127.0.0.1" in log.read_text()
    assert offered_versions(sys.executable, "thing") == []
