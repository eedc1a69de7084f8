"""The queue of a batch: every edit goes to one worker, and to another if that one dies."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..checks.sentences import sentence
from .edits import BatchEdit
from .store import EarlierModel, Store
from .work import Worker, WorkerDiedError

Start = Callable[[], Worker]


_LARGEST_BYTES = 2**30  # of the files of an edit's pictures, together


class Batch:
    """Edits that are to be made, and what became of them.

    Args:
        starts: one for each worker.
        attempts: how many workers an edit may outlive before it counts as failed.
        model: what the results depend on beside the lines.
        earlier: how versions before this one put it.
        report: takes a sentence for each thing that happens.
    """

    def __init__(
        self,
        edits: Sequence[BatchEdit],
        store: Store,
        starts: Sequence[Start],
        *,
        model: str = "",
        earlier: EarlierModel | None = None,
        attempts: int = 3,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.made = self.kept = self.failed = 0
        self._edits, self._total = deque(edits), len(edits)
        self._store, self._starts = store, starts
        self._model, self._earlier = model, earlier
        self._attempts, self._report = attempts, report
        self._warned = False
        self._lock = threading.Lock()
        self._workers: list[Worker] = []
        self._stopped = False
        self._fault: BaseException | None = None

    def run(self) -> None:
        """Until nothing is left to do.

        Raises: ValueError, RuntimeError or OSError if no worker can be started or no result kept;
            KeyboardInterrupt. What was made until then is kept.
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
                    pictures = _read(edit.files)
                except OSError as error:
                    self._keep(edit, "", {"error": f"a picture cannot be read ({sentence(error)})"}, [])
                    continue
                key = edit.key(pictures, self._model)
                if self._is_kept(edit, key, pictures):
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
            "names": [path.name for path in edit.files],
            "masked": edit.mask is not None,
        }
        reason = ""
        for attempt in range(1, self._attempts + 1):
            if worker is None:
                worker = self._started(start)
            try:
                answer, results = worker.edit(job, pictures)
            except WorkerDiedError as error:
                self._gone(worker)
                worker = None
                if self._stopped:
                    return None
                if str(error):
                    reason = f"; the last one: {error}"
                    self._report(f"{edit.id}: {error}")
                again = "it is tried again" if attempt < self._attempts else "no further attempt is made"
                self._report(f"{edit.id}: its worker died while making it; {again}")
                continue
            self._keep(edit, key, answer, results)
            return worker
        fault = f"{self._attempts} workers died while making it{reason}"
        self._keep(edit, key, {"error": fault}, [])
        return None

    def _is_kept(self, edit: BatchEdit, key: str, pictures: list[bytes]) -> bool:
        """Say whether this edit was made before, by this version or an earlier one."""
        with self._lock:
            known, earlier = self._store.has(edit.id, key), self._earlier
            if not known and earlier is not None:
                known = self._store.has_since(edit.id, edit.key(pictures, earlier.name), earlier.changed_ns)
                if known:
                    self._store.renew(edit.id, key)
            if known:
                self.kept += 1
                return True
            warn = not self._warned and self._store.has_other(edit.id)
            self._warned |= warn
        if warn:
            self._report(
                f"{edit.id} was made before, but its line, a picture, the model or a LoRA has changed since: "
                "it is tried again, and so is every other edit that this concerns"
            )
        return False

    def _started(self, start: Start) -> Worker:
        for attempt in range(1, self._attempts + 1):
            worker = start()
            with self._lock:
                self._workers.append(worker)  # before it loads, so that an interrupt ends it then too
                stopped = self._stopped
            try:
                if stopped:
                    raise WorkerDiedError
                worker.load()
            except WorkerDiedError as error:
                self._gone(worker)
                if attempt == self._attempts or self._stopped:
                    reason = f" ({error})" if str(error) else ""
                    raise RuntimeError(
                        f"a worker died {attempt} times while it loaded the model; is there too little memory?"
                        f"{reason}"
                    ) from error
            except BaseException:
                self._gone(worker)
                raise
            else:
                return worker
        raise AssertionError

    def _keep(self, edit: BatchEdit, key: str, answer: dict[str, Any], results: Sequence[bytes]) -> None:
        record = {"line": edit.line, "key": key, "seed": edit.settings.get("seed", 0)}
        with self._lock:
            if "error" in answer:
                self.failed += 1
                self._store.failed(edit.id, answer["error"], record)
                outcome = f"failed: {answer['error']}"
            else:
                self.made += 1
                paths = self._store.done(edit.id, results, {**record, "sizes": answer["sizes"]})
                outcome = f"-> {paths[-1]}"
            count = self.made + self.kept + self.failed
        self._report(f"{count}/{self._total} {edit.id} (line {edit.line}) {outcome}")

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


def _read(paths: Sequence[Path]) -> list[bytes]:
    """Read the files of an edit's pictures. Raises: OSError, also about what is too large to be pictures."""
    size = 0
    for path in paths:
        size += (own := path.stat().st_size)
        if own > _LARGEST_BYTES:
            raise OSError(f"{path} is {own / 2**30:.1f} GiB; a picture may be at most 1 GiB")
        if size > _LARGEST_BYTES:
            raise OSError(
                f"up to {path} they are {size / 2**30:.1f} GiB; the pictures of an edit may be at most 1 GiB "
                "together"
            )
    return [path.read_bytes() for path in paths]
