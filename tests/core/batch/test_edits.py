"""Lines of a batch: what they may contain, and a sentence with the line's number for anything else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kontext_core.batch.edits import read_edits

GOOD = {"pictures": "a.png", "instructions": "make it night"}


def test_a_line_with_everything(folder: Path, lines: Callable[..., Path]) -> None:
    given = {
        "id": "first.1",
        "pictures": ["a.png", "./b.png"],
        "instructions": ["x", ""],
        "seed": 7,
        "steps": 3,
        "guidance": 3,
        "width": 64,
        "height": 32,
        "fit": "pad",
        "layout": "index",
        "negative": "ugly",
        "cfg": 2.5,
        "strength": 0.5,
        "mu": -1,
        "solver": "heun",
        "approximate": "teacache:0.2",
        "feather": 8,
        "mask": "b.png",
    }
    (edit,), faults = read_edits(lines("", given, "  "), folder, {"steps": 28})
    assert faults == []
    assert (edit.line, edit.id, edit.instructions) == (2, "first.1", ("x", ""))
    assert edit.pictures == ((folder / "a.png").resolve(), (folder / "b.png").resolve())
    assert edit.settings == {
        "seed": 7,
        "steps": 3,
        "guidance": 3,
        "width_px": 64,
        "height_px": 32,
        "fit": "pad",
        "layout": "index",
        "negative_prompt": "ugly",
        "cfg_scale": 2.5,
        "strength": 0.5,
        "mu": -1,
        "solver": "heun",
        "approximate": "teacache:0.2",
        "feather_px": 8,
    }
    assert edit.mask == (folder / "b.png").resolve()
    assert edit.files == (*edit.pictures, edit.mask)


@pytest.mark.parametrize(
    ("line", "name", "key"),
    [
        (GOOD, "a-3da4af636f", "90dbcc199c8483f3ffbfd6a3483d894e8540c443e3e1bf4384aad5dfc3e442ea"),
        (
            {
                "pictures": ["a.png", "./b.png"], "instructions": ["x", ""], "seed": 7, "steps": 3,
                "guidance": 3, "width": 64, "height": 32, "fit": "pad", "layout": "index",
                "negative": "ugly", "cfg": 2.5,
            },
            "a-379bbe00d0",
            "531254c0291fe4a508916a7241055708e29c5da08b9ececeb50f258bec4a1439",
        ),
    ],
)  # fmt: skip
def test_ids_and_keys_stay_from_version_to_version(
    folder: Path, lines: Callable[..., Path], line: dict[str, Any], name: str, key: str
) -> None:
    """Otherwise every picture of a results folder would be made again."""
    (edit,), _ = read_edits(lines(line), folder, {"steps": 28})
    assert edit.id == name
    assert edit.key([b"a", b"b"][: len(edit.files)], "model") == key


def test_a_mask_makes_another_edit(folder: Path, lines: Callable[..., Path]) -> None:
    pictures = {"pictures": ["a.png", "b.png"]}
    both = [
        GOOD | pictures,
        GOOD | {"mask": "b.png"},
        GOOD,
        GOOD | {"mask": "a.png"},
        GOOD | {"strength": 0.5},
    ]
    edits, faults = read_edits(lines(*both), folder, {})
    assert faults == []
    assert len({edit.id for edit in edits}) == len(both)
    assert len({edit.key([b"same"] * len(edit.files), "") for edit in edits}) == 4, "by bytes, not by names"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "it is not JSON"),
        (b"\xff\xfe{}", "it is not JSON (it is not UTF-8)"),
        ("[" * 100_000, "its JSON cannot be read (it is nested too deeply)"),
        (
            '{"seed": ' + "9" * 5000 + "}",
            "its JSON cannot be read (a number has thousands of digits)",
        ),
        (b'{"instructions": "' + b"x" * 2**24 + b'"}', "it is longer than 16 MiB"),
        ("[1]", "it must be an object"),
        ({**GOOD, "sede": 1}, "'sede' is not known; a line may have id, pictures, instructions, seed"),
        ({"pictures": "a.png"}, "instructions must be a text or a list of texts, and there are none"),
        ({**GOOD, "instructions": []}, "it has no instructions"),
        ({**GOOD, "pictures": [1]}, "pictures must be a text or a list of texts"),
        (
            {**GOOD, "seed": 2**64},
            "seed is 18446744073709551616 and must be a whole number from -9223372036854775808",
        ),
        ({**GOOD, "seed": True}, "seed is True and must be a whole number"),
        ({**GOOD, "steps": 1.5}, "steps is 1.5 and must be a whole number from 1 to 1000"),
        ('{"instructions": "x", "guidance": NaN}', "guidance is nan and must be a number from 0 to 100"),
        ({**GOOD, "guidance": 10**400}, "guidance is a number of about 400 digits"),
        ({**GOOD, "negative": "x", "cfg": -(10**400)}, "and must be a number from 0 to 100"),
        ({**GOOD, "pictures": "x" * 300}, "cannot be a file (File name too long)"),
        ({**GOOD, "fit": "squeeze"}, "fit is 'squeeze' and must be one of crop, pad, stretch, none"),
        ({**GOOD, "layout": ["index"]}, "layout is ['index'] and must be one of"),
        ({**GOOD, "cfg": 2}, "cfg other than 1 needs a negative"),
        ({**GOOD, "nag": 5}, "nag other than 1 needs a negative"),
        ({**GOOD, "nag": 5, "negative": "x", "approximate": "teacache"}, "nag and approximate do not go"),
        ({**GOOD, "mu": 21}, "mu is 21 and must be a number from -20 to 20"),
        ({**GOOD, "mu": None}, "mu is None and must be a number"),
        ({**GOOD, "strength": 1.5}, "strength is 1.5 and must be a number from 0 to 1"),
        ({**GOOD, "solver": "magic"}, "solver is 'magic' and must be one of euler, heun, dpmpp_2m"),
        ({**GOOD, "approximate": "magic"}, "there is no method 'magic' to skip work; choose one of teacache"),
        ({**GOOD, "approximate": "teacache:x"}, "'teacache:x': the number behind teacache is the sum"),
        ({**GOOD, "approximate": None}, "approximate is None and must be a text"),
        ({**GOOD, "feather": -1}, "feather is -1 and must be a number from 0 to 1024"),
        ({**GOOD, "feather": 8}, "a feather softens the rim of a mask, and there is none"),
        ({**GOOD, "mask": 1}, "mask is 1 and must be a text: the name of a picture"),
        ({**GOOD, "mask": "c.png"}, "there is no picture 'c.png' in "),
        ({**GOOD, "mask": "link.png"}, "the picture 'link.png' lies outside "),
        (
            {"instructions": "x", "mask": "a.png"},
            "a mask says which part of the first picture may change, but there is no picture",
        ),
        (
            {"instructions": "x", "strength": 0},
            "a strength below 1 starts from the first picture, but there is none",
        ),
        ({**GOOD, "pictures": "c.png"}, "there is no picture 'c.png' in "),
        ({**GOOD, "pictures": "../edits.jsonl"}, "the picture '../edits.jsonl' lies outside "),
        ({**GOOD, "pictures": "/etc/hostname"}, "the picture '/etc/hostname' lies outside "),
        ({**GOOD, "pictures": "link.png"}, "the picture 'link.png' lies outside "),
        ({**GOOD, "pictures": "a\0.png"}, "cannot be a file"),
        ({**GOOD, "pictures": "a" * 300}, "cannot be a file (File name too long)"),
        ({**GOOD, "id": "../a"}, "the id '../a' names files"),
        ({**GOOD, "id": ".hidden"}, "the id '.hidden' names files"),
        ({**GOOD, "id": "a/b"}, "the id 'a/b' names files"),
        ({**GOOD, "id": "Con.png"}, "the id 'Con.png' names files"),
        ({**GOOD, "id": 5}, "the id 5 names files"),
    ],
)
def test_a_bad_line_is_one_sentence_and_the_rest_goes_on(
    folder: Path, lines: Callable[..., Path], line: Any, sentence: str
) -> None:
    (folder / "link.png").symlink_to("/etc/hostname")
    edits, faults = read_edits(lines(GOOD, line, {**GOOD, "seed": 2}), folder, {})
    assert [edit.line for edit in edits] == [1, 3]
    (fault,) = faults
    assert fault.startswith("line 2 of edits.jsonl: ")
    assert sentence in fault
    assert "\n" not in fault


def test_ids_tell_edits_apart_and_do_not_depend_on_the_line(folder: Path, lines: Callable[..., Path]) -> None:
    others = [{**GOOD, "seed": 1}, {**GOOD, "pictures": "b.png"}, {"instructions": "make it night"}]
    there, _ = read_edits(lines(GOOD, *others), folder, {})
    back, _ = read_edits(lines(*reversed(others), "", GOOD), folder, {})
    assert len({edit.id for edit in there}) == 4
    assert {edit.id for edit in there} == {edit.id for edit in back}
    assert there[0].id.startswith("a-")


@pytest.mark.parametrize("second", [GOOD, {**GOOD, "seed": 5}])
def test_one_id_stands_once(folder: Path, lines: Callable[..., Path], second: dict[str, Any]) -> None:
    named = [{**line, "id": name} for line, name in ((GOOD, "one"), (second, "ONE"))]
    edits, faults = read_edits(lines(*named), folder, {})
    assert len(edits) == 1
    assert faults == ["line 2 of edits.jsonl: its id 'ONE' is also that of line 1; give it a different id"]


def test_no_such_file_or_folder(folder: Path, lines: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match=r"there is no file .*none.jsonl"):
        read_edits(folder / "none.jsonl", folder, {})
    with pytest.raises(ValueError, match="choose another with --pictures"):
        read_edits(lines(GOOD), folder / "none", {})
