"""The demo: pictures, turns and files; and one full run on a real ComfyUI."""

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kontext_core.chain.sheet import GAP_PX, TILE_PX, Tile, contact_sheet
from kontext_core.images.picture_files import to_pil
from kontext_core.remote.client import Json, Result
from kontext_core.remote.workflow import read_workflow, to_api_form
from kontext_core.world.examples import EXAMPLES, PICTURES, picture
from tools import demo
from tools.console import ToolError
from tools.demo import (
    Task,
    instructions,
    names,
    read_photo,
    report,
    task,
    truths,
    turn_nodes,
    with_input,
    with_instructions,
    write,
)
from tools.paths import ROOT

EXAMPLE = EXAMPLES["three_turn_edit"]


@pytest.fixture
def prompt() -> Json:
    """The workflow in API form."""
    saved = json.loads((ROOT / "tests" / "core" / "remote" / "data" / "odd_graph.json").read_text())
    known = saved["object_info"] | {
        "KontextExample": {"input": {"required": {"picture": ["COMBO", {"options": list(PICTURES)}]}}}
    }
    return to_api_form(read_workflow(demo.WORKFLOW), known)


def make(path: Path, mode: str) -> Path:
    """A picture of 6 x 4 px: left half dark, right half bright."""
    pixels = np.zeros((4, 6), dtype=np.uint8)
    pixels[:, 3:] = 255
    grey = Image.fromarray(pixels)
    match mode:
        case "I;16":
            Image.fromarray(pixels.astype(np.uint16) * 257).save(path)
        case "RGBA":
            rgba = Image.new("RGBA", (6, 4), (0, 0, 0, 255))
            rgba.paste((9, 9, 9, 0), (3, 0, 6, 4))  # transparent: white paper shows
            rgba.save(path)
        case "EXIF":
            exif = Image.Exif()
            exif[0x0112] = 6  # to be turned by a quarter
            grey.convert("RGB").save(path, exif=exif)
        case _:
            grey.convert(mode).save(path)
    return path


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "1", "I;16", "EXIF", "CMYK"])
def test_any_picture_becomes_plain_rgb(tmp_path: Path, mode: str) -> None:
    file = make(tmp_path / ("photo.jpg" if mode == "CMYK" else "photo.png"), mode)
    photo = read_photo(file)
    assert photo.mode == "RGB"
    assert photo.size == ((4, 6) if mode == "EXIF" else (6, 4))
    dark, bright = ((0, 0), (0, 5)) if mode == "EXIF" else ((0, 0), (5, 0))
    assert max(photo.getpixel(dark)) < 10
    assert min(photo.getpixel(bright)) > 245


@pytest.mark.parametrize("size", [(1, 1), (2000, 1)])
def test_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png").size == size


