"""Turns that were made, kept while there is room: going back to one of several candidates computes nothing.

ComfyUI keeps the last result of a node alone, and newer versions drop that too as memory runs short.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import ref

import torch
from torch import Tensor

from ..kontext_core.errors import TooLittleMemoryError
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
        """Keep a turn, and let go of those that were not used for longest where it gets too many."""
        with self._lock:
            self._turns[key] = turn, tuple(notes)
            self._turns.move_to_end(key)
            held = sum(turn_bytes(kept) for kept, _ in self._turns.values())
            free = self._free()
            most = self._most if free is None else min(self._most, (held + free) // _SHARE)
            while held > most and self._turns:
                _, (dropped, _) = self._turns.popitem(last=False)
                held -= turn_bytes(dropped)

    def __len__(self) -> int:
        return len(self._turns)

    def clear(self) -> None:
        """Let go of all of them."""
        with self._lock:
            self._turns.clear()


def turn_bytes(turn: Turn) -> int:
    """What a turn takes by itself; its references are kept by those who gave them."""
    return turn.image.nbytes + (0 if turn.latents is None else turn.latents.nbytes)


def key_of(model: Editor, before: Turn | None, values: Mapping[str, Any]) -> Key:
    """The key of a turn: the model and the turn before by themselves, all else by what it holds.

    Args:
        model: that makes it.
        before: the turn before; None where a picture begins.
        values: what else the turn depends on: scalars, tensors, and dataclasses, lists and mappings of them.
    """
    digest = hashlib.blake2b(digest_size=16)
    _feed(digest, dict(values))
    return ref(model), None if before is None else ref(before), digest.digest()


def _feed(digest: Any, value: Any) -> None:
    """Feed a value to a digest, each of another kind or shape in another way."""
    if isinstance(value, Tensor):
        _feed(digest, ["tensor", str(value.dtype), list(value.shape)])
        flat = value.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    elif is_dataclass(value) and not isinstance(value, type):
        _feed(digest, [type(value).__name__, *(getattr(value, field.name) for field in fields(value))])
    elif isinstance(value, Mapping):
        entries: list[Any] = sorted(value.items())
        _feed(digest, ["mapping", *(part for entry in entries for part in entry)])
    elif isinstance(value, list | tuple):
        parts: Sequence[Any] = value
        digest.update(b"(%d" % len(parts))
        for part in parts:
            _feed(digest, part)
        digest.update(b")")
    else:
        digest.update(json.dumps(value).encode() + b",")


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
