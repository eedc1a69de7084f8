"""An edit started by torchrun, which starts the processes and connects them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kontext_core.cli import main

PICTURE = str(Path(__file__).parents[3] / "workflows" / "single_edit.jpg")
EDIT = ["edit", PICTURE, "make the background sand", "--steps", "1", "--device", "cpu", "--output"]


def torchrun(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Two processes on this machine, connected through a free port."""
    started = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "kontext_core.cli",
    ]  # fmt: skip
    return subprocess.run(
        [*started, *arguments],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.timeout(600)
def test_an_edit_by_two_processes_of_torchrun(tmp_path: Path) -> None:
    done = torchrun(*EDIT, str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("turn 1: make the background sand ->") == 1, "one of them leads"
    assert main([*EDIT, str(tmp_path / "one")]) == 0
    one, two = (
        np.asarray(Image.open(tmp_path / count / "single_edit_turn1.png"), dtype=np.int16)
        for count in ("one", "two")
    )
    assert abs(one - two).max() <= 1


def test_what_cannot_be_shared_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The error comes before any process waits for the others."""
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)
    for option in (["--approximate", "teacache"], ["--graph"], ["--attention", "sage"]):
        assert main([*EDIT, str(tmp_path), *option]) == 1
        assert f"{option[0]} is for an edit on one device; leave it out" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
