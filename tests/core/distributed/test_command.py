"""`kontext edit --gpus N`: the same picture as by one process, and one sentence when a process fails."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kontext_core.cli import main
from kontext_core.distributed import launch
from kontext_core.distributed.launch import Place, run_ranks
from kontext_core.distributed.ranks import LOST

PICTURE = str(Path(__file__).parents[3] / "workflows" / "single_edit.jpg")


def test_edit_by_two_processes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = []
    for count in ("1", "2"):
        out = tmp_path / count
        arguments = ["edit", PICTURE, "make the background sand", "--steps", "2", "--device", "cpu"]
        assert main([*arguments, "--reference", PICTURE, "--gpus", count, "--output", str(out)]) == 0
        assert f"turn 1: make the background sand -> {out}" in capfd.readouterr().err
        made.append(np.asarray(Image.open(out / "single_edit_turn1.png"), dtype=np.int16))
    assert abs(made[0] - made[1]).max() <= 1


@pytest.mark.parametrize(
    ("others", "sentence"),
    [
        (["--device", "mps"], "runs on 'cuda' or 'cpu', and 'mps' was asked for"),
        (["--device", "cpu", "--approximate", "teacache"], "--approximate is for an edit on one device"),
    ],
)
def test_what_cannot_be_shared(others: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edit", PICTURE, "x", "--gpus", "2", *others]) == 1
    assert sentence in capsys.readouterr().err


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list["subprocess.Popen[bytes]"]]:
    """`scripts(a, b)`: the ranks run these lines of Python, which know their `place`."""
    started: list[subprocess.Popen[bytes]] = []

    def given(*codes: str) -> list["subprocess.Popen[bytes]"]:
        def start(place: Place, arguments: object, heard: bool) -> "subprocess.Popen[bytes]":
            head = f"import os, sys, time; fault = {str(place.fault)!r}; "
            started.append(subprocess.Popen([sys.executable, "-S", "-c", head + codes[place.rank]]))
            return started[-1]

        monkeypatch.setattr(launch, "_start", start)
        return started

    return given


WAIT = "time.sleep(600)"
SAYS = "open(fault, 'w').write({!r}); sys.exit(1)"


@pytest.mark.parametrize(
    ("codes", "sentence"),
    [
        (
            (WAIT, "os.kill(os.getpid(), 9)"),
            "process 2 of the 2 of this edit was killed by signal 9, so all were stopped",
        ),
        (("sys.exit(7)", WAIT), "process 1 of the 2 of this edit ended with exit code 7"),
        ((SAYS.format(LOST), SAYS.format("too little memory")), "^too little memory$"),
        (
            ("time.sleep(1); " + SAYS.format(LOST), "os.kill(os.getpid(), 9)"),
            "process 2 of the 2 .* signal 9",
        ),
        ((SAYS.format("there is no file x"), WAIT), "^there is no file x$"),
    ],
)
def test_all_end_with_the_reason_of_the_one_that_failed(
    codes: tuple[str, str], sentence: str, scripts: Callable[..., list["subprocess.Popen[bytes]"]]
) -> None:
    started = scripts(*codes)
    with pytest.raises(RuntimeError, match=sentence):
        run_ranks(["edit"], 2)
    for code, process in zip(codes, started, strict=True):
        ended = process.poll()
        assert ended is not None
        assert code != WAIT or ended < 0, "it was stopped, and did not come to its end"


def test_all_end_well(scripts: Callable[..., list["subprocess.Popen[bytes]"]]) -> None:
    scripts("time.sleep(0.2)", "pass")
    run_ranks(["edit"], 2)


def test_a_place_as_text(tmp_path: Path) -> None:
    place = Place(1, 3, tmp_path / "a:b")
    assert Place.parse(str(place)) == place
