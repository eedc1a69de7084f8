"""How a command line of the tools ends."""

import errno
import io
import os
import shutil
import subprocess
import sys

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
        "The disk is full (/somewhere/file): free some space and run the same command again, it continues.\n"
    )


def test_ctrl_c_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(KeyboardInterrupt(), capsys) == (130, "Stopped. The same command continues.\n")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/somewhere/file"),
            "/somewhere/file is not for this user (Permission denied): run the same command as its owner, or "
            "choose another place.\n",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "/x"),
            "/x is not for this user (Read-only file system): run the ",
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
