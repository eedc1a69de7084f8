"""GitHub's workflows and forms: they name only what exists, and every Python version of the pack."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kontext_core.cli import _parser
from tools.paths import ROOT
from tools.setup_env import NEWEST, OLDEST

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = [GITHUB / "ISSUE_TEMPLATE" / f"{name}.yml" for name in ("bug", "feature")]
PATH = re.compile(
    r"(?<![\w./$-])((?:tests|tools|benchmarks|kontext_core|nodes|web)/[\w./*-]+|[\w*-]+\.(?:txt|toml|md))\b"
)
ANSWERS = ("input", "textarea", "dropdown", "checkboxes")


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def jobs(file: Path) -> dict[str, Any]:
    return read(file)["jobs"]


def steps(file: Path) -> Iterator[dict[str, Any]]:
    for job in jobs(file).values():
        yield from job.get("steps", [])


def text_without_comments(file: Path) -> str:
    return re.sub(r"(^|\s)#.*", "", file.read_text(encoding="utf-8"))


def name(file: Path) -> str:
    return file.name


def test_all_are_here() -> None:
    assert [file.name for file in WORKFLOWS] == ["publish.yml", "test.yml"]
    assert all(file.is_file() for file in FORMS)


@pytest.mark.parametrize("file", WORKFLOWS, ids=name)
def test_make_targets_exist(file: Path) -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony
    targets = [target for step in steps(file) for target in re.findall(r"\bmake (\S+)", step.get("run", ""))]
    assert set(targets) <= set(phony[1].split())
    assert targets or file.name != "test.yml"


@pytest.mark.parametrize("file", [*WORKFLOWS, *FORMS], ids=name)
def test_files_modules_and_tests_exist(file: Path) -> None:
    text = text_without_comments(file)
    for path in PATH.findall(text):
        assert list(ROOT.glob(path)), f"{file.name} names {path}"
    for test_file, test in re.findall(r"(tests/[\w/]+\.py)::(\w+)", text):
        assert f"def {test}(" in (ROOT / test_file).read_text(encoding="utf-8"), test
    for module in re.findall(r"-m ((?:tools|kontext_core|benchmarks)[\w.]*)", text):
        place = ROOT.joinpath(*module.split("."))
        assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), module
    for local in re.findall(r"uses: \./(\S+)", text):
        assert (ROOT / local).is_file(), local


def test_pythons() -> None:
    """Those of the workflow, the classifiers, requires-python and the set-up are the same."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pythons = [f"{OLDEST[0]}.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1)]
    python = "Programming Language :: Python :: "
    assert [entry.removeprefix(python) for entry in project["classifiers"] if python in entry] == pythons
    assert project["requires-python"] == f">={pythons[0]},<{NEWEST[0]}.{NEWEST[1] + 1}"
    assert jobs(GITHUB / "workflows" / "test.yml")["linux"]["strategy"]["matrix"]["python"] == pythons
    for file in WORKFLOWS:
        chosen = [
            step["with"]["python-version"] for step in steps(file) if "setup-python" in step.get("uses", "")
        ]
        assert set(chosen) <= {*pythons, "${{ matrix.python }}"}


@pytest.mark.parametrize("file", WORKFLOWS, ids=name)
def test_least_rights_and_an_end(file: Path) -> None:
    """Actions by their major version, no more rights than reading, and no job without end."""
    workflow = read(file)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"]
    for title, job in workflow["jobs"].items():
        assert job.get("permissions", {}) == ({"contents": "write"} if title == "release" else {})
        assert "timeout-minutes" in job or "uses" in job, title
    for step in steps(file):
        assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step.get("uses", "a/b@v1"))
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


def test_nothing_is_published_before_the_tag_and_the_tests_are_right() -> None:
    publish = jobs(GITHUB / "workflows" / "publish.yml")
    order = {title: job.get("needs") for title, job in publish.items()}
    assert order == {"version": None, "test": "version", "registry": "test", "release": "registry"}
    assert publish["version"]["steps"][-1]["run"] == 'python -m tools.release_note --tag "$GITHUB_REF_NAME"'
    assert [title for title, job in publish.items() if "secrets." in str(job)] == ["registry"]


@pytest.mark.parametrize("file", FORMS, ids=name)
def test_forms(file: Path) -> None:
    form = read(file)
    assert form["name"]
    assert form["description"]
    answers = [part for part in form["body"] if part["type"] != "markdown"]
    assert {part["type"] for part in answers} <= set(ANSWERS)
    ids = [part["id"] for part in answers]
    assert len(set(ids)) == len(ids)
    assert all(part["attributes"]["label"] for part in answers)
    assert any(part.get("validations", {}).get("required") for part in answers)


def test_the_bug_form_asks_for_a_command_that_is_there() -> None:
    asked = next(part for part in read(FORMS[0])["body"] if part.get("id") == "system")
    assert asked["validations"]["required"]
    description = asked["attributes"]["description"]
    assert (
        re.findall(r"(?:`kontext|-m kontext_core\.cli|main\(\)\") ([^`]*)`", description)
        == ["info --system"] * 3
    )
    assert _parser().parse_args(["info", "--system"]).system


def test_it_runs_where_python_knows_no_current_folder() -> None:
    """As the portable build's for Windows, which -I makes of any."""
    asked = next(part for part in read(FORMS[0])["body"] if part.get("id") == "system")
    code = re.search(r'-c "(.*?)" info --system`', asked["attributes"]["description"])
    assert code
    command = [sys.executable, "-I", "-c", code[1], "info", "--system"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout[:13]) == (0, "kontext-nodes"), ended.stderr
