"""One way in and one way out for pictures: whoever opens or writes a file of one asks `picture_files`.

So sizes are checked before anything is decoded, colours are brought to sRGB, and written pictures declare it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.paths import ROOT

OPENS = {"kontext_core/images/picture_files.py", "kontext_core/chain/thumbnails.py"}
WRITES = {
    "kontext_core/images/picture_files.py",
    "kontext_core/chain/thumbnails.py",  # previews, which no file holds by itself
}
FILES = [
    file for folder in ("kontext_core", "nodes", "tools") for file in sorted((ROOT / folder).rglob("*.py"))
]


def doors(source: str) -> Iterator[tuple[str, int]]:
    """Where Pillow opens a picture, and where something is saved as a kind of picture."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, holder = node.func.attr, node.func.value
        if name == "open" and isinstance(holder, ast.Name) and holder.id == "Image":
            yield "opens", node.lineno
        kinds = [argument for argument in (*node.args, *(one.value for one in node.keywords))]
        if name == "save" and any(
            isinstance(kind, ast.Constant) and kind.value in ("PNG", "JPEG") for kind in kinds
        ):
            yield "writes", node.lineno


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_pictures_go_through_one_door(file: Path) -> None:
    name = file.relative_to(ROOT).as_posix()
    allowed = {"opens": OPENS, "writes": WRITES}
    breaches = [
        f"{name}:{line} {what}"
        for what, line in doors(file.read_text(encoding="utf-8"))
        if name not in allowed[what]
    ]
    assert breaches == []


def test_a_second_door_is_seen() -> None:
    source = (
        "from PIL import Image\ndef f(path):\n    picture = Image.open(path)\n    picture.save(path, 'PNG')\n"
    )
    assert list(doors(source)) == [("opens", 3), ("writes", 4)]
    assert list(doors("Path('a').open()\nrun.save()\npicture.save(path)")) == []
