"""A GGUF file's header, read and looked over before anything is done by what it says.

Source of the format: ggml-org/ggml docs/gguf.md. Magic, version, counts, key-value pairs, tensors, padding,
data.
"""

import math
import struct
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..errors import CheckpointError
from ..quant.gguf import BLOCK_SIZES
from .foreign import AGAIN
from .tensors import MOST_TENSORS, first_few

# Tensor types: number in the file, name; and what a block of each is: numbers, bytes. Source: ggml.h, enum
# ggml_type.
TYPES: dict[int, str] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL",
    21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 28: "F64", 29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0",
    39: "MXFP4", 40: "NVFP4",
}  # fmt: skip
SIZES: dict[str, tuple[int, int]] = {
    "F64": (1, 8),
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    **BLOCK_SIZES,
}

# Types that have a name and no use for weights here: old ones, those of activations, whole numbers, and those
# that are another order of one that is read.
_OTHER_TYPES = {
    4: "Q4_2", 5: "Q4_3", 9: "Q8_1", 15: "Q8_K", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 31: "Q4_0_4_4",
    32: "Q4_0_4_8", 33: "Q4_0_8_8", 36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8", 38: "IQ4_NL_8_8", 41: "Q1_0",
}  # fmt: skip

# Value types: number in the file, and how `struct` writes it.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_UINT32, _STRING, _ARRAY = 4, 8, 9
_VERSIONS = (2, 3)
_MOST_PAIRS = 65_536
_LONGEST_NAME = 65_535  # bytes; the format's own limit
_MOST_ENTRIES = 4_000_000  # of all lists together; a language model's vocabulary has up to a million
_LONGEST_LIST = 16  # a shape; what is longer, as vocabularies are, is passed over
_LONGEST_TEXT = 1_000_000  # bytes; likewise
_MOST_TEXT = 64 * 2**20  # bytes of all others together
_MOST_AXES = 4
_ALIGNMENT = 32


