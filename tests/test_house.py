"""Rules of the source that no linter has: few places that swap weights, few words that say
nothing, tests for each module.

The numbers are ceilings of what is there; they may only fall.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tools.paths import ROOT

FOLDERS = ("kontext_core", "nodes", "tools")

# Names that could stand for anything: no variable and no parameter is called so.
VAGUE = {"one", "found", "made", "said", "given", "wanted"}

# Who points parameters to other memory. Wherever that happens, what was kept of the weights is out of date.
SWAP_DATA = {"kontext_core/memory/tensor_data.py"}
MOST_MODULES = 10  # loose in kontext_core


def sources(*folders: str) -> Iterator[tuple[str, str]]:
    """Each file's path from the root, and its text."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def bound_names(text: str) -> Iterator[str]:
    """Variables and parameters, each time that they are bound."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_say_what_they_stand_for(folder: str) -> None:
    vague = Counter(
        (file, name) for file, text in sources(folder) for name in bound_names(text) if name in VAGUE
    )
    assert vague == {}, "choose a noun of the field"


# What the field has other words for: definitions of these names are mistakes of habit.
DIALECT = {
    "turned", "beside", "activated", "swished", "laid_out", "both", "Carousel", "Visitor", "Guests", "hollow", "put_in",
    "come_home", "go_home", "Readers", "explained", "heard", "begun", "wishing", "Wishes",
}  # fmt: skip


def test_the_field_s_words_are_used() -> None:
    defined = {
        node.name
        for _, text in sources(*FOLDERS)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    assert len(defined) > 1000
    assert defined & DIALECT == set()


def test_few_places_swap_the_memory_of_weights() -> None:
    pattern = re.compile(r"\.data\s*=[^=]")
    assert {file for file, text in sources("kontext_core", "nodes") if pattern.search(text)} == SWAP_DATA


def test_what_is_in_force_for_a_thread_is_known() -> None:
    variables = [
        file for file, text in sources("kontext_core", "nodes") for _ in re.findall(r"ContextVar\(", text)
    ]
    assert variables == ["kontext_core/kernels/options.py", "kontext_core/model/attention.py"]
    assert (
        sum(len(re.findall(r"^\s+global \w", text, re.M)) for _, text in sources("kontext_core", "nodes"))
        <= 1
    )


def test_loose_modules_become_fewer() -> None:
    assert len(list((ROOT / "kontext_core").glob("*.py"))) <= MOST_MODULES


# Functions of more than eight parameters, by file; kernels that Triton compiles take one for each stride.
MANY_PARAMETERS = {
    ("kontext_core/pipeline.py", "load"),
    ("kontext_core/sampling/denoise.py", "denoise"),
    ("nodes/edit.py", "execute"),
    ("nodes/load.py", "execute"),
    ("nodes/prompt_template.py", "execute"),
    ("nodes/reference.py", "execute"),
    ("nodes/sample.py", "execute"),
    ("nodes/script.py", "execute"),
    ("nodes/turn.py", "execute"),
}


def many_parameters() -> Iterator[tuple[str, str]]:
    """File and function, `self` and what comes by ** aside."""
    for file, text in sources(*FOLDERS):
        if file.startswith("kontext_core/kernels/triton_"):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                if sum(argument.arg not in ("self", "cls") for argument in arguments) > 8:
                    yield file, node.name


def test_parameters_are_few() -> None:
    assert set(many_parameters()) == MANY_PARAMETERS


def test_the_rules_see_files() -> None:
    """Without files, all rules would hold."""
    assert all(len(list(sources(folder))) > 10 for folder in FOLDERS)


def test_the_recipes_name_what_is_there() -> None:
    """Each path of CONTRIBUTING.md, from the root or as the sentence around it shortens it."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"[\w/.]+\.(?:py|js|md|json|yml|toml)\b", text)) - {"scores.json"}  # a result
    folders = ("kontext_core", "nodes", "tests", "tools", "web/js", "benchmarks", "workflows", ".github")
    present = {"/" + path.relative_to(ROOT).as_posix() for top in folders for path in (ROOT / top).rglob("*")}
    present |= {"/" + path.name for path in ROOT.iterdir()} | {
        "/" + path.relative_to(ROOT).as_posix() for path in (ROOT / "web" / "docs").iterdir()
    }
    assert len(paths) > 60
    assert {path for path in paths if not any(known.endswith("/" + path) for known in present)} == set()


def test_each_task_has_a_recipe() -> None:
    """What the map calls "How to ..." is a heading of CONTRIBUTING.md, or begins one."""
    recipes = set(re.findall(r'"(How to [^"]+)"', (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")))
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.M)
    assert len(recipes) > 8
    assert {recipe for recipe in recipes if not any(line.startswith(recipe) for line in headings)} == set()


def test_the_map_names_what_is_there() -> None:
    """Each path, module and name that ARCHITECTURE.md gives in backticks or in its table of the flow."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    sources_of_all = "\n".join(source for _, source in sources(*FOLDERS, "tests"))
    paths = set(re.findall(r"[\w/.]+\.(?:py|js|md)\b|\b\w+/(?:\w+/)*(?!\w)", text))
    assert len(paths) > 60
    starts = ("", "kontext_core", "nodes", "tests")
    absent = {path for path in paths if not any((ROOT / start / path).exists() for start in starts)}
    assert absent == set()
    names = {name for name in re.findall(r"`(\w+)`", text) if not (ROOT / name).exists()}
    assert {name for name in names if not re.search(rf"\b{name}\b", sources_of_all)} == set()
