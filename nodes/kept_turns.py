"""Turns that were made, kept while there is room: going back to one of several candidates computes nothing.

ComfyUI keeps the last result of a node alone, and newer versions drop that too as memory runs short.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from os import urandom
from threading import Lock
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from torch import Tensor

from ..kontext_core.errors import TooLittleMemoryError
from ..kontext_core.images.encoded import content_digest
from .host.memory import free_host_bytes
from .host.outputs import collect_warnings

if TYPE_CHECKING:
    from ..kontext_core.chain import Chain, Turn
    from ..kontext_core.editor import Editor

MOST_BYTES = 2 << 30  # 150 turns of 1024 x 1024 pixels
_SHARE = 4  # of what would be free without them, a fourth

Key = tuple[object, ...]


class KeptTurns:
    """Turns by what they were made of, the last ones used.

    Args:
        most_bytes: that they may take together.
        free: asks for the bytes that are free beside them; None: nobody knows.
    """

    def __init__(
        self, most_bytes: int = MOST_BYTES, free: Callable[[], int | None] = free_host_bytes
    ) -> None:
        self._most, self._free = most_bytes, free
        self._turns: OrderedDict[Key, tuple[Turn, tuple[str, ...]]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Key) -> tuple[Turn, tuple[str, ...]] | None:
        """Return the turn that was made of the same, and what was said of it then."""
        with self._lock:
            entry = self._turns.get(key)
            if entry is not None:
                self._turns.move_to_end(key)
            return entry

    def put(self, key: Key, turn: Turn, notes: Sequence[str] = ()) -> None:
        """Keep a turn; let go of those that nothing can ask for, and of the least recently used."""
        with self._lock:
            self._turns[key] = turn, tuple(notes)
            self._turns.move_to_end(key)
            for other in [other for other in self._turns if _is_gone(other)]:
                del self._turns[other]
            held, free = self._bytes(), self._free()
            most = self._most if free is None else min(self._most, (held + free) // _SHARE)
            while self._turns and self._bytes() > most:
                self._turns.popitem(last=False)

    def _bytes(self) -> int:
        """Count what all turns take, each tensor once: candidates share their references."""
        tensors = {id(tensor): tensor for turn, _ in self._turns.values() for tensor in _tensors(turn)}
        return sum(tensor.nbytes for tensor in tensors.values())

    def __len__(self) -> int:
        return len(self._turns)

    def clear(self) -> None:
        """Let go of all of them."""
        with self._lock:
            self._turns.clear()


def _tensors(turn: Turn) -> list[Tensor]:
    patch = () if turn.patch is None else (turn.patch.pixels, turn.patch.share)
    parts = (turn.image, turn.latents, turn.blend, *patch, *turn.references)
    return [part for part in parts if part is not None]


def _is_gone(key: Key) -> bool:
    """Tell whether the model of a turn, or the turn before it, is there no more."""
    return any(isinstance(part, ref) and part() is None for part in key)


def key_of(model: Editor, before: Turn | None, values: Mapping[str, Any]) -> Key:
    """The key of a turn: the model and the turn before by themselves, all else by what it holds.

    Args:
        model: that makes it.
        before: the turn before; None where a picture begins.
        values: what else the turn depends on: scalars, tensors, and dataclasses, lists and mappings of them.
            With anything else in them, as another pack may put into a LATENT, no two keys are the same.
    """
    digest = hashlib.blake2b(digest_size=16)
    _feed(digest, values)
    return ref(model), None if before is None else ref(before), digest.digest()


def _feed(digest: Any, value: Any) -> None:
    """Feed a value to a digest, each of another kind or shape in another way."""
    if isinstance(value, Tensor):
        _feed(digest, ["tensor", str(value.dtype), *value.shape, content_digest(value).hex()])
    elif is_dataclass(value) and not isinstance(value, type):
        _feed(digest, [type(value).__name__, *(getattr(value, field.name) for field in fields(value))])
    elif isinstance(value, Mapping):
        entries = sorted(cast("Mapping[Any, Any]", value).items(), key=lambda entry: str(entry[0]))
        _feed(digest, ["mapping", *(part for entry in entries for part in entry)])
    elif isinstance(value, list | tuple):
        parts: Sequence[Any] = value
        digest.update(b"(%d" % len(parts))
        for part in parts:
            _feed(digest, part)
        digest.update(b")")
    elif isinstance(value, bytes):
        _feed(digest, ["bytes", value.hex()])
    elif value is None or isinstance(value, str | int | float):
        digest.update(json.dumps(value).encode() + b",")
    else:
        digest.update(urandom(16))


def branches(
    model: Editor,
    chain: Chain,
    values: Mapping[str, Any],
    seeds: Sequence[int],
    make: Callable[[Sequence[int]], Sequence[Chain]],
) -> tuple[list[Chain], list[str]]:
    """Go on from a chain with one more turn, once for each seed; those that are kept are not made again.

    Args:
        model: that makes the turns.
        chain: to go on from.
        values: what else they depend on, see `key_of`.
        seeds: of the turns.
        make: makes the chains with one more turn of the seeds that are left, in one batch.
    Returns: a chain for each seed, and what there is to be said of them.
    Raises: as `make`.
    """
    keys = {seed: key_of(model, chain.last, {**values, "seed": seed}) for seed in seeds}
    turns = {seed: entry for seed, key in keys.items() if (entry := kept_turns.get(key)) is not None}
    if missing := [seed for seed in keys if seed not in turns]:
        with collect_warnings() as messages:
            new = _in_batches(make, missing)
        for seed, branch in zip(missing, new, strict=True):
            turns[seed] = branch.last, tuple(messages)
            kept_turns.put(keys[seed], *turns[seed])
    notes = dict.fromkeys(note for seed in seeds for note in turns[seed][1])
    return [chain.extended(turns[seed][0]) for seed in seeds], list(notes)


def _in_batches(make: Callable[[Sequence[int]], Sequence[Chain]], seeds: Sequence[int]) -> list[Chain]:
    """Make a turn for each seed, in halves of the batch where the memory is too small for it."""
    try:
        return list(make(seeds))
    except TooLittleMemoryError:
        if len(seeds) == 1:
            raise
    half = len(seeds) // 2
    return [*_in_batches(make, seeds[:half]), *_in_batches(make, seeds[half:])]


kept_turns = KeptTurns()
