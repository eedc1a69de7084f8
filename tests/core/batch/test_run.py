"""The queue: live workers make every edit once, and only missing ones are made again."""

import errno
import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kontext_core.batch.edits import read_edits
from kontext_core.batch.run import Batch
from kontext_core.batch.store import RESULTS, Store
from kontext_core.batch.work import WorkerDiedError
from tests.core.batch.conftest import Pretended


def run(path: Path, starts: list[Callable[[], Any]], **options: Any) -> Batch:
    edits, _ = read_edits(path, path.parent, {})
    with Store.opened(path.parent / "out") as store:
        batch = Batch(edits, store, starts, **options)
        batch.run()
    return batch


def results(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path.parent / "out" / RESULTS).read_text().splitlines()]


def twenty(lines: Callable[..., Path]) -> Path:
    return lines(*({"id": f"e{n}", "pictures": "a.png", "instructions": [f"do {n}"]} for n in range(20)))


def test_each_is_made_once_by_three_workers_that_die(lines: Callable[..., Path]) -> None:
    path, log, died = twenty(lines), [], set[str]()
    lock = threading.Lock()

    def dies(first: str) -> bool:
        with lock:
            if first in ("do 3", "do 4", "do 11") and first not in died:
                died.add(first)
                return True
        return False

    said: list[str] = []
    batch = run(path, [lambda: Pretended(log, dies)] * 3, report=said.append)
    assert (batch.made, batch.kept, batch.failed) == (20, 0, 0)
    assert Counter(log) == Counter(f"do {n}" for n in range(20))
    assert sorted(line["id"] for line in results(path)) == sorted(f"e{n}" for n in range(20))
    assert sum("its worker died while making it; it is tried again" in one for one in said) == 3
    assert (path.parent / "out" / "e7_turn1.png").read_bytes() == b"do 7"
    assert not list((path.parent / "out").glob("*.part"))


def test_a_second_run_makes_what_is_missing(lines: Callable[..., Path]) -> None:
    path, log = twenty(lines), []
    run(path, [lambda: Pretended(log)])
    out = path.parent / "out"
    (out / "e5_turn1.png").unlink()
    log.clear()
    batch = run(path, [lambda: Pretended(log)])
    assert (log, batch.made, batch.kept) == (["do 5"], 1, 19)

    changed = path.read_text().replace("do 9", "do something else")
    path.write_text(changed)
    (path.parent / "a.png").write_bytes(b"other pixels")
    log.clear()
    assert run(path, [lambda: Pretended(log)]).made == 20
    log.clear()
    assert run(path, [lambda: Pretended(log)], model="another").made == 20


def test_a_kill_while_a_line_is_written(lines: Callable[..., Path]) -> None:
    path, log = twenty(lines), []
    run(path, [lambda: Pretended(log)])
    results_file = path.parent / "out" / RESULTS
    whole = results_file.read_bytes()
    results_file.write_bytes(whole[:-30])
    (path.parent / "out" / ".e19_turn1.png.part").write_bytes(b"half")
    log.clear()
    batch = run(path, [lambda: Pretended(log)])
    assert (log, batch.kept) == (["do 19"], 19)
    assert not (path.parent / "out" / ".e19_turn1.png.part").exists()
    assert results_file.read_bytes().endswith(b"}\n")
    log.clear()
    assert run(path, [lambda: Pretended(log)]).kept == 20


def test_what_fails_is_said_and_the_rest_goes_on(lines: Callable[..., Path]) -> None:
    path, log = lines({"id": "x", "instructions": "refuse"}, {"id": "y", "instructions": "do it"}), []
    said: list[str] = []
    batch = run(path, [lambda: Pretended(log)], report=said.append)
    assert (batch.made, batch.failed, log) == (1, 1, ["do it"])
    assert said[0] == "1/2 x (line 1) failed: this cannot be done"
    assert results(path)[0]["error"] == "this cannot be done"
    assert run(path, [lambda: Pretended(log)]).failed == 1


def test_what_kills_every_worker_is_given_up(lines: Callable[..., Path]) -> None:
    path, log = lines({"id": "x", "instructions": "die"}, {"id": "y", "instructions": "do it"}), []
    started: list[Pretended] = []

    def start() -> Pretended:
        started.append(Pretended(log, lambda first: first == "die"))
        return started[-1]

    batch = run(path, [start], attempts=2)
    assert (batch.made, batch.failed, len(started)) == (1, 1, 3)
    assert results(path)[0]["error"] == "2 workers died while making it"
    assert all(one.closed for one in started)


