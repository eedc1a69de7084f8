"""How the page's scripts stand: which folder imports which, and what one file alone knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "web" / "js"
# From the lowest up: those of one row know nothing of each other, and each knows what lies below.
LAYERS = (("lib",), ("run", "marks"), ("chain", "draw", "layout", "nodes"))
# What LiteGraph and the page are asked for in one place, for all other scripts.
ONE_HOME = {
    "LiteGraph.createNode": "lib/graph.js",
    ".emitBeforeChange": "lib/graph.js",
    ".getNodeById": "lib/graph.js",
    ".getOutputNodes": "lib/graph.js",
    ".selectedItems": "lib/graph.js",
    ".rootGraph ??": "lib/graph.js",
    'startsWith("Kontext")': "lib/graph.js",
    '"Reroute"': "lib/graph.js",
    ".nodeOutputs": "lib/results.js",
    '"$$canvas-image-preview"': "lib/results.js",
}
_IMPORT = re.compile(r'(?:\bfrom |\bimport\()"(\.[^"]+)"')


def _paths() -> list[Path]:
    return sorted(SCRIPTS.rglob("*.js"))


def _name(path: Path) -> str:
    return path.relative_to(SCRIPTS).as_posix()


def test_every_script_lies_in_a_folder_of_its_topic() -> None:
    assert {path.parent.relative_to(SCRIPTS).as_posix() for path in _paths()} == {
        folder for layer in LAYERS for folder in layer
    }


def test_folders_import_downwards_only() -> None:
    height = {folder: number for number, layer in enumerate(LAYERS) for folder in layer}
    upwards: list[str] = []
    for path in _paths():
        folder = path.parent.name
        for address in _IMPORT.findall(path.read_text(encoding="utf-8")):
            target = (path.parent / address).resolve()
            if SCRIPTS not in target.parents:  # the page's own modules
                continue
            assert target.is_file(), f"{_name(path)} imports {address}"
            if target.parent.name != folder and height[target.parent.name] >= height[folder]:
                upwards.append(f"{_name(path)} imports {_name(target)}")
    assert not upwards


@pytest.mark.parametrize("words", ONE_HOME)
def test_one_file_alone_asks_the_page(words: str) -> None:
    homes = {_name(path) for path in _paths() if words in path.read_text(encoding="utf-8")}
    assert homes == {ONE_HOME[words]}
