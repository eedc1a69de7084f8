"""One thread at a time in a model: its visiting weights and its CUDA graphs' inputs are there once."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import nn


class ModelLock:
    """A lock that its thread may take again, and lends to other threads while a callback runs.

    So a callback may call the model, or wait for another thread that does.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._owner: int | None = None
        self._depth = 0
        self._lenders: list[int] = []

    def __enter__(self) -> None:
        self._take(idle=False)

    def __exit__(self, *_: object) -> None:
        self._give_back()

    @contextmanager
    def idle(self) -> Generator[None]:
        """Hold it when no other thread is in the middle of an edit, not even between two of its steps."""
        self._take(idle=True)
        try:
            yield
        finally:
            self._give_back()

    @contextmanager
    def lent(self) -> Generator[None]:
        """Let other threads have it meanwhile, however often this one took it."""
        own = threading.get_ident()
        with self._changed:
            depth = self._depth if self._owner == own else 0
            if depth:
                self._owner, self._depth = None, 0
                self._lenders.append(own)
                self._changed.notify_all()
        try:
            yield
        finally:
            if depth:
                self._take_back(own, depth)

    def _take(self, idle: bool) -> None:
        own = threading.get_ident()

        def is_free() -> bool:
            return self._owner in (None, own) and not (idle and set(self._lenders) - {own})

        with self._changed:
            self._changed.wait_for(is_free)
            self._owner, self._depth = own, self._depth + 1

    def _give_back(self) -> None:
        with self._changed:
            self._depth -= 1
            if not self._depth:
                self._owner = None
                self._changed.notify_all()

    def _take_back(self, own: int, depth: int) -> None:
        """Take a lent lock again. An interrupt counts afterwards: what holds the lock must end with it."""
        interrupt: KeyboardInterrupt | None = None
        with self._changed:
            while self._owner is not None:
                try:
                    self._changed.wait()
                except KeyboardInterrupt as error:
                    interrupt = error
            self._owner, self._depth = own, depth
            self._lenders.remove(own)
            self._changed.notify_all()
        if interrupt is not None:
            raise interrupt

    def __reduce__(self) -> tuple[type["ModelLock"], tuple[()]]:
        """A copy of a model has a lock of its own."""
        return ModelLock, ()


def lock_of(module: nn.Module) -> ModelLock:
    """Return the lock of a model's transformer: one and the same for all that hold or view it."""
    with _guard:
        lock = _locks.get(module)
        if lock is None:
            lock = _locks[module] = ModelLock()
        return lock


def share_lock(view: nn.Module, model: nn.Module) -> None:
    """Let a view of a model have the model's lock, as it has its weights."""
    lock = lock_of(model)
    with _guard:
        _locks[view] = lock


_guard = threading.Lock()
_locks: WeakKeyDictionary[nn.Module, ModelLock] = WeakKeyDictionary()