@pytest.mark.parametrize(
    ("error", "raised", "sentence", "starts"),
    [
        (ValueError("there is no model x"), ValueError, "there is no model x", 1),
        (
            WorkerDiedError("it was killed"),
            RuntimeError,
            r"a worker died 3 times while it loaded the model; is there too little memory\? \(it was killed",
            3,
        ),
    ],
)
def test_a_model_that_does_not_load(
    lines: Callable[..., Path],
    error: Exception,
    raised: type[Exception],
    sentence: str,
    starts: int,
) -> None:
    class Unloadable(Pretended):
        def load(self) -> None:
            raise error

    tried: list[Unloadable] = []

    def start() -> Pretended:
        tried.append(Unloadable([]))
        return tried[-1]

    with pytest.raises(raised, match=sentence):
        run(twenty(lines), [start])
    assert [worker.closed for worker in tried] == [True] * starts


def test_an_interrupt_keeps_what_was_made(
    lines: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, log, begun, workers = twenty(lines), [], threading.Event(), list[Pretended]()
    join = threading.Thread.join

    class Slow(Pretended):
        ended = threading.Event()

        def edit(self, job: dict[str, Any], pictures: Any) -> tuple[dict[str, Any], list[bytes]]:
            if job["instructions"] == ["do 2"]:
                begun.set()
                assert self.ended.wait(60)
                raise WorkerDiedError
            return super().edit(job, pictures)

        def close(self) -> None:
            super().close()
            self.ended.set()

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        if timeout is not None and begun.is_set():
            raise KeyboardInterrupt
        join(thread, timeout)

    def start() -> Slow:
        workers.append(Slow(log))
        return workers[-1]

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(path, [start])
    assert (log, [one.closed for one in workers]) == (["do 0", "do 1"], [True])
    monkeypatch.undo()
    log.clear()
    assert run(path, [lambda: Pretended(log)]).made == 18


def test_two_batches_do_not_share_a_folder(tmp_path: Path) -> None:
    with Store.opened(tmp_path), pytest.raises(ValueError, match="another batch is running in"):
        Store.opened(tmp_path).__enter__()
    with Store.opened(tmp_path):
        pass


def test_a_disk_without_locks_is_no_other_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def lock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", lock)
    with Store.opened(tmp_path):
        pass


@pytest.mark.parametrize(
    "record",
    [
        {"pictures": []},
        {},
        {"pictures": ["none.png"]},
        {"pictures": ["a\0b"]},
        {"status": "failed", "pictures": ["x_turn1.png"]},
    ],
)
def test_records_that_name_no_pictures_are_of_nothing_made(
    lines: Callable[..., Path], record: dict[str, Any]
) -> None:
    path, log = lines({"id": "x", "instructions": "do it"}), []
    run(path, [lambda: Pretended(log)])
    key = results(path)[0]["key"]
    line = json.dumps({"id": "x", "status": "done", "key": key, **record})
    (path.parent / "out" / RESULTS).write_text("[" * 100_000 + "\n" + line + "\n")
    assert run(path, [lambda: Pretended(log)]).made == 1


def test_a_picture_that_cannot_be_read(lines: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = twenty(lines)
    picture = path.parent / "a.png"
    with picture.open("r+b") as file:
        file.truncate(2**30 + 1)
    said: list[str] = []
    log: list[str] = []
    assert run(path, [lambda: Pretended(log)], report=said.append).failed == 20
    assert f"a picture cannot be read ({picture} is 1.0 GiB; a picture may be at most 1 GiB)" in said[0]
    edits, _ = read_edits(path, path.parent, {})
    picture.unlink()
    with Store.opened(path.parent / "out") as store:
        batch = Batch(edits[:1], store, [lambda: Pretended(log)], report=said.append)
        batch.run()
    assert said[-1].endswith(f"a picture cannot be read ({picture}: No such file or directory)")
    assert log == []


def test_the_pictures_of_an_edit_are_bounded_together(lines: Callable[..., Path]) -> None:
    """A line may name the same picture any number of times."""
    path = lines({"id": "x", "instructions": "do it", "pictures": ["a.png"] * 12})
    picture = path.parent / "a.png"
    with picture.open("r+b") as file:
        file.truncate(100 * 2**20)  # a hole: it takes no room on the disk
    said: list[str] = []
    assert run(path, [lambda: Pretended([])], report=said.append).failed == 1
    assert (
        f"(up to {picture} they are 1.1 GiB; the pictures of an edit may be at most 1 GiB together)"
        in said[0]
    )
