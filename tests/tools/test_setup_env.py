"""The set-up's own decisions, on environments made for the purpose."""

import os
import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from tools import packages, setup_env, transformers5
from tools.console import ToolError
from tools.damaged import is_damaged
from tools.paths import ROOT, venv_python


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_supported_python(version: tuple[int, int]) -> None:
    setup_env.check_version(version, "this one")


@pytest.mark.parametrize("version", [(3, 8), (3, 10), (3, 14)])
def test_other_python_is_one_sentence(version: tuple[int, int]) -> None:
    with pytest.raises(ToolError, match=r"^Python 3\.11, 3\.12 or 3\.13 is needed, and this one is 3\.\d+: "):
        setup_env.check_version(version, "this one")


def test_half_made_environment_is_made_anew(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    python = venv_python(venv)
    python.parent.mkdir(parents=True)
    python.write_text("cut short")
    assert setup_env.ensure_venv(venv) == "half-made, so made anew"
    assert (
        subprocess.run([python, "-m", "pip", "--version"], check=False, capture_output=True).returncode == 0
    )
    assert setup_env.ensure_venv(venv) == "there already"


def test_environment_of_another_python_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_env, "_venv_version", lambda _python: (3, 10))
    with pytest.raises(ToolError, match=r"the one in .* is 3\.10: .* after deleting that folder\."):
        setup_env.ensure_venv(tmp_path)


def test_stamp_is_of_the_requirements(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in (*setup_env.REQUIREMENTS, setup_env.CONSTRAINTS):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("numpy\n")
    venv = tmp_path / "venv"
    venv_python(venv).parent.mkdir(parents=True)
    venv_python(venv).touch()
    assert not setup_env.is_current(venv, root)
    (venv / "kontext-setup.sha256").write_text(setup_env.fingerprint(root))
    assert setup_env.is_current(venv, root)
    (root / setup_env.CONSTRAINTS).write_text("numpy==2\n")
    assert not setup_env.is_current(venv, root)


def test_torch_is_never_among_the_requirements() -> None:
    for name in (*setup_env.REQUIREMENTS, setup_env.CONSTRAINTS):
        lines = (ROOT / name).read_text().splitlines()
        assert not [line for line in lines if line.startswith(("torch=", "torch>", "torch<", "torch~"))], name


def test_every_requirement_is_pinned_by_the_constraints() -> None:
    def names(file: str) -> set[str]:
        lines = (ROOT / file).read_text().lower().splitlines()
        cut = [line.split("#")[0].split("[")[0] for line in lines]
        return {
            line.translate(str.maketrans("<>=~", "    ")).split()[0].replace("_", "-") for line in cut if line
        }

    wanted = set[str]().union(*(names(file) for file in setup_env.REQUIREMENTS))
    assert wanted - names(setup_env.CONSTRAINTS) == set()


def test_the_checkout_itself_is_no_package(tmp_path: Path) -> None:
    """What building left in the folder that the set-up runs in is never asked of a package index."""
    info = tmp_path / "kontext_nodes.egg-info"
    info.mkdir()
    (info / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: kontext-nodes\nVersion: 0.1.0\n")
    (info / "SOURCES.txt").write_text("gone.py\n")
    command = [sys.executable, "-m", "tools.damaged"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "kontext" not in result.stdout


def test_what_an_interrupted_install_leaves_is_damaged(tmp_path: Path) -> None:
    info = tmp_path / "thing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: thing\nVersion: 1.0\n")
    thing = Distribution.at(info)
    assert is_damaged(thing)
    (info / "RECORD").write_text("thing/a.py,sha256=x,4\nthing/a.pyc,,\nthing-1.0.dist-info/RECORD,,\n")
    assert is_damaged(thing)
    (tmp_path / "thing").mkdir()
    (tmp_path / "thing" / "a.py").write_text("1")
    assert is_damaged(thing)
    (tmp_path / "thing" / "a.py").write_text("1234")
    assert not is_damaged(thing)


def test_transformers_5_is_installed_once_and_anew_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def pip(python: Path, arguments: list[str], **_options: object) -> None:
        calls.append(arguments)
        folder = Path(arguments[arguments.index("--target") + 1])
        assert not folder.exists(), "a half-made one is gone"
        folder.mkdir()

    monkeypatch.setattr(packages, "pip", pip)
    (transformers5.folder(tmp_path) / "transformers").mkdir(parents=True)  # an interrupted install
    assert transformers5.install(tmp_path) == "installed"
    assert transformers5.install(tmp_path) == "there already"
    assert len(calls) == 1
