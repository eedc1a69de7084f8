"""How a command line of the tools ends."""

import errno

import pytest

from tools.console import ToolError, run


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


def test_other_faults_are_not_hidden() -> None:
    def main() -> None:
        raise OSError(errno.EACCES, "no")

    with pytest.raises(PermissionError):
        run(main)
