"""How the tools' command lines end."""

import errno
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.console import ToolError, run, say
from tools.paths import ROOT


def ends(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as end:
        run(main)
    return end.value.code, capsys.readouterr().err


def test_a_tool_error_is_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(ToolError("No network: try again."), capsys) == (1, "No network: try again.\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_sentence(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = ends(OSError(number, "full", "/somewhere/file"), capsys)
    assert code == 1
    assert text == (
        "The disk is full (/somewhere/file): free some space and run the same command again; it "
        "continues where it stopped.\n"
    )


def test_ctrl_c_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(KeyboardInterrupt(), capsys) == (130, "Stopped. The same command continues.\n")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/somewhere/file"),
            "/somewhere/file cannot be accessed by this user (Permission denied): run the same command as "
            "its owner, or choose another place.\n",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "/x"),
            "/x cannot be accessed by this user (Read-only file system): run the ",
        ),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/x"), "/x cannot be used: File name too long.\n"),
        (shutil.Error([("a", "/x/b", "no"), ("c", "d", "e")]), "/x/b could not be written: no\n"),
        (OSError("a sentence of ours"), "a sentence of ours.\n"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(
    error: OSError, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = ends(error, capsys)
    assert code == 1
    assert said.startswith(text)
    assert said.count("\n") == 1


def test_a_closed_pipe_ends_it_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "from tools.console import run, say\nrun(lambda: [say('x') for _ in range(100)])"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_what_the_terminal_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    say("in /schön")
    assert narrow.buffer.getvalue() == b"in /sch\\xf6n\n"  # type: ignore[attr-defined]


def test_other_faults_are_not_hidden() -> None:
    def main() -> None:
        raise OSError(errno.EACCES, "no")

    with pytest.raises(PermissionError):
        run(main)


@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise there")
def test_ctrl_c_during_the_imports_of_a_tool(tmp_path: Path) -> None:
    """The tool is named by its path below this folder; it is imported, and then runs."""
    tool = tmp_path / "tool.py"
    tool.write_text(
        "import os, signal, sys\n"
        "from tools.console import run\n"
        "def main(): os.kill(os.getpid(), signal.SIGINT)\n"
        "if 'late' not in sys.argv: main()\n"
        "run(main)\n"
    )
    code = f"import tools; tools.__path__.append({str(tmp_path)!r}); from tools.start import main; main()"
    for words in (["tool"], ["tool", "late"]):
        command = [sys.executable, "-c", code, *words]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stdout, result.stderr) == (
            130,
            "",
            "Stopped. The same command continues.\n",
        )


def test_every_target_of_make_begins_so() -> None:
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    calls = [line for line in lines if "-m tools." in line and "web_checks" not in line]
    assert len(calls) >= 6
    assert not [line for line in calls if "-m tools.start " not in line]


@pytest.mark.skipif(os.name == "nt", reason="no terminal to hang up there")
@pytest.mark.parametrize(("name", "code"), [("SIGHUP", 130), ("SIGTERM", 130)])
def test_a_closed_terminal_ends_it_in_order(name: str, code: int) -> None:
    text = (
        "import os, signal; from tools.console import end_in_order, run\n"
        f"def main(): end_in_order(); os.kill(os.getpid(), signal.{name})\n"
        "run(main)\n"
    )
    result = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, check=False)
    assert result.returncode == code
