"""False headers, in safetensors and GGUF: one sentence, and no allocation by what they claim."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from kontext_core.errors import CheckpointError
from kontext_core.loading.checkpoint import open_checkpoint


def _safetensors(path: Path, header: str, data: bytes = b"", length: int | None = None) -> Path:
    encoded = header.encode()
    path.write_bytes(struct.pack("<Q", len(encoded) if length is None else length) + encoded + data)
    return path


def _entry(start: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": [(end - start) // 4], "data_offsets": [start, end]}


@pytest.mark.parametrize(
    ("header", "length", "said"),
    [
        ("{}", 99, "is cut off: its header alone should be 99 bytes"),
        ("{}", 2**63, "is cut off: its header alone should be"),
        (json.dumps({"a": _entry(0, 8), "b": _entry(4, 12)}), None, "'b' lies on top of another tensor"),
        (json.dumps({"a": _entry(0, 16), "b": _entry(4, 8)}), None, "'b' lies on top of another tensor"),
        (json.dumps({"a": _entry(0, 64)}), None, "is cut off: it should be"),
        (json.dumps({"a": _entry(0, 8) | {"shape": [1]}}), None, r"'a' is F32 of shape \[1\] in 8 bytes"),
        (json.dumps({"a": _entry(0, 8) | {"shape": [2**40, 2**40]}}), None, "in 8 bytes"),
        (json.dumps({"a": _entry(8, 0)}), None, "does not describe 'a'|in -8 bytes"),
        ('{"a": 1, "a": 2}', None, "the header of .* names 'a' twice"),
        (json.dumps({"a": _entry(0, 4, "F4")}), None, "'a' is stored as F4, which is not supported"),
    ],
)
def test_safetensors(tmp_path: Path, header: str, length: int | None, said: str) -> None:
    path = _safetensors(tmp_path / "x.safetensors", header, bytes(16), length)
    with pytest.raises(CheckpointError, match=said) as error:
        open_checkpoint(path)
    assert "\n" not in str(error.value)


def test_a_header_of_two_gigabytes(tmp_path: Path) -> None:
    path = _safetensors(tmp_path / "x.safetensors", "{", length=2**31)
    with path.open("r+b") as file:
        file.truncate(2**31 + 100)  # a hole: it takes no room on the disk
    with pytest.raises(
        CheckpointError, match="its header would be 2147483648 bytes, but 100000000 is the maximum"
    ):
        open_checkpoint(path)


def test_a_tensor_in_two_shards(write: Callable[..., Path], tmp_path: Path) -> None:
    import torch

    for name in ("one", "two"):
        write(f"m/{name}.safetensors", {"a": torch.ones(1), name: torch.ones(1)})
    index = {"weight_map": {"a": "one.safetensors", "one": "one.safetensors", "two": "two.safetensors"}}
    (tmp_path / "m" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="1 tensors are in more than one shard: a"):
        open_checkpoint(tmp_path / "m")


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _gguf(
    pairs: bytes = b"", n_pairs: int = 0, tensors: bytes = b"", n_tensors: int = 0, *, magic: bytes = b"GGUF",
    version: int = 3, data: bytes = b"",
) -> bytes:  # fmt: skip
    head = magic + struct.pack("<IQQ", version, n_tensors, n_pairs) + pairs + tensors
    return head + bytes(-len(head) % 32) + data


def _info(name: str = "a", shape: tuple[int, ...] = (32,), kind: int = 0, start: int = 0) -> bytes:
    return _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, start)


def _pair(key: str, kind: int, value: bytes) -> bytes:
    return _text(key) + struct.pack("<I", kind) + value


_ALIGNED = "general.alignment"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (_gguf(magic=b"GGUX"), "is not a safetensors file"),
        (_gguf(version=1), "is version 1 of GGUF; versions 2 and 3 in little-endian order can be read"),
        (_gguf(version=99), "is version 99 of GGUF"),
        (_gguf(version=3 << 24), "is written in big-endian order"),
        (_gguf()[:11], "is cut off within its header"),
        (_gguf(n_tensors=2**60), f"it would have {2**60} tensors and 0 pairs"),
        (_gguf(n_pairs=2**60), f"it would have 0 tensors and {2**60} pairs"),
        (_gguf(n_pairs=3), "a name in it is 0 bytes long|is cut off within its header"),
        (_gguf(struct.pack("<Q", 2**62), 1), f"a name in it is {2**62} bytes long"),
        (_gguf(_pair("a", 8, struct.pack("<Q", 2**62)), 1), "is cut off within its header"),
        (_gguf(_pair("a", 9, struct.pack("<IQ", 4, 2**60)), 1), "is cut off within its header"),
        (_gguf(_pair("a", 9, struct.pack("<IQ", 8, 2**60)), 1), "is cut off within its header"),
        (_gguf(_pair("a", 9, struct.pack("<IQ", 9, 2)), 1), "'a' has a value of unknown type 9"),
        (_gguf(_pair("a", 77, b""), 1), "'a' has a value of unknown type 77"),
        (_gguf(_pair("a", 4, bytes(4)) * 2, 2), "it has two values of 'a'"),
        (_gguf(struct.pack("<Q", 2) + b"\xff\xfe" + bytes(8), 1), "a name in it is not text"),
        *(
            (
                _gguf(_pair(_ALIGNED, 4, struct.pack("<I", number)), 1),
                "its alignment is not a power of two of at least 8",
            )
            for number in (0, 1, 24, 33)
        ),
        (_gguf(_pair(_ALIGNED, 8, _text("32")), 1), "its alignment is not a power of two"),
        *(
            (
                _gguf(tensors=_info(kind=kind), n_tensors=1),
                f"'a' is stored as {title}, which is not supported; take a file in Q8_0",
            )
            for kind, title in (
                (15, r"Q8_K \(GGUF type 15\)"),
                (26, r"I32 \(GGUF type 26\)"),
                (31, r"Q4_0_4_4 \(GGUF type 31\)"),
                (99, "GGUF type 99"),
            )
        ),
        (
            _gguf(_pair("a", 9, struct.pack("<IQ", 0, 4_000_001)) + bytes(4_000_001), 1),
            "its lists have more than 4,000,000 entries",
        ),
        (_gguf(_pair("a", 8, struct.pack("<Q", 2) + b"\xff\xfe"), 1), "the value of 'a' is not text"),
        (_gguf(tensors=_info(shape=(32, 0)), n_tensors=1), "'a' has a side of no numbers"),
        (_gguf(tensors=_info(shape=()), n_tensors=1), "'a' has 0 axes"),
        (_gguf(tensors=_info(shape=(1,) * 9), n_tensors=1), "'a' has 9 axes"),
        (
            _gguf(tensors=_info(shape=(33, 2), kind=8), n_tensors=1),
            "rows of 'a' have 33 numbers, and blocks of Q8_0 32",
        ),
        (_gguf(tensors=_info(start=7), n_tensors=1), "'a' begins at 7, no multiple of its alignment 32"),
        (_gguf(tensors=_info(start=2**60), n_tensors=1), "is cut off: it should be"),
        (_gguf(tensors=_info(shape=(2**40, 2**40)), n_tensors=1), "is cut off: it should be"),
        (_gguf(tensors=_info() + _info(start=128), n_tensors=2, data=bytes(256)), "it has two tensors 'a'"),
        (
            _gguf(tensors=_info() + _info("b", start=32), n_tensors=2, data=bytes(256)),
            "'b' lies on top of another",
        ),
        (
            _gguf(tensors=_info(), n_tensors=1, data=bytes(127)),
            "is cut off: it should be 192 bytes, but is 191",
        ),
    ],
)
def test_gguf(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=said) as error:
        open_checkpoint(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_good_gguf_header_by_hand_is_taken(tmp_path: Path) -> None:
    """The files above are valid apart from the fault that is tested."""
    numbers = np.arange(32, dtype=np.float32).tobytes()
    pairs = _pair(_ALIGNED, 4, struct.pack("<I", 64)) + _pair(
        "words", 9, struct.pack("<IQ", 8, 2) + _text("x") * 2
    )
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 2) + pairs + _info()
    (tmp_path / "x.gguf").write_bytes(head + bytes(-len(head) % 64) + numbers)
    checkpoint = open_checkpoint(tmp_path / "x.gguf")
    assert checkpoint.weights["a"].read().tolist() == list(range(32))
    assert gguf.GGUFReader(tmp_path / "x.gguf").alignment == 64
