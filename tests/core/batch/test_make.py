"""One edit of a batch: if it fails, for whatever reason, the error is reported and the worker continues."""

import json
import logging
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from kontext_core.batch import work
from kontext_core.batch.edits import read_edits
from kontext_core.batch.run import Batch
from kontext_core.batch.store import Store
from kontext_core.batch.work import BrokenDeviceError, make
from kontext_core.editor import Edit
from kontext_core.images.picture_files import from_bytes, from_file, from_pil, to_pil
from kontext_core.pipeline import Pipeline
from tests.core.batch.conftest import Pretended

JOB = {"instructions": ["x"], "settings": {"steps": 1}, "names": ["a.png"]}


class Failing:
    """A pipeline whose first edit fails."""

    home = torch.device("cpu")

    def __init__(self, error: BaseException) -> None:
        self.error: BaseException | None = error

    def edit(self, *_: Any, **__: Any) -> Edit:
        error, self.error = self.error, None
        if error is not None:
            raise error
        return Edit(torch.zeros(1, 16, 16, 3), torch.zeros(1, 16, 2, 2), 0, {}, None)


@pytest.fixture(scope="module")
def picture() -> bytes:
    file = BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG")
    return file.getvalue()


def described(error: BaseException, picture: bytes) -> tuple[str, dict[str, Any]]:
    """Return the error of the first edit, and the result of the next."""
    pipeline: Any = Failing(error)
    answer, files = make(pipeline, JOB, [picture])
    assert files == []
    return answer["error"], make(pipeline, JOB, [picture])[0]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("one\nsentence"), "one sentence"),
        (KeyError("odd"), "KeyError: 'odd' (a bug in this program, in test_make.py, line "),
        (TypeError("no"), "TypeError: no (a bug in this program, in test_make.py"),
        (AssertionError(), "AssertionError (a bug in this program, in test_make.py"),
        (RecursionError("too deep"), "too deep"),
        (MemoryError(), "there is too little memory for this edit; make a smaller picture"),
        (
            torch.OutOfMemoryError("CUDA out of memory"),
            "there is too little memory for this edit; make a smaller",
        ),
        (RuntimeError("[enforce fail] can't allocate memory"), "there is too little memory for this edit"),
    ],
)
def test_any_error_is_a_reason_and_the_next_edit_is_made(
    error: Exception, sentence: str, picture: bytes
) -> None:
    reason, following = described(error, picture)
    assert reason.startswith(sentence)
    assert "\n" not in reason
    assert following == {"sizes": [[16, 16]]}


def test_a_mistake_of_ours_is_in_the_log_with_its_place(
    picture: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        described(KeyError("odd"), picture)
        described(ValueError("a sentence"), picture)
    (record,) = caplog.records
    assert record.exc_info is not None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_who_ends_the_process_ends_it(error: BaseException, picture: bytes) -> None:
    with pytest.raises(type(error)):
        described(error, picture)


def test_after_too_little_memory_what_the_card_keeps_is_given_back(
    picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    monkeypatch.setattr(work, "_check_device", lambda *_: None)
    for kind, error in (("cpu", MemoryError()), ("cuda", ValueError()), ("cuda", MemoryError())):
        monkeypatch.setattr(Failing, "home", torch.device(kind))
        described(error, picture)
    assert emptied == [True]


def test_a_device_that_computes_nothing_any_more_ends_the_worker(picture: bytes) -> None:
    """A device after an illegal memory access; `meta` never computes."""
    pipeline: Any = Failing(RuntimeError("an illegal memory access"))
    pipeline.home = torch.device("meta")
    with pytest.raises(
        BrokenDeviceError, match="cannot compute any more after this: an illegal memory access"
    ):
        make(pipeline, JOB, [picture])


def test_names_and_pictures_that_do_not_belong_together(picture: bytes) -> None:
    pipeline: Any = Failing(ValueError())
    assert "zip() argument 2" in make(pipeline, {**JOB, "names": []}, [picture])[0]["error"]


def test_a_masked_line_is_that_edit_of_the_pipeline(
    folder: Path, lines: Callable[..., Path], pipeline: Pipeline
) -> None:
    """A line gives the pictures of its turns, bit for bit."""
    Image.new("RGB", (64, 64), "red").save(folder / "a.png")
    white = Image.new("L", (16, 16))
    white.paste(255, (0, 0, 8, 16))
    white.save(folder / "white.png")
    line = {"pictures": "a.png", "instructions": ["make it night", ""], "mask": "white.png", "id": "x"}
    settings = {"steps": 2, "strength": 0.5, "mu": 1, "solver": "heun", "feather": 4}
    edits, _ = read_edits(lines(line | settings), folder, {})
    jobs: list[tuple[dict[str, Any], Sequence[bytes]]] = []

    class Recording(Pretended):
        def edit(self, job: dict[str, Any], pictures: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
            jobs.append((json.loads(json.dumps(job)), pictures))
            return super().edit(job, pictures)

    with Store.opened(folder / "out") as store:
        Batch(edits, store, [lambda: Recording([])]).run()
    answer, files = make(pipeline, *jobs[0])
    assert answer == {"sizes": [[64, 64], [64, 64]]}

    mask = torch.zeros(16, 16)
    mask[:, :8] = 1
    options: Any = {"steps": 2, "strength": 0.5, "mu": 1, "solver": "heun", "feather_px": 4, "mask": mask}
    first = pipeline.edit("make it night", [from_file(folder / "a.png")], **options)
    for file, edit in zip(files, (first, pipeline.edit("", [first], **options)), strict=True):
        assert torch.equal(from_bytes(file, "it"), from_pil(to_pil(edit.image)))


def test_at_its_own_size_a_picture_keeps_its_transparency(pipeline: Any) -> None:
    stored, file = Image.new("RGBA", (40, 24), (10, 20, 30, 128)), BytesIO()
    stored.paste((200, 100, 50, 255), (0, 0, 20, 24))
    stored.save(file, "PNG")
    mask, white = BytesIO(), Image.new("L", (40, 24))
    white.paste(255, (0, 0, 10, 24))
    white.save(mask, "PNG")
    job = {**JOB, "settings": {"steps": 1, "size": "original"}, "names": ["a.png", "m.png"], "masked": True}
    answer, [result] = make(pipeline, job, [file.getvalue(), mask.getvalue()])
    assert answer == {"sizes": [[40, 24]]}
    picture = Image.open(BytesIO(result))
    assert picture.crop((10, 0, 40, 24)).tobytes() == stored.crop((10, 0, 40, 24)).tobytes()


@pytest.mark.parametrize("text", ["half \ud83c", "a\0b", "x" * 10_000])
def test_odd_words(text: str, picture: bytes, pipeline: Any) -> None:
    job = {**JOB, "instructions": [text]}
    assert make(pipeline, job, [picture])[0] == {"sizes": [[64, 64]]}


def test_a_model_that_cannot_be_loaded_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from kontext_core.batch.processes import receive, send, serve
    from kontext_core.batch.work import WorkerModel
    from kontext_core.model_spec import ModelSpec

    def load(_: WorkerModel) -> None:
        raise AttributeError("half a library")

    monkeypatch.setattr(WorkerModel, "load", load)
    asked, answered = BytesIO(), BytesIO()
    send(asked, WorkerModel(ModelSpec()).to_json(), [])
    asked.seek(0)
    serve(asked, answered)
    answered.seek(0)
    assert receive(answered)[0]["error"].startswith("AttributeError: half a library (a bug in this program")
