"""PNG files chunk by chunk, without Pillow's limits on text, which are global and shared with the host.

Source: PNG Specification, third edition, sections 5.3 (chunks) and 11.3.3 (text).
"""

import struct
import zlib
from collections.abc import Collection, Generator
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXT_KINDS = frozenset((b"tEXt", b"zTXt", b"iTXt"))
MOST_INFLATED = 2**20  # bytes of a text that is kept deflated, as in Pillow
_MOST_CHUNKS = 1_000_000  # of 8 KiB each, as libpng writes them, that is a picture of 8 GB


class Chunk(NamedTuple):
    """One chunk of a PNG file.

    Args:
        start, length: of its data, in bytes of the file.
    """

    kind: bytes
    start: int
    length: int

    @property
    def stop(self) -> int:
        """Where the next chunk begins, behind the check sum."""
        return self.start + self.length + 4


class Png:
    """A PNG file's bytes, its chunks found and none of them opened.

    Raises: ValueError if it is no PNG file, or its end is missing.
    """

    def __init__(self, data: bytes) -> None:
        self._file, self._data = data, memoryview(data)
        if not is_png(data):
            raise ValueError("it has no PNG signature")
        self.chunks = tuple(self._walk())
        if not self.chunks or self.chunks[0].kind != b"IHDR" or self.chunks[0].length != 13:
            raise ValueError("it has no header")

    @property
    def size_px(self) -> tuple[int, int]:
        """(height, width) as the header says."""
        width, height = struct.unpack(">II", self.data(self.chunks[0])[:8])
        return height, width

    def data(self, chunk: Chunk) -> bytes:
        return bytes(self._data[chunk.start : chunk.start + chunk.length])

    def first(self, kind: bytes) -> bytes | None:
        """The data of the first chunk of a kind; None if there is none."""
        return next((self.data(chunk) for chunk in self.chunks if chunk.kind == kind), None)

    def without(self, kinds: Collection[bytes]) -> bytes:
        """The file without the chunks of these kinds."""
        if all(chunk.kind not in kinds for chunk in self.chunks):
            return self._file
        kept = [self._data[chunk.start - 8 : chunk.stop] for chunk in self.chunks if chunk.kind not in kinds]
        return b"".join((SIGNATURE, *kept))

    def text(self, keyword: str, most_bytes: int) -> str | None:
        """The last text under a keyword; None if there is none.

        Raises: ValueError if it is longer than `most_bytes`, or damaged.
        """
        start = keyword.encode("latin-1") + b"\0"
        for chunk in reversed(self.chunks):
            head = bytes(self._data[chunk.start : chunk.start + min(len(start), chunk.length)])
            if chunk.kind in TEXT_KINDS and head == start:
                if chunk.length > most_bytes:
                    raise ValueError(
                        f"its text {keyword!r} has {chunk.length} bytes, but {most_bytes} is the maximum"
                    )
                return self._decoded(chunk, len(start))
        return None

    def _decoded(self, chunk: Chunk, start: int) -> str:
        data = self.data(chunk)
        if zlib.crc32(data, zlib.crc32(chunk.kind)) != int.from_bytes(
            self._data[chunk.stop - 4 : chunk.stop], "big"
        ):
            raise ValueError(f"its {chunk.kind.decode()} chunk does not match its check sum")
        if chunk.kind == b"tEXt":
            return data[start:].decode("latin-1")
        if chunk.kind == b"zTXt":
            return _inflated(data[start + 1 :]).decode("latin-1")
        deflated = data[start : start + 1] == b"\1"
        body = data[start + 2 :].split(b"\0", 2)[-1]  # behind a language and the keyword in it
        return (_inflated(body) if deflated else body).decode("utf-8")

    def _walk(self) -> Generator[Chunk]:
        place = len(SIGNATURE)
        for _ in range(_MOST_CHUNKS):
            head = self._data[place : place + 8]
            if len(head) < 8:
                raise ValueError("its end is missing")
            chunk = Chunk(bytes(head[4:]), place + 8, int.from_bytes(head[:4], "big"))
            if chunk.stop > len(self._data):
                raise ValueError("its end is missing")
            yield chunk
            if chunk.kind == b"IEND":
                return
            place = chunk.stop
        raise ValueError(f"it has more than {_MOST_CHUNKS} chunks")


def is_png(head: bytes) -> bool:
    """Whether a file begins as a PNG does."""
    return head.startswith(SIGNATURE)


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(data, MOST_INFLATED)
    except zlib.error as error:
        raise ValueError(f"its deflated text is damaged: {error}") from error
    if not inflater.eof:
        raise ValueError(f"its deflated text is cut off, or has more than {MOST_INFLATED} bytes")
    return text
