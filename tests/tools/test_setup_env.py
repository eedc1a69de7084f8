"""Decisions of the set-up, on environments made for the purpose."""

import errno
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools import damaged, packages, setup_env, transformers5
from tools.console import DiskFull, ToolError
from tools.damaged import damaged_in, is_damaged
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
    assert setup_env.ensure_venv(venv) == "incomplete, so created again"
    assert (
        subprocess.run([python, "-m", "pip", "--version"], check=False, capture_output=True).returncode == 0
    )
    assert setup_env.ensure_venv(venv) == "there already"


def test_half_of_pip_is_none(tmp_path: Path) -> None:
    """As a kill leaves it: ensurepip takes its list of files for the whole of it."""
    venv = tmp_path / "venv"
    setup_env.ensure_venv(venv)
    (package,) = venv.glob("**/site-packages/pip")
    shutil.rmtree(package)
    assert setup_env.ensure_venv(venv) == "incomplete, so created again"
    assert setup_env.ensure_venv(venv) == "there already"
    (package,) = venv.glob("**/site-packages/pip")
    for folder in (package, *package.parent.glob("pip-*.dist-info")):
        shutil.rmtree(folder)
    assert setup_env.ensure_venv(venv) == "repaired: it lacked pip"


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
    (venv / "kontext-setup.sha256").write_text(setup_env.stamp_text(venv, root))
    assert setup_env.is_current(venv, root)
    moved = venv.rename(tmp_path / "moved")
    assert not setup_env.is_current(moved, root)
    (tmp_path / "link").symlink_to(moved, target_is_directory=True)
    (moved / "kontext-setup.sha256").write_text(setup_env.stamp_text(moved, root))
    assert setup_env.is_current(tmp_path / "link", root)
    moved.rename(venv)
    (venv / "kontext-setup.sha256").write_text(setup_env.stamp_text(venv, root))
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
    assert is_damaged(info)
    record = "thing/a.py,sha256=x,4\nthing/a.pyc,,\nthing-1.0.dist-info/RECORD,,\n"
    (info / "RECORD").write_text(record)
    assert is_damaged(info)
    (tmp_path / "thing").mkdir()
    for content, is_cut in (("1", True), ("1234", False)):
        (tmp_path / "thing" / "a.py").write_text(content)
        assert is_damaged(info) == is_cut
        assert damaged_in(tmp_path) == ["thing==1.0"] * is_cut
    for odd in (record[:-1] + "x,y\n", "a.py\n", "thing/a.py,sha256=x,four\n", '"', ""):
        (info / "RECORD").write_text(odd)
        assert is_damaged(info)
    for name in ("~hing-1.0.dist-info", "kontext_nodes-0.1.0.dist-info"):
        (tmp_path / name).mkdir()
    assert damaged_in(tmp_path) == ["thing==1.0"]


def test_scripts_may_name_another_interpreter_and_have_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages_folder, scripts = tmp_path / "lib", tmp_path / "bin"
    info = packages_folder / "thing-1.0.dist-info"
    for folder in (info, scripts):
        folder.mkdir(parents=True)
    monkeypatch.setattr(damaged.sysconfig, "get_path", {"scripts": str(scripts)}.get)
    (info / "RECORD").write_text("../bin/thing,sha256=x,4\n")
    assert is_damaged(info)
    (scripts / "thing").write_text("#!/elsewhere/python\n")
    assert not is_damaged(info)


@pytest.mark.skipif(os.name == "nt", reason="scripts are programs there")
def test_a_moved_environment_is_mended(tmp_path: Path) -> None:
    venv = tmp_path / "one" / ".venv"
    setup_env.ensure_venv(venv)
    mine = venv / "bin" / "mine"
    mine.write_text("#!/usr/bin/python3\nprint('not of an environment')\n")
    for name in ("two", "with space", "long" * 40):
        venv = venv.parent.rename(tmp_path / name) / ".venv"
        assert setup_env.ensure_venv(venv) == "repaired: it was moved here"
        said = subprocess.run(
            [venv / "bin" / "pip", "--version"], check=True, capture_output=True, text=True
        ).stdout
        assert str(venv) in said
        assert f"{venv}" in (venv / "bin" / "activate").read_text()
        assert setup_env.ensure_venv(venv) == "there already"
    assert (venv / "bin" / "mine").read_text().startswith("#!/usr/bin/python3\n")
    copied = tmp_path / "copied" / ".venv"
    shutil.copytree(venv, copied, symlinks=True)
    assert setup_env.ensure_venv(copied) == "repaired: it was moved here"
    assert setup_env.ensure_venv(venv) == "there already"


