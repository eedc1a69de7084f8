"""Workers that die report why; an interrupt stops those that are still loading."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kontext_core.batch import processes
from kontext_core.batch.edits import read_edits
from kontext_core.batch.processes import ProcessWorker
from kontext_core.batch.run import Batch
from kontext_core.batch.store import Store
from kontext_core.batch.work import WorkerDiedError, WorkerModel
from kontext_core.model_spec import ModelSpec
from tests.core.batch.conftest import Pretended

unix = pytest.mark.skipif(os.name == "nt", reason="no signal ends a process there")

ANSWER = """
import json, os, sys, time
def answer(message):
    length = int.from_bytes(sys.stdin.buffer.read(8), "big")
    sys.stdin.buffer.read(length)
    text = json.dumps({"message": message, "blobs": []}).encode()
    sys.stdout.buffer.write(len(text).to_bytes(8, "big") + text)
    sys.stdout.buffer.flush()
"""


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ProcessWorker]:
    """`worker(code)`: one whose process runs these lines, which know how to `answer`."""
    popen = subprocess.Popen

    def make(code: str, **options: Any) -> ProcessWorker:
        monkeypatch.setattr(
            processes.subprocess,
            "Popen",
            lambda _, **given: popen([sys.executable, "-c", ANSWER + code], **given),
        )
        return ProcessWorker(WorkerModel(ModelSpec()), **options)

    return make


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (
            "sys.exit('no room for CUDA')",
            "a worker ended with exit code 1; its last output: no room for CUDA",
        ),
        (
            "raise KeyError('x')",
            r"ended with exit code 1; its last output: .*line \d+, in <module> / .*KeyError: 'x'$",
        ),
        pytest.param(
            "os.kill(os.getpid(), 9)",
            "^a worker was killed, as the system does when memory runs out$",
            marks=unix,
        ),
        pytest.param("os.kill(os.getpid(), 6)", "^a worker was ended by signal 6$", marks=unix),
        (
            "sys.stderr.write('x' * 100_000 + ' the end'); sys.exit(2)",
            "exit code 2; its last output: x{300,} the end$",
        ),
    ],
)
def test_why_it_died(code: str, sentence: str, worker: Callable[..., ProcessWorker]) -> None:
    for ask in (lambda one: one.load(), lambda one: one.edit({}, [])):
        with pytest.raises(WorkerDiedError, match=sentence) as error:
            ask(worker(code))
        assert len(str(error.value)) < 600
        assert "\n" not in str(error.value)


def test_it_may_say_a_lot_and_lives(
    worker: Callable[..., ProcessWorker], capfd: pytest.CaptureFixture[str]
) -> None:
    for heard in (False, True):
        one = worker("answer({}); sys.stderr.write('much ' * 200_000); answer({'sizes': []})", heard=heard)
        one.load()
        assert one.edit({}, []) == ({"sizes": []}, [])
        one.close()
        one._words.join()
        assert ("much much" in capfd.readouterr().err) == heard


def test_the_last_words_come_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are kept even if nobody reads the output."""
    reader, writer = os.pipe()
    words = processes._Words(os.fdopen(reader, "rb"), heard=True)
    monkeypatch.setattr(processes.os, "write", refuse := Refusing())
    words.start()
    for number, line in enumerate((b"first\n", b"second\n"), start=1):
        refuse.write(writer, line)
        while refuse.asked < number:
            assert words.is_alive()
    os.close(writer)
    words.join()
    assert words.last() == "first / second"


class Refusing:
    """Stand in for `os.write` after the reader has gone."""

    write = staticmethod(os.write)
    asked = 0

    def __call__(self, *_: object) -> None:
        self.asked += 1
        raise BrokenPipeError


@unix
def test_what_is_no_answer_ends_it(
    worker: Callable[..., ProcessWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_PATIENCE_S", 0.01)
    one = worker("sys.stdout.buffer.write(bytes(7) + b'\\1x'); sys.stdout.flush(); time.sleep(600)")
    with pytest.raises(WorkerDiedError, match="did not answer as it should and was stopped"):
        one.load()
    assert one.process.poll() == -signal.SIGKILL


def results(path: Path, starts: list[Callable[[], Any]], said: list[str], **options: Any) -> str:
    edits, _ = read_edits(path, path.parent, {})
    with Store.opened(path.parent / "out") as store:
        Batch(edits, store, starts, report=said.append, **options).run()
    return (path.parent / "out" / "results.jsonl").read_text()


def test_the_reason_is_said_and_kept(lines: Callable[..., Path]) -> None:
    class Dying(Pretended):
        def edit(self, *_: Any) -> Any:
            raise WorkerDiedError("a worker ended with exit code 7")

    said: list[str] = []
    text = results(lines({"id": "x", "instructions": "y"}), [lambda: Dying([])], said, attempts=2)
    assert "2 workers died while making it; the last one: a worker ended with exit code 7" in text
    assert said[:2] == [
        "x: a worker ended with exit code 7",
        "x: its worker died while making it; it is tried again",
    ]


def test_an_interrupt_while_a_model_loads_ends_its_worker(
    lines: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loading, closed, workers = threading.Event(), threading.Event(), list[Pretended]()
    join = threading.Thread.join

    class Slow(Pretended):
        def load(self) -> None:
            loading.set()
            assert closed.wait(60), "nobody ended it"
            raise WorkerDiedError

        def close(self) -> None:
            super().close()
            closed.set()

    def start() -> Slow:
        workers.append(Slow([]))
        return workers[-1]

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        if timeout is not None and loading.wait(60):
            raise KeyboardInterrupt
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        results(lines({"id": "x", "instructions": "y"}), [start], [])
    assert [worker.closed for worker in workers] == [True]


@unix
def test_a_crash_says_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A real worker, in which a library fails while loading."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nfrom kontext_core.batch.work import WorkerModel\n"
        "WorkerModel.load = lambda self: os.abort()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(
        WorkerDiedError, match=r"was ended by signal 6; its last output: .*sitecustomize|signal 6;"
    ):
        ProcessWorker(WorkerModel(ModelSpec())).load()
    assert os.environ["PYTHONPATH"] == str(tmp_path)
