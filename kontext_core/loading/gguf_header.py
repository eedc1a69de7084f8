"""A GGUF file's header, looked over before anything is read by what it says.

Source of the format: ggml-org/ggml docs/gguf.md. Magic, version, counts, key-value pairs, tensors, padding, data.
"""

import math
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..errors import CheckpointError
from ..packed.gguf import BLOCKS
from .checkpoint import AGAIN, first_few

# Tensor types: number in the file, name; and what a block of each is: numbers, bytes.
TYPES: dict[int, str] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K",
    13: "Q5_K", 14: "Q6_K", 30: "BF16",
}  # fmt: skip
SIZES: dict[str, tuple[int, int]] = {"F32": (1, 4), "F16": (1, 2), "BF16": (1, 2), **BLOCKS}

_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # value type: bytes
_UINT32, _STRING, _ARRAY = 4, 8, 9
_VERSIONS = (2, 3)
_MOST_PAIRS = _MOST_TENSORS = 65_536
_LONGEST_NAME = 65_535  # bytes; the format's own limit
_MOST_AXES = 4
_ALIGNMENT = 32


class Stored(NamedTuple):
    name: str
    start: int
    end: int  # bytes from the beginning of the data


def check(path: Path) -> None:
    """Raises: CheckpointError in one sentence, where the header is damaged, or asks for what is not in the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = _Header(path, file, size)
        tensors, alignment = _walk(header)
        data = -(-file.tell() // alignment) * alignment
    end = 0
    for tensor in sorted(tensors, key=lambda one: one.start):
        if tensor.start % alignment:
            raise header.damaged(
                f"{tensor.name!r} begins at {tensor.start}, no multiple of its alignment {alignment}"
            )
        if tensor.start < end:
            raise header.damaged(f"{tensor.name!r} lies on top of another tensor")
        end = tensor.end
    if data + end > size:
        raise CheckpointError(f"{path} is cut off: it should be {data + end} bytes and is {size}; {AGAIN}")


class _Header:
    """Reads little-endian numbers and strings, never more than the file has."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self.path, self.file, self.size = path, file, size

    def damaged(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.path} is a damaged GGUF file: {what}")

    def bytes(self, count: int) -> bytes:
        if count > self.size - self.file.tell():
            raise CheckpointError(f"{self.path} is cut off within its header; {AGAIN}")
        return self.file.read(count)

    def skip(self, count: int) -> None:
        if count > self.size - self.file.tell():
            raise CheckpointError(f"{self.path} is cut off within its header; {AGAIN}")
        self.file.seek(count, 1)

    def number(self, width: int) -> int:
        return int.from_bytes(self.bytes(width), "little")

    def name(self) -> str:
        length = self.number(8)
        if not 0 < length <= _LONGEST_NAME:
            raise self.damaged(f"a name in it is {length} bytes long")
        try:
            return self.bytes(length).decode()
        except UnicodeDecodeError as error:
            raise self.damaged("a name in it is no text") from error


def _walk(header: _Header) -> tuple[list[Stored], int]:
    """All tensors, and the alignment of the data."""
    if header.bytes(4) != b"GGUF":
        raise header.damaged("it does not begin with 'GGUF'")
    version = header.number(4)
    if version not in _VERSIONS:
        big = int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS
        what = "is written in big-endian order" if big else f"is version {version} of GGUF"
        raise CheckpointError(f"{header.path} {what}; versions 2 and 3 in little-endian order can be read")
    count, pairs = header.number(8), header.number(8)
    if count > _MOST_TENSORS or pairs > _MOST_PAIRS:
        raise header.damaged(f"it would have {count} tensors and {pairs} pairs of key and value")
    alignment = _pairs(header, pairs)

    seen: set[str] = set()
    tensors = [_tensor(header) for _ in range(count)]
    for tensor in tensors:
        if tensor.name in seen:
            raise header.damaged(f"it has two tensors {tensor.name!r}")
        seen.add(tensor.name)
    return tensors, alignment


def _pairs(header: _Header, count: int) -> int:
    """Go past keys and values. Returns: the alignment that they say."""
    alignment = _ALIGNMENT
    seen: set[str] = set()
    for _ in range(count):
        key, kind = header.name(), header.number(4)
        if key in seen:
            raise header.damaged(f"it has two values of {key!r}")
        seen.add(key)
        if key == "general.alignment":
            alignment = header.number(4) if kind == _UINT32 else 0
            if alignment < 8 or alignment & (alignment - 1):
                raise header.damaged("its alignment is no power of two from 8 on")
            continue
        if kind == _ARRAY:
            kind, length = header.number(4), header.number(8)
            if kind in _SCALARS:
                header.skip(_SCALARS[kind] * length)
                continue
        else:
            length = 1
        for _ in range(length):
            _skip_value(header, key, kind)
    return alignment


def _skip_value(header: _Header, key: str, kind: int) -> None:
    if kind == _STRING:
        header.skip(header.number(8))
    elif kind in _SCALARS:
        header.skip(_SCALARS[kind])
    else:
        raise header.damaged(f"{key!r} has a value of unknown type {kind}")


def _tensor(header: _Header) -> Stored:
    name = header.name()
    axes = header.number(4)
    if not 0 < axes <= _MOST_AXES:
        raise header.damaged(f"{name!r} has {axes} axes")
    shape = [header.number(8) for _ in range(axes)]  # the fastest axis first
    kind, start = header.number(4), header.number(8)
    if kind not in TYPES:
        raise CheckpointError(
            f"{header.path}: {name!r} is stored as GGUF type {kind}, which is not supported; supported are "
            f"{first_few(TYPES.values(), len(TYPES))}"
        )
    numbers, size = SIZES[TYPES[kind]]
    if shape[0] % numbers:
        raise header.damaged(
            f"rows of {name!r} have {shape[0]} numbers, and blocks of {TYPES[kind]} {numbers}"
        )
    return Stored(name, start, start + math.prod(shape) // numbers * size)
