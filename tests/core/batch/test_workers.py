"""`kontext batch` on the tiny model, by real processes, one of which is killed in the middle of an edit."""

import json
import os
import signal
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kontext_core.batch import processes, ray_workers
from kontext_core.batch.processes import ProcessWorker, receive, send, serve
from kontext_core.batch.ray_workers import RayWorker, started_ray
from kontext_core.batch.store import RESULTS
from kontext_core.batch.work import WorkerModel, make
from kontext_core.cli import main
from kontext_core.model_spec import ModelSpec
from kontext_core.pipeline import Pipeline

GOOD = (
    {"id": "one", "pictures": "a.png", "instructions": ["make the background sand", ""], "seed": 3},
    {"id": "two", "pictures": ["a.png", "b.png"], "instructions": "x", "steps": 1, "fit": "none"},
)


class MortalProcess(ProcessWorker):
    lives = False

    def edit(self, job: dict[str, Any], pictures: Sequence[bytes]) -> Any:
        if not MortalProcess.lives:
            MortalProcess.lives = True
            send(self.process.stdin, job, pictures)
            self.process.kill()
        return super().edit(job, pictures)


class MortalActor(RayWorker):
    lives = False

    def edit(self, job: dict[str, Any], pictures: Sequence[bytes]) -> Any:
        if not MortalActor.lives:
            MortalActor.lives = True
            process = self.ask("process_id")
            self.actor.edit.remote(job, list(pictures))
            os.kill(process, signal.SIGKILL)
        return super().edit(job, pictures)


def nobody(*_: object, **__: object) -> None:
    raise AssertionError


@pytest.fixture(scope="module")
def expected() -> Callable[[Path], dict[str, bytes]]:
    """Return the pictures that this process makes of the lines, by file name."""
    pipeline = Pipeline.load("tiny", device="cpu")

    def made(folder: Path) -> dict[str, bytes]:
        files = {}
        for line in GOOD:
            names = [line["pictures"]] if isinstance(line["pictures"], str) else line["pictures"]
            texts = line["instructions"]
            settings = {
                "steps": line.get("steps", 2),
                "seed": line.get("seed", 0),
                "fit": line.get("fit", "crop"),
            }
            job = {
                "instructions": [texts] if isinstance(texts, str) else texts,
                "settings": settings,
                "names": names,
            }
            threads = torch.get_num_threads()
            torch.set_num_threads(os.cpu_count() or 1)  # as the one worker has: it decides the order of sums
            try:
                _, pictures = make(pipeline, job, [(folder / name).read_bytes() for name in names])
            finally:
                torch.set_num_threads(threads)
            files |= {f"{line['id']}_turn{turn}.png": data for turn, data in enumerate(pictures, start=1)}
        return files

    return made


@pytest.mark.parametrize("engine", ["processes", pytest.param("ray", marks=pytest.mark.matrix)])
def test_a_worker_is_killed_in_the_middle(
    engine: str,
    folder: Path,
    lines: Callable[..., Path],
    expected: Callable[[Path], dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(processes, "ProcessWorker", MortalProcess)
    monkeypatch.setattr(ray_workers, "RayWorker", MortalActor)
    path, out = lines(GOOD[0], "no JSON", GOOD[1]), folder / "out"
    arguments = [
        "batch",
        str(path),
        "--output",
        str(out),
        "--engine",
        engine,
        "--device",
        "cpu",
        "--steps",
        "2",
    ]
    assert main(arguments) == 1  # for the line that is none
    said = capsys.readouterr().err
    assert "line 2 of edits.jsonl: it is not JSON" in said
    assert "one: its worker died while making it; it is tried again\n" in said
    assert "kontext: 2 of 3 edits are done; 0 failed and 1 lines cannot be used" in said
    wanted = expected(folder)
    assert {file.name for file in out.glob("*.png")} == set(wanted)
    for name, data in wanted.items():
        found, right = (np.asarray(Image.open(file), dtype=np.int16) for file in (out / name, BytesIO(data)))
        assert abs(found - right).max() <= 1
    results = [json.loads(line) for line in (out / RESULTS).read_text().splitlines()]
    assert [(one["id"], one["status"], one["line"]) for one in results] == [
        ("one", "done", 1),
        ("two", "done", 3),
    ]
    assert results[0]["sizes"] == [[128, 128]] * 2

    monkeypatch.setattr(processes, "ProcessWorker", nobody)  # is needed for what is there
    assert main([*arguments[:-4], "--device", "cpu", "--steps", "2", "--engine", "processes"]) == 1
    assert "0 made, 2 already there, 0 failed" in capsys.readouterr().err


def test_a_model_that_is_not_there() -> None:
    asked, answered = BytesIO(), BytesIO()
    send(asked, WorkerModel(ModelSpec(model="no-such-folder", device="cpu")).to_json(), [])
    asked.seek(0)
    serve(asked, answered)
    answered.seek(0)
    assert "no-such-folder" in receive(answered)[0]["error"]


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_workers, "has_ray", lambda: False)
    with pytest.raises(ValueError, match="Ray is not installed; install it with"), started_ray(1, 0):
        pass
