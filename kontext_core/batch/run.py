"""The queue of a batch: every edit goes to one worker, and to another if that one dies."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from .edits import BatchEdit
from .store import Store
from .work import Worker, WorkerDiedError

Start = Callable[[], Worker]  # loads the model; raises as the workers' classes do


class Batch:
    """Edits that are to be made, and what became of them.

    Args:
        starts: one for each worker. attempts: how many workers an edit may outlive before it counts as failed.
        model: what the results depend on beside the lines. report: takes a sentence for each thing that happens.
    """

    def __init__(
        self,
        edits: Sequence[BatchEdit],
        store: Store,
        starts: Sequence[Start],
        *,
        model: str = "",
        attempts: int = 3,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.made = self.kept = self.failed = 0
        self._edits, self._total = deque(edits), len(edits)
        self._store, self._starts = store, starts
        self._model, self._attempts, self._report = model, attempts, report
        self._lock = threading.Lock()
        self._workers: list[Worker] = []
        self._stopped = False
        self._fault: BaseException | None = None

    def run(self) -> None:
        """Until nothing is left to do.

        Raises: ValueError, RuntimeError or OSError if no worker can be started or no result kept; KeyboardInterrupt. What
            was made until then is kept.
        """
        threads = [
            threading.Thread(target=self._serve, args=(start,), daemon=True)
            for start in self._starts[: max(len(self._edits), 1)]
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)  # an interrupt is seen in between
        finally:
            self._stop()
            for thread in threads:
                thread.join()
        if self._fault is not None:
            raise self._fault

    def _serve(self, start: Start) -> None:
        worker: Worker | None = None
        try:
            while not self._stopped and (edit := self._take()) is not None:
                try:
                    pictures = [path.read_bytes() for path in edit.pictures]
                except OSError as error:
                    self._keep(edit, "", {"error": f"a picture cannot be read ({error})"}, [])
                    continue
                key = edit.key(pictures, self._model)
                if self._store.has(edit.id, key):
                    with self._lock:
                        self.kept += 1
                    continue
                worker = self._make(edit, key, pictures, worker, start)
        except BaseException as error:
            with self._lock:
                self._fault = self._fault or error
            self._stop()

    def _make(
        self, edit: BatchEdit, key: str, pictures: list[bytes], worker: Worker | None, start: Start
    ) -> Worker | None:
        """Have an edit made and keep what comes of it. Returns the worker for the next one."""
        job = {
            "instructions": list(edit.instructions),
            "settings": dict(edit.settings),
            "names": [path.name for path in edit.pictures],
        }
        for attempt in range(1, self._attempts + 1):
            if worker is None:
                worker = self._started(start)
            try:
                answer, made = worker.edit(job, pictures)
            except WorkerDiedError:
                self._gone(worker)
                worker = None
                if self._stopped:
                    return None
                again = "it is made again" if attempt < self._attempts else "it is given up"
                self._report(f"{edit.id}: its worker died in the middle of it; {again}")
                continue
            self._keep(edit, key, answer, made)
            return worker
        self._keep(edit, key, {"error": f"{self._attempts} workers died in the middle of it"}, [])
        return None

    def _started(self, start: Start) -> Worker:
        for attempt in range(1, self._attempts + 1):
            try:
                worker = start()
            except WorkerDiedError as error:
                if attempt == self._attempts or self._stopped:
                    raise RuntimeError(
                        f"a worker died {attempt} times while it loaded the model; is there too little memory?"
                    ) from error
                continue
            with self._lock:
                self._workers.append(worker)
            if self._stopped:
                worker.close()
            return worker
        raise AssertionError

    def _keep(self, edit: BatchEdit, key: str, answer: dict[str, Any], made: Sequence[bytes]) -> None:
        record = {"line": edit.line, "key": key, "seed": edit.settings.get("seed", 0)}
        with self._lock:
            if "error" in answer:
                self.failed += 1
                self._store.failed(edit.id, answer["error"], record)
                said = f"failed: {answer['error']}"
            else:
                self.made += 1
                paths = self._store.done(edit.id, made, {**record, "sizes": answer["sizes"]})
                said = f"-> {paths[-1]}"
            count = self.made + self.kept + self.failed
        self._report(f"{count}/{self._total} {edit.id} (line {edit.line}) {said}")

    def _take(self) -> BatchEdit | None:
        with self._lock:
            return self._edits.popleft() if self._edits else None

    def _gone(self, worker: Worker) -> None:
        worker.close()
        with self._lock:
            self._workers.remove(worker)

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            workers = list(self._workers)
        for worker in workers:
            worker.close()
