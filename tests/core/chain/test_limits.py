"""Limits of a chain's files, checked before any memory is taken; the writer keeps to them."""

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageFile

from kontext_core.chain import (
    Chain,
    Turn,
    file,
    latents_file,
    limits,
    load_chain,
    record,
    save_chain,
    thumbnails,
)
from kontext_core.chain.latents_file import KEY
from kontext_core.images.picture_files import from_file

from .conftest import photo, preview

Lineage = dict[str, Any]
Make = Callable[..., Lineage]
Write = Callable[..., Path]


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that nothing is decoded: files are refused by their header."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))


def long(turns: int, side: int = 64, references: int = 0) -> Chain:
    """Make a chain of any length from a few repeated pictures."""
    pictures = [photo(seed, side) for seed in range(4)]
    return Chain(
        tuple(
            Turn(pictures[i % 4], instruction=f"turn {i}", references=tuple(pictures[:references]))
            for i in range(turns)
        )
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"thumbnail": preview(5000, 5000)}, "a preview is 5000 x 5000 px, but 256 px a side is the maximum"),
        ({"thumbnail": preview(257, 1)}, "a preview is 257 x 1 px"),
        ({"thumbnail": preview(20_000, 20_000)}, "a preview is far larger than 256 px a side"),
        ({"references": [preview(16, 16), preview(16, 300)]}, "a preview is 16 x 300 px"),
        ({"references": [preview(16, 16)] * 257}, "a list has 257 values and 0 to 256 are allowed"),
        ({"thumbnail": preview(64, 64, "PNG")}, "a preview is not a JPEG"),
        ({"thumbnail": "no base64"}, "a preview is not a JPEG"),
    ],
)
def test_previews_that_nobody_wrote_are_refused_unopened(
    lineage: Make, write: Write, changes: Lineage, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(lineage(**changes))
    monkeypatch.setattr(thumbnails, "_decode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ValueError, match=rf"^the edit chain in a\.png is damaged at turn 1: {sentence}"):
        load_chain(path)


def test_the_largest_preview_is_taken(lineage: Make, write: Write) -> None:
    assert load_chain(write(lineage(thumbnail=preview(256, 256)))).turns[1].image.shape == (1, 256, 256, 3)


def test_a_large_picture_is_refused_unopened(lineage: Make, write: Write, sealed: None) -> None:
    """An empty picture of 13,000 x 13,000 px takes 0.2 MiB in the file, and 2 GB as a tensor."""
    path = write(lineage(), size=(13_000, 13_000), mode="L")
    assert path.stat().st_size < 2**18
    with pytest.raises(
        ValueError, match=r"^a\.png is too large a picture, 13000 x 13000 px; 34 million pixels"
    ):
        load_chain(path)


def test_a_large_picture_is_not_written(
    short: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "MOST_PICTURE_PIXELS", 16 * 16)
    save_chain(short, tmp_path / "a.png")
    load_chain(tmp_path / "a.png")
    wide = Chain((*short.turns, Turn(torch.zeros(1, 16, 17, 3))))
    with pytest.raises(
        ValueError,
        match=r"^the chain cannot be saved as b\.png: its last picture is too large a picture, 17 x 16 px",
    ):
        save_chain(wide, tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_a_deflated_text_is_read_as_far_as_pillow_does(lineage: Make, write: Write, kind: bytes) -> None:
    path = write(lineage())
    text = json.dumps(lineage()).encode()
    for body, right in ((text, True), (text + b" " * 2**20, False)):
        head = b"\0" if kind == b"zTXt" else b"\0\1\0\0\0"
        data = KEY.encode() + head + (b"\0" if kind == b"zTXt" else b"") + zlib.compress(body)
        plain = path.with_name("plain.png")
        Image.new("RGB", (8, 8)).save(plain)
        chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        whole = plain.read_bytes()
        path.write_bytes(whole[:33] + chunk + whole[33:])
        if right:
            assert len(load_chain(path)) == 2
        else:
            with pytest.raises(
                ValueError,
                match=r"the edit chain in a\.png cannot be read: its deflated text is cut off, or has more",
            ):
                load_chain(path)


def test_a_text_with_a_wrong_check_sum_is_refused(lineage: Make, write: Write) -> None:
    path = write(lineage())
    data = bytearray(path.read_bytes())
    data[data.index(b'"seed"') + 1] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        ValueError,
        match=r"the edit chain in a\.png cannot be read: its iTXt chunk does not match its check sum",
    ):
        load_chain(path)


def test_no_memory_is_one_sentence(short: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise MemoryError

    save_chain(short, tmp_path / "a.png")
    monkeypatch.setattr(file, "read_record", full)
    with pytest.raises(ValueError, match=r"^the edit chain in a\.png does not fit into memory$"):
        load_chain(tmp_path / "a.png")


def test_some_hundred_turns_with_three_references_are_saved_and_loaded(tmp_path: Path) -> None:
    """At 256 px each, that would be more text than Pillow accepts in a picture; it still opens."""
    chain = long(420, 256, references=3)
    save_chain(chain, tmp_path / "a.png", latents=False)
    loaded = load_chain(tmp_path / "a.png")
    assert [turn.instruction for turn in loaded.turns] == [turn.instruction for turn in chain.turns]
    assert {len(turn.references) for turn in loaded.turns} == {3}
    assert 180 < loaded.turns[0].image.shape[1] < 256, "a little smaller, for there was no room"
    assert len({id(turn.references[0]) for turn in loaded.turns}) == 1, "the same picture is held once"
    with Image.open(tmp_path / "a.png") as picture:
        picture.load()
    assert torch.equal(from_file(tmp_path / "a.png"), loaded.last.image), "as a plain picture too"


def test_a_picture_that_is_used_again_gets_its_preview_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encode, sides = thumbnails._encode, []
    monkeypatch.setattr(thumbnails, "_encode", lambda image, side: sides.append(side) or encode(image, side))
    record.record_text(long(20, references=3), "id", 10**9, "no")
    assert sides == [256] * 4


def test_previews_shrink_until_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = long(9, 256, references=2)
    save_chain(chain, tmp_path / "a.png")
    assert load_chain(tmp_path / "a.png").turns[0].image.shape == (1, 256, 256, 3)
    monkeypatch.setattr(file, "MOST_TEXT_BYTES", 300_000)
    save_chain(chain, tmp_path / "a.png", texts={"workflow": "x" * 100_000})
    with Image.open(tmp_path / "a.png") as picture:
        assert 150_000 < sum(map(len, picture.text.values())) <= 300_000, "all texts together"
    side = load_chain(tmp_path / "a.png").turns[0].image.shape[1]
    assert limits.SMALLEST_THUMBNAIL_PX < side < 200
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(
        ValueError,
        match=r"^the chain cannot be saved as a\.png: its record has .* MiB with the smallest previews",
    ):
        save_chain(chain, tmp_path / "a.png", texts={"workflow": "x" * 290_000})
    assert (tmp_path / "a.png").read_bytes() == before


def test_previews_of_many_pictures_are_smaller_for_the_readers_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert limits.thumbnail_side([(1024, 1024)] * 1024) == 256
    assert 120 <= limits.thumbnail_side([(1024, 1024)] * 4000) < 256
    assert limits.thumbnail_side([(64, 64)] * 4000) == 256, "which they have not, so nothing shrinks"
    side = limits.thumbnail_side([(512, 1024)] * 10_000)
    assert side * side / 2 * 10_000 <= limits.MOST_THUMBNAIL_PIXELS
    monkeypatch.setattr(limits, "MOST_THUMBNAIL_PIXELS", 4 * 100 * 100)
    text = record.record_text(long(8, 256), "id", 10**9, "no")
    shapes = {thumbnails._decode(turn["thumbnail"], 1).shape for turn in json.loads(text)["turns"]}
    assert {shape[1] for shape in shapes} == {96}


def test_old_files_with_more_previews_than_fit_are_read_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_chain(long(5, 256, references=1), tmp_path / "a.png")
    monkeypatch.setattr(thumbnails, "MOST_THUMBNAIL_PIXELS", 256 * 256)
    loaded = load_chain(tmp_path / "a.png")
    assert {tuple(turn.image.shape) for turn in loaded.turns[:-1]} == {(1, 128, 128, 3)}
    assert (
        loaded.turns[1].image
        - torch.nn.functional.avg_pool2d(photo(1, 256).permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    ).abs().mean() < 0.03
    monkeypatch.setattr(thumbnails, "MOST_THUMBNAIL_PIXELS", 256 * 256 // 64)
    with pytest.raises(
        ValueError,
        match=r"damaged at turn 1: with this turn there are 2 different previews, which is too many",
    ):
        load_chain(tmp_path / "a.png")


def test_too_many_turns_or_references_are_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "encode_thumbnails", lambda *_: pytest.fail("made"))
    turn = Turn(photo(0, 16))
    many = Chain((turn,) * (limits.MOST_TURNS + 1))
    with pytest.raises(
        ValueError,
        match=r"^the chain cannot be saved as a\.png: it has 10001 turns, but 10000 is the maximum",
    ):
        save_chain(many, tmp_path / "a.png")
    shown = Chain((turn, replace(turn, references=(turn.image,) * 257)))
    with pytest.raises(ValueError, match="turn 1 has 257 references, but 256 is the maximum; stitch some"):
        save_chain(shown, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_as_many_turns_as_are_allowed_are_saved_and_loaded(tmp_path: Path) -> None:
    chain = Chain((Turn(photo(0, 16)),) * limits.MOST_TURNS)
    save_chain(chain, tmp_path / "a.png")
    assert len(load_chain(tmp_path / "a.png").turns) == limits.MOST_TURNS


def test_latents_of_too_many_bytes_are_not_written(
    short: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latents_file, "MOST_LATENT_BYTES", 16 * 4 * 8 * 4 * 3)
    save_chain(short, tmp_path / "a.png")
    load_chain(tmp_path / "a.png")
    monkeypatch.setattr(latents_file, "MOST_LATENT_BYTES", 16 * 4 * 8 * 4 * 3 - 1)
    with pytest.raises(ValueError, match=r"^the chain cannot be saved as b\.png: it holds latents of 0 GiB"):
        save_chain(short, tmp_path / "b.png")
    with pytest.raises(
        ValueError, match=r"^a\.kontext\.safetensors next to the picture holds latents of 0 GiB"
    ):
        load_chain(tmp_path / "a.png")
    monkeypatch.setattr(latents_file, "MOST_CANVAS_PIXELS", 32 * 64 - 1)
    with pytest.raises(
        ValueError,
        match=r"^the chain cannot be saved as b\.png: it does not hold latents of 3 turns: 0, 1, 2",
    ):
        save_chain(short, tmp_path / "b.png")


def test_what_pillow_opens_is_more_than_is_written() -> None:
    from PIL import PngImagePlugin

    assert limits.MOST_TEXT_BYTES < PngImagePlugin.MAX_TEXT_MEMORY
    assert limits.MOST_TEXT_BYTES <= limits.MOST_READ_TEXT_BYTES
    assert limits.MOST_TEXT_BYTES + 3 * limits.MOST_PICTURE_PIXELS * 1.01 < limits.MOST_FILE_BYTES