def test_unusable_photos_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ToolError, match=r"^There is no file .*none\.png\.$"):
        read_photo(tmp_path / "none.png")
    with pytest.raises(ToolError, match=rf"^{tmp_path} is a folder, not a picture\.$"):
        read_photo(tmp_path)
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(ToolError, match=r"^.*text\.png is not a picture that can be read \(.*\)\.$"):
        read_photo(tmp_path / "text.png")
    Image.effect_noise((64, 64), 50).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:1000])
    with pytest.raises(ToolError, match=r"^.*cut\.png is not a picture that can be read \(.*\)\.$"):
        read_photo(tmp_path / "cut.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ToolError, match=r"^.*big\.png is too large a picture; make it smaller first\.$"):
        read_photo(make(tmp_path / "big.png", "RGB"))


def test_a_photo_needs_words(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"^Say what to change: make demo PHOTO=photo\.png PROMPT='"):
        task(make(tmp_path / "a.png", "RGB"), None)


@pytest.mark.parametrize(
    ("words", "turns"),
    [("a", ("a",)), (" a ; b;;c ", ("a", "b", "c")), ("", ("",)), (" ; ", ("",)), ("a; ", ("a",))],
)
def test_a_semicolon_begins_a_turn(words: str, turns: tuple[str, ...]) -> None:
    assert instructions(words) == turns


def test_tasks(tmp_path: Path) -> None:
    own = task(make(tmp_path / "a.png", "RGB"), "paint it; black")
    assert (own.instructions, own.truths, own.is_example) == (("paint it", "black"), (None, None), False)
    example = task(None, None)
    assert (example.instructions, example.truths) == (EXAMPLE.instructions, EXAMPLE.truths)
    assert example.picture.size == (128, 128)
    thing = PICTURES[EXAMPLE.pictures[0]].things[0]
    other = task(None, f"remove the {thing.colour} {thing.shape}; make it nice; make the background clay")
    assert [truth is not None for truth in other.truths] == [True, False, False]
    assert truths(PICTURES["moon"], [""]) == (PICTURES["moon"],)


def test_turns_are_found_in_order(prompt: Json) -> None:
    turns = turn_nodes(dict(reversed(prompt.items())))
    assert [prompt[edit]["inputs"]["instruction"] for edit, _ in turns] == list(EXAMPLE.instructions)
    assert [prompt[save]["inputs"]["images"] for _, save in turns] == [[edit, 0] for edit, _ in turns]


def test_the_picture_takes_the_place_of_the_example(prompt: Json) -> None:
    changed = with_input(prompt, "mine.png")
    [loader] = [id for id, node in changed.items() if node["class_type"] == "LoadImage"]
    assert changed[loader]["inputs"] == {"image": "mine.png"}
    first = turn_nodes(changed)[0][0]
    assert changed[first]["inputs"]["image"] == [loader, 0]
    assert "KontextExample" not in {node["class_type"] for node in changed.values()}
    assert changed.keys() == prompt.keys()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_as_many_turns_as_instructions(prompt: Json, count: int) -> None:
    turns = [f"turn {i}" for i in range(count)]
    before = json.dumps(prompt)
    changed = with_instructions(prompt, turns)
    found = turn_nodes(changed)
    assert [changed[edit]["inputs"]["instruction"] for edit, _ in found] == turns
    assert len(changed) == 2 + 2 * count
    for (earlier, _), (later, _) in itertools.pairwise(found):
        assert changed[later]["inputs"]["latent"] == [earlier, 1]
        assert "image" not in changed[later]["inputs"]
    assert json.dumps(prompt) == before
    called = names(changed)
    assert called[found[-1][0]] == f"turn {count}/{count}: turn {count - 1}"
    assert "loading the tiny model" in called.values()


class Shelf:
    """A client that hands out the same picture for every node."""

    def __init__(self, image: Image.Image, folder: Path) -> None:
        self.file = folder / "served.png"
        image.save(self.file)

    def view(self, image: Any) -> bytes:
        return self.file.read_bytes()


def test_pictures_sheet_and_verdicts(
    prompt: Json, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "turn_9.png").write_bytes(b"of an earlier demo")
    (out / "notes.txt").write_text("mine")
    start = to_pil(picture(EXAMPLE.pictures[0]))
    todo = Task(
        start,
        ("", "remove the red heart", "do it"),
        (PICTURES[EXAMPLE.pictures[0]], EXAMPLE.truths[0], None),
        True,
    )
    changed = with_instructions(prompt, todo.instructions)
    outputs = {save: {"images": [{"filename": "a.png"}]} for _, save in turn_nodes(changed)}
    verdicts = write(Shelf(start, tmp_path), todo, changed, Result("p", outputs, (), (), False), out)  # type: ignore[arg-type]
    assert verdicts == [True, False, None]
    assert sorted(path.name for path in out.iterdir()) == [
        "input.png",
        "notes.txt",
        "sheet.png",
        "turn_1.png",
        "turn_2.png",
        "turn_3.png",
    ]
    report(todo, verdicts, out)
    text = capsys.readouterr().out
    assert f"{out / 'turn_1.png'}  right" in text
    assert f"{out / 'turn_2.png'}  wrong  remove the red heart" in text
    assert "1 of 2 turns are correct" in text
    assert "The others cannot be judged" in text
    report(Task(start, ("x",), (None,), is_example=False), [None], out)
    assert demo.ONLY_ITS_WORLD in capsys.readouterr().out


def test_sheet_shows_pictures_captions_and_verdicts() -> None:
    red = Image.new("RGB", (50, 20), "#ff0000")
    tiles = [
        Tile(red, "short"),
        Tile(red, "a long caption of many words " * 4, True),
        Tile(red, "x" * 99, False),
    ]
    sheet = contact_sheet(tiles)
    assert sheet.width == GAP_PX + 3 * (TILE_PX + GAP_PX)
    colours = {colour for _, colour in sheet.getcolors(1 << 20)}
    assert {(255, 0, 0), (255, 255, 255), (0x14, 0x80, 0x3A), (0xB9, 0x1C, 0x1C)} <= colours
    assert contact_sheet(tiles * 3).height > 3 * TILE_PX
    assert sheet.getpixel((GAP_PX + 5, GAP_PX + TILE_PX // 2)) == (255, 0, 0)


@pytest.mark.comfy
@pytest.mark.parametrize("own", [False, True])
def test_from_command_to_pictures(
    own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments: list[str] = []
    turns = EXAMPLE.instructions
    if own:
        turns = ("make it nice", "make it nicer")
        arguments = ["--photo", str(make(tmp_path / "photo.png", "EXIF")), "--prompt", "; ".join(turns)]
    monkeypatch.setattr(sys, "argv", ["demo", *arguments])
    monkeypatch.setattr(demo, "OUTPUT", tmp_path / "demo")
    started: list[Any] = []
    server: Callable[..., Any] = demo.Server
    monkeypatch.setattr(demo, "Server", lambda: started.append(server()) or started[0])
    demo.main()
    text = capsys.readouterr().out
    for number, turn in enumerate(turns, start=1):
        assert f"turn {number}/{len(turns)}: {turn}  step 20/20" in text
        size = Image.open(tmp_path / "demo" / f"turn_{number}.png").size
        assert size == Image.open(tmp_path / "demo" / "input.png").size, (
            "a picture comes back at its own size"
        )
    assert Image.open(tmp_path / "demo" / "sheet.png").width == GAP_PX + (1 + len(turns)) * (TILE_PX + GAP_PX)
    assert ("turns are correct" in text) != own
    assert (demo.ONLY_ITS_WORLD in text) == own
    assert "workflow" in Image.open(tmp_path / "demo" / "turn_1.png").info or own
    assert not started[0].running
    assert not started[0].base.exists()
