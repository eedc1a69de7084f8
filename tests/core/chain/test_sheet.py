"""Contact sheets: their content, and that other programs can open them."""

from dataclasses import replace

import pytest
import torch
from PIL import Image, ImageFont

from kontext_core.chain import Chain, Tile, Turn, chain_sheet, chain_sheets, contact_sheet
from kontext_core.chain import sheet as module
from kontext_core.chain.sheet import (
    COLUMNS,
    FONT_PX,
    GAP_PX,
    MOST_LINES,
    MOST_SHEETS,
    PER_SHEET,
    TILE_PX,
    wrapped,
)


def grey(level: float) -> torch.Tensor:
    return torch.full((1, 16, 16, 3), level)


def chain(turns: int) -> Chain:
    """Turn n is grey n of 255, up to 255."""
    return Chain(
        tuple(Turn(grey(i % 256 / 255), instruction=f"make it {i}" if i else "") for i in range(turns + 1))
    )


def test_every_turn_has_its_caption(monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[Tile] = []
    monkeypatch.setattr(module, "contact_sheet", lambda tiles: met.extend(tiles))
    picture = torch.zeros(1, 16, 16, 3)
    turns = (Turn(picture), Turn(picture, instruction="make it red", seed=4), Turn(picture, instruction=" "))
    chain_sheet(Chain(turns))
    assert [tile.caption for tile in met] == [
        "start",
        "1. make it red (seed 4)",
        "2. (no instruction) (seed 0)",
    ]


def shown(sheet: Image.Image, place: int) -> int:
    """Return the grey of a tile in the first row."""
    return sheet.getpixel((GAP_PX + place * (TILE_PX + GAP_PX) + TILE_PX // 2, GAP_PX + TILE_PX // 2))[0]


def test_a_short_chain_is_on_one_sheet_as_ever() -> None:
    whole = chain(6)
    [sheet] = chain_sheets(whole)
    assert sheet.tobytes() == chain_sheet(whole).tobytes()
    assert sheet.width == GAP_PX + COLUMNS * (TILE_PX + GAP_PX)
    assert [shown(sheet, place) for place in range(4)] == [0, 1, 2, 3]


def test_a_long_chain_is_on_several_sheets_of_one_size() -> None:
    sheets = chain_sheets(chain(100))
    assert len(sheets) == 3
    assert len({sheet.size for sheet in sheets}) == 1
    assert [shown(sheet, 0) for sheet in sheets] == [0, PER_SHEET, 2 * PER_SHEET]
    assert sheets[0].height < 4000
    last = sheets[-1]
    assert last.getpixel((GAP_PX + 10, last.height - 40)) == (255, 255, 255), "paper below the last turns"


def test_sheets_may_begin_with_a_later_turn() -> None:
    sheets = chain_sheets(chain(100), -3)
    assert [shown(sheets[0], place) for place in range(3)] == [98, 99, 100]
    assert sheets[0].width == GAP_PX + 3 * (TILE_PX + GAP_PX)
    assert [shown(sheets[0], 0) for sheets in (chain_sheets(chain(100), 60),)] == [60]
    with pytest.raises(ValueError, match="there is no turn 101"):
        chain_sheets(chain(100), 101)


def test_the_numbers_in_captions_are_those_of_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[str] = []
    monkeypatch.setattr(
        module, "contact_sheet", lambda tiles, **_: met.extend(tile.caption for tile in tiles)
    )
    chain_sheets(chain(90), 45)
    assert met[0] == "45. make it 45 (seed 0)"
    assert met[-1] == "90. make it 90 (seed 0)"
    assert len(met) == 46


def test_too_many_turns_are_said_before_any_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "to_pil", lambda _: pytest.fail("made"))
    monkeypatch.setattr(Image, "new", lambda *_: pytest.fail("made"))
    turns = MOST_SHEETS * PER_SHEET
    with pytest.raises(
        ValueError,
        match=f"from turn 0 on this chain has {turns + 1} pictures, but 16 sheets show only {turns}: start with a later turn",
    ):
        chain_sheets(chain(turns))
    with pytest.raises(
        ValueError, match=r"5001 pictures make a sheet of 1104 x \d+ px, which other programs do not open"
    ):
        chain_sheet(chain(5000))


def test_one_sheet_of_many_is_a_picture_that_programs_open() -> None:
    sheet = chain_sheet(chain(600))
    assert max(sheet.size) <= 65_535
    assert sheet.width * sheet.height <= Image.MAX_IMAGE_PIXELS


def test_long_words_are_cut_and_end_in_dots() -> None:
    font = ImageFont.load_default(FONT_PX)
    for text in ("word " * 120, "word " * 1000, "w" * 100_000, "a\u0301" * 50_000, "x" * 3000):
        lines = wrapped(text, font, TILE_PX)
        assert len(lines) <= MOST_LINES
        assert lines[-1].endswith("...")
        assert all(font.getlength(line) <= TILE_PX for line in lines)
    assert wrapped("make it red", font, TILE_PX) == ["make it red"]
    assert wrapped("", font, TILE_PX) == [""]


def test_one_endless_instruction_makes_no_endless_sheet() -> None:
    whole = chain(3)
    turns = (
        *whole.turns[:2],
        replace(whole.turns[2], instruction="over and over " * 100_000),
        whole.turns[3],
    )
    assert chain_sheet(Chain(turns)).height < 700


def test_verdicts_stand_below_captions() -> None:
    picture = Image.new("RGB", (16, 16))
    plain, judged = (contact_sheet([Tile(picture, "a", right)]) for right in (None, True))
    assert plain.size == judged.size
    assert plain.tobytes() != judged.tobytes()