class Stored(NamedTuple):
    """A tensor.

    Args:
        start: bytes from the beginning of the data.
        end: likewise.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    start: int
    end: int


class Header(NamedTuple):
    """What a file says of itself.

    Args:
        values: by key; without long lists and texts.
        tensors: in the order of the file.
        data: where they begin, in bytes.
    """

    values: dict[str, Any]
    tensors: list[Stored]
    data: int


def read_header(path: Path) -> Header:
    """Read a header.

    Raises: CheckpointError in one sentence, where it is damaged, or asks for what is not in the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header = _Header(path, file, size)
        values, tensors, alignment = _walk(header)
        data = -(-file.tell() // alignment) * alignment
    end = 0
    for tensor in sorted(tensors, key=lambda entry: entry.start):
        if tensor.start % alignment:
            raise header.damaged(
                f"{tensor.name!r} begins at {tensor.start}, no multiple of its alignment {alignment}"
            )
        if tensor.start < end:
            raise header.damaged(f"{tensor.name!r} lies on top of another tensor")
        end = tensor.end
    if data + end > size:
        raise CheckpointError(f"{path} is cut off: it should be {data + end} bytes, but is {size}; {AGAIN}")
    return Header(values, tensors, data)


class _Header:
    """Reads little-endian numbers and strings, never more than the file has."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self.path, self.file, self.size = path, file, size
        self.text_bytes = 0  # of the values that are kept

    def damaged(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.path} is a damaged GGUF file: {what}")

    def ask(self, count: int) -> None:
        """Raises: CheckpointError if there are fewer bytes."""
        if count > self.size - self.file.tell():
            raise CheckpointError(f"{self.path} is cut off within its header; {AGAIN}")

    def bytes(self, count: int) -> bytes:
        self.ask(count)
        return self.file.read(count)

    def skip(self, count: int) -> None:
        self.ask(count)
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
            raise self.damaged("a name in it is not text") from error


def _walk(header: _Header) -> tuple[dict[str, Any], list[Stored], int]:
    """All values and tensors, and the alignment of the data."""
    if header.bytes(4) != b"GGUF":
        raise header.damaged("it does not begin with 'GGUF'")
    version = header.number(4)
    if version not in _VERSIONS:
        big = int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS
        what = "is written in big-endian order" if big else f"is version {version} of GGUF"
        raise CheckpointError(f"{header.path} {what}; versions 2 and 3 in little-endian order can be read")
    count, pairs = header.number(8), header.number(8)
    if count > MOST_TENSORS or pairs > _MOST_PAIRS:
        raise header.damaged(f"it would have {count} tensors and {pairs} pairs of key and value")
    values, alignment = _pairs(header, pairs)
    values |= {"GGUF.version": version, "GGUF.tensor_count": count, "GGUF.kv_count": pairs}

    seen: set[str] = set()
    tensors = [_tensor(header) for _ in range(count)]
    for tensor in tensors:
        if tensor.name in seen:
            raise header.damaged(f"it has two tensors {tensor.name!r}")
        seen.add(tensor.name)
    return values, tensors, alignment


def _pairs(header: _Header, count: int) -> tuple[dict[str, Any], int]:
    """Values by key, and the alignment that they say."""
    values: dict[str, Any] = {}
    entries = 0
    seen: set[str] = set()
    for _ in range(count):
        key, kind = header.name(), header.number(4)
        if key in seen:
            raise header.damaged(f"it has two values of {key!r}")
        seen.add(key)
        if key == "general.alignment" and kind != _UINT32:
            raise header.damaged(_WRONG_ALIGNMENT)
        if kind == _ARRAY:
            kind, length = header.number(4), header.number(8)
            header.ask(length * _least_bytes(header, key, kind))
            entries += length
            if entries > _MOST_ENTRIES:
                raise header.damaged(f"its lists have more than {_MOST_ENTRIES:,} entries")
            value = _list(header, key, kind, length)
        else:
            _least_bytes(header, key, kind)
            value = _value(header, key, kind)
        if value is not None:
            values[key] = value
    alignment = values.get("general.alignment", _ALIGNMENT)
    if alignment < 8 or alignment & (alignment - 1):
        raise header.damaged(_WRONG_ALIGNMENT)
    return values, alignment


_WRONG_ALIGNMENT = "its alignment is not a power of two of at least 8"


def _least_bytes(header: _Header, key: str, kind: int) -> int:
    """What a value takes at the least. Raises: CheckpointError if its type is not known."""
    if kind == _STRING:
        return 8
    if kind not in _SCALARS:
        raise header.damaged(f"{key!r} has a value of unknown type {kind}")
    return struct.calcsize(f"<{_SCALARS[kind]}")


def _list(header: _Header, key: str, kind: int, length: int) -> list[Any] | None:
    """A short list; None for a long one, which is passed over."""
    if length <= _LONGEST_LIST:
        return [_value(header, key, kind) for _ in range(length)]
    if kind in _SCALARS:
        header.skip(struct.calcsize(f"<{_SCALARS[kind]}") * length)
    else:
        for _ in range(length):
            header.skip(header.number(8))
    return None


def _value(header: _Header, key: str, kind: int) -> Any:
    """A number or a text; None for a long text."""
    if kind in _SCALARS:
        form = f"<{_SCALARS[kind]}"
        return struct.unpack(form, header.bytes(struct.calcsize(form)))[0]
    length = header.number(8)
    if length > _LONGEST_TEXT:
        header.skip(length)
        return None
    header.text_bytes += length
    if header.text_bytes > _MOST_TEXT:
        raise header.damaged(f"the texts in its header have more than {_MOST_TEXT // 2**20} MiB")
    try:
        return header.bytes(length).decode()
    except UnicodeDecodeError as error:
        raise header.damaged(f"the value of {key!r} is not text") from error


def _tensor(header: _Header) -> Stored:
    name = header.name()
    axes = header.number(4)
    if not 0 < axes <= _MOST_AXES:
        raise header.damaged(f"{name!r} has {axes} axes")
    shape = [header.number(8) for _ in range(axes)]  # the fastest axis first
    if 0 in shape:
        raise header.damaged(f"{name!r} has a side of no numbers")
    kind, start = header.number(4), header.number(8)
    if kind not in TYPES:
        title = f"{_OTHER_TYPES[kind]} (GGUF type {kind})" if kind in _OTHER_TYPES else f"GGUF type {kind}"
        raise CheckpointError(
            f"{header.path}: {name!r} is stored as {title}, which is not supported; take a file in Q8_0, "
            f"Q6_K, Q5_K, Q4_K or another of {first_few(TYPES.values(), len(TYPES))}"
        )
    numbers, size = SIZES[TYPES[kind]]
    if shape[0] % numbers:
        raise header.damaged(
            f"rows of {name!r} have {shape[0]} numbers, and blocks of {TYPES[kind]} {numbers}"
        )
    return Stored(
        name, TYPES[kind], tuple(reversed(shape)), start, start + math.prod(shape) // numbers * size
    )
