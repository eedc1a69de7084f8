"""Rules of the page's scripts: imports, what only one file may know, comments of functions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "web" / "js"
# From the lowest up: those of one row know nothing of each other, and each knows what lies below.
LAYERS = (("lib",), ("run", "marks"), ("compare",), ("chain", "draw", "layout", "nodes"))
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
MOST_LINES = 400
MOST_LETTERS = 120
_IMPORT = re.compile(r'(?:\bfrom |\bimport\()"(\.[^"]+)"')
_SENTENCE = re.compile(
    r'^\d+:\s*"[^"]*",?$'
)  # which users read: it stands in one piece, for its translations
_COMMENT = re.compile(r"^[ \t]*/\*\*((?:(?!\*/).)*)\*/[ \t]*\n", re.S | re.M)
_TAG = re.compile(r"@(?:param|returns|throws|template)\b")
_TYPE = re.compile(r"@type\b")
_FUNCTION = re.compile(
    r"\s*(?:(?:export )?(?:async )?function\b"
    r"|(?:export )?const \w+ = (?:async )?(?:\(|\w+ =>)"
    r"|(?:async |get )?\*?(?!if|for|return|while|switch)\w+\([^;]*\) \{$"
    r"|\w+ = \(.*=>)"
)
_NOT_IMPERATIVE = re.compile(
    r"(?:An?|The|This|That|These|All|Each|Every|Of|In|So|Only|Another|Some|What|Which|Where|When|Whether|Who|How"
    r"|Why|There|It|With|Before|Behind|\w{2,}[^s]s)"
)


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


@pytest.mark.parametrize("path", _paths(), ids=_name)
def test_scripts_are_short_and_their_lines_are(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES
    long = [f"{i}: {line}" for i, line in enumerate(lines, 1) if len(line) > MOST_LETTERS]
    assert not [line for line in long if not _SENTENCE.search(line)]


@pytest.mark.parametrize("path", _paths(), ids=_name)
def test_comments_of_functions_say_what_they_do_with_one_parameter_a_line(path: Path) -> None:
    assert not _unclear(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("/** Add one. @param {number} a */\nconst f = (a) => a + 1;", "@param"),
        ("/**\n * Add.\n * @param {number} a @param {number} b\n */\nfunction f(a, b) {", "@param"),
        ("/**\n * Add. @returns {number}\n */\nfunction f(a) {", "@returns"),
        ("/**\n * @param {number} a\n */\nfunction f(a) {", "says nothing"),
        ("/** The sum. */\nexport async function* f() {", "The"),
        ("/** Whether it is. */\nexport const f = () => true;", "Whether"),
        ("  /** Adds one. */\n  add() {", "Adds"),
        ("  /**\n   * How far it is.\n   * @param {number} a\n   */\n  of(a) {", "How"),
        ("/** add */\nfunction f() {", "add"),
    ],
)
def test_unclear_comments_are_found(script: str, complaint: str) -> None:
    assert [line for line in _unclear(script) if complaint in line]


def test_clear_comments_are_let_be() -> None:
    script = """
/** The most. @type {number} */
const MOST = 1;
/** @typedef {{ a: number }} A */
/**
 * Add them.
 * @param {number} a
 * @param {Record<string, { b: number }>} b in px
 * @returns {number} the sum
 */
const f = (a, b) => a + 1;
/** Begin anew. */
function g() {}
const h = (/** @type {string} */ a) => a;
"""
    assert not _unclear(script)


def _unclear(script: str) -> list[str]:
    """What is wrong with the comments of a script's functions, a line each."""
    wrong: list[str] = []
    for match in _COMMENT.finditer(script):
        comment, code = match[1], script[match.end() :].split("\n", 1)[0]
        lines = [line.strip().removeprefix("*").strip() for line in comment.strip().splitlines()]
        tagged = bool(_TAG.search(comment))
        if (
            "@typedef" in comment
            or not (tagged or _FUNCTION.match(code))
            or (_TYPE.search(comment) and not tagged)
        ):
            continue
        tagged_lines = [line for line in lines if _TAG.search(line)]
        wrong += [
            f"not one tag a line: {line}"
            for line in tagged_lines
            if len(lines) == 1 or not line.startswith("@") or len(_TAG.findall(line)) > 1
        ]
        first = next((line for line in lines if line), "")
        word = first.split(" ", 1)[0]
        if not first or first.startswith("@"):
            wrong.append(f"says nothing but its tags: {code.strip()}")
        elif not word[:1].isupper() or _NOT_IMPERATIVE.fullmatch(word):
            wrong.append(f"does not begin with what the function does: {first}")
    return wrong