def test_an_environment_of_somebody_else_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = tmp_path / "venv"
    venv_python(venv).parent.mkdir(parents=True)
    venv_python(venv).write_text("theirs")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(venv_python(venv)))

    monkeypatch.setattr(setup_env.subprocess, "run", refuse)
    monkeypatch.setattr(setup_env.os, "access", lambda *_: False)
    with pytest.raises(
        ToolError,
        match=r"python cannot be accessed by this user \(Permission denied\): run this as the owner of",
    ):
        setup_env.ensure_venv(venv)
    assert venv_python(venv).read_text() == "theirs"


@pytest.mark.parametrize("target", ["gone", "empty"])
def test_a_link_that_leads_to_no_environment_is_left_alone(tmp_path: Path, target: str) -> None:
    (tmp_path / "empty").mkdir()
    venv = tmp_path / "venv"
    venv.symlink_to(tmp_path / target, target_is_directory=True)
    with pytest.raises(
        ToolError, match=r"venv is a link, and what it leads to is not a Python environment: remove it"
    ):
        setup_env.ensure_venv(venv)
    assert venv.is_symlink()


def test_a_file_where_the_environment_should_be_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "venv").write_text("mine")
    with pytest.raises(ToolError, match=r"venv is not a folder. Move it away"):
        setup_env.ensure_venv(tmp_path / "venv")
    assert (tmp_path / "venv").read_text() == "mine"


def test_packages_that_cannot_be_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failed:
        returncode, stdout, stderr = 1, "", "Traceback\nOSError: no\n"

    monkeypatch.setattr(setup_env.subprocess, "run", lambda *_, **__: Failed)
    with pytest.raises(
        ToolError, match=r"cannot be looked through \(OSError: no\): delete its folder and run this again"
    ):
        setup_env._damaged(Path("python"))


def test_why_an_environment_could_not_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failed:
        returncode, stdout = 1, "Error: [Errno 13] Permission denied: '/x/.venv'\n"

    monkeypatch.setattr(setup_env.subprocess, "run", lambda *_, **__: Failed)
    with pytest.raises(
        ToolError, match=r"^venv could not get it: error: \[Errno 13\] Permission denied: '/x/.venv'\.$"
    ):
        setup_env._call(["python"], "it")


def test_a_folder_that_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(
        ToolError, match=rf"^Nothing can be written into {tmp_path}: .* a copy of that folder"
    ):
        setup_env.ensure_venv(tmp_path / "venv")


@pytest.mark.parametrize(("free", "kind"), [(2**20, DiskFull), (2**40, ToolError)])
def test_a_full_disk_that_python_does_not_speak_of(
    free: int, kind: type[ToolError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failed:
        returncode, stdout = 1, "Error: Command '[...]' returned non-zero exit status 1.\n"

    def run(command: list[str], **_: object) -> type[Failed]:
        if "venv" not in command:
            raise OSError
        return Failed

    monkeypatch.setattr(setup_env.subprocess, "run", run)
    monkeypatch.setattr(setup_env.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(ToolError, match=r"[^.]\.$") as raised:
        setup_env.ensure_venv(tmp_path / "venv")
    assert type(raised.value) is kind


def test_the_last_step_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(setup_env, "pip", lambda _, arguments, **__: calls.append(arguments))
    monkeypatch.setattr(setup_env, "_torch_version", lambda _: "2.13.0")
    monkeypatch.setattr(setup_env, "_damaged", lambda _: [])
    setup_env.install_packages(tmp_path)
    assert {"--no-build-isolation", "--editable", "--no-deps"} < set(calls[-1])
    assert "setuptools" in (ROOT / "requirements-dev.txt").read_text(), "what builds it is installed before"
    assert (tmp_path / "kontext-setup.sha256").read_text() == setup_env.stamp_text(tmp_path)


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


@pytest.mark.skipif(os.name == "nt", reason="that system has no such lock")
def test_two_set_ups_in_one_folder_follow_each_other(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tools.paths import alone_in\n"
        "with alone_in(Path(sys.argv[1])): print('at work', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    start = partial(
        subprocess.Popen[str],
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with start() as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "at work\n"
        with start() as second:
            assert second.stdout is not None
            assert second.stdout.readline() == (
                f"Another set-up is running in {tmp_path}: this one continues when that has finished ...\n"
            )
            first.kill()
            assert second.stdout.readline() == "at work\n"
            second.communicate("")
            assert second.returncode == 0
