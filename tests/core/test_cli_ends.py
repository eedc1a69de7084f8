"""How the command line ends: closed pipes, narrow encodings, full disks, Ctrl+C while it still imports."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from kontext_core import cli
from kontext_core.cli import main, output
from kontext_core.cli.interrupts import EXIT, Interrupts, importing
from kontext_core.cli.output import ClosedOutputError, Output, put
from kontext_core.loading.locate import TINY_FOLDER
from kontext_core.pipeline import Pipeline
from tools.paths import ROOT

VAE = str(TINY_FOLDER / "ae.safetensors")
PICTURE = str(ROOT / "workflows" / "single_edit.jpg")
KONTEXT = (sys.executable, "-m", "kontext_core.cli")


def run(*command: str, **options: Any) -> "subprocess.CompletedProcess[bytes]":
    """Run a command in a separate process."""
    return subprocess.run(
        command, cwd=ROOT, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False, **options
    )


@pytest.mark.parametrize(
    ("arguments", "unbuffered"), [(("info", VAE, VAE), ""), (("info", VAE, VAE), "1"), (("--help",), "")]
)
def test_a_reader_that_goes_away_ends_it_quietly(arguments: tuple[str, ...], unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = run(*KONTEXT, *arguments, stdout=writer, env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_a_reader_of_the_errors_that_goes_away() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [*KONTEXT, "info", "none.safetensors"]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=writer, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stdout) == (141, b"")


@pytest.mark.skipif(os.name == "nt", reason="there is no /bin/sh to start it without one")
def test_without_standard_output() -> None:
    ended = run("/bin/sh", "-c", f"exec '{sys.executable}' -m kontext_core.cli info '{VAE}' >&-")
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_full_disk_behind_the_output() -> None:
    with Path("/dev/full").open("wb") as full:
        ended = run(*KONTEXT, "info", VAE, stdout=full)
    said = "kontext: the output could not be printed: No space left on device\n"
    assert (ended.returncode, ended.stderr.decode()) == (1, said)


def test_what_an_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    file = tmp_path / "schön.safetensors"
    file.write_bytes(Path(VAE).read_bytes())
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = run(*KONTEXT, "info", str(file), stdout=subprocess.PIPE, env=environment)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.startswith(rb"sch\xf6n.safetensors: ")


def test_output_of_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    put("caf\udce9 日")
    assert narrow.buffer.getvalue() == b"caf\\udce9 \\u65e5\n"  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "stdout", None)
    put("nobody hears that")
    assert not Output("stdout").isatty()

    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.raises(ClosedOutputError):
        put("x")


def test_an_edit_writes_lines_into_a_log_and_one_line_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["edit", PICTURE, "x", "--steps", "2", "--device", "cpu", "--output"]
    assert main([*arguments, str(tmp_path / "log")]) == 0
    assert "\r" not in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main([*arguments, str(tmp_path / "terminal")]) == 0
    said = capsys.readouterr().err
    assert "\rturn 1/1  step 1/2\x1b[K\rturn 1/1  step 2/2\x1b[K\rturn 1: x -> " in said
    assert said.count("\n") == 1


def test_a_mistake_of_ours_is_a_sentence_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(*_: object, **__: object) -> None:
        raise KeyError("odd")

    monkeypatch.setattr(Pipeline, "from_spec", load)
    assert main(["edit", PICTURE, "x"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("kontext: KeyError: 'odd' (a bug in this program, in test_cli_ends.py, line ")
    assert said.count("\n") == 1
    with pytest.raises(KeyError):
        main(["--verbose", "edit", PICTURE, "x"])


def swallow(error: Exception | None) -> Callable[..., None]:
    """Something that is interrupted, and makes of it what half-imported modules make of it."""

    def load(*_: object, **__: object) -> None:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        if error is not None:
            raise error

    return load


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("no x"), RuntimeError("lazy"), ValueError("half made")]
)
def test_an_interrupt_that_a_library_turns_into_another_error(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Pipeline, "from_spec", swallow(error))
    assert main(["edit", PICTURE, "x"]) == EXIT == 130
    assert capsys.readouterr().err == "stopped\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


INTERRUPTED_IMPORT = """
import builtins, signal, sys

plain = builtins.__import__

def importing(name, *rest):
    if {module!r} in (name, *(rest[2] or ())) if len(rest) > 2 else name == {module!r}:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pass  # as a destructor in the middle of an import would
    return plain(name, *rest)

from kontext_core.cli import main

builtins.__import__ = importing
sys.argv = ["kontext", *{arguments!r}]
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("argparse", ["--help"]),
        ("torch", ["info", VAE]),
        ("torch", ["edit", "none.png", "x"]),
        ("torch", ["batch", "none.jsonl"]),
        ("torch", ["train", "none"]),
        ("urllib.request", ["run", "none.json"]),
    ],
)
def test_ctrl_c_during_the_imports(module: str, arguments: list[str]) -> None:
    code = INTERRUPTED_IMPORT.format(module=module, arguments=arguments)
    ended = run(sys.executable, "-c", code, stdout=subprocess.PIPE)
    assert (ended.returncode, ended.stderr.decode(), ended.stdout) == (130, "stopped\n", b"")


@pytest.mark.parametrize("alone", [True, False])
def test_only_a_process_of_its_own_ends_while_it_imports(alone: bool) -> None:
    """Another one, which called `main`, has things of its own to leave in order."""
    with Interrupts(alone=alone) as interrupts:
        with importing():
            assert (signal.getsignal(signal.SIGINT) == interrupts.handle) != alone
        assert signal.getsignal(signal.SIGINT) == interrupts.handle
    with importing():
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_handlers_stay_as_they_are() -> None:
    def mine(*_: object) -> None: ...

    before = signal.signal(signal.SIGINT, mine)
    try:
        with Interrupts(alone=True):
            assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)


def test_every_path_knows_home_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of every command: what is a path there is one of `arguments`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    commands = next(action for action in cli._parser()._actions if action.choices)
    seen: set[str] = set()
    for command, parser in dict(commands.choices or {}).items():  # type: ignore[call-overload]
        for action in parser._actions:
            if action.type is Path or isinstance(action.default, Path):
                assert action.type is not Path, f"{command} {action.dest}"
            if action.type is not None and action.dest not in ("instruction", "steps"):
                try:
                    value = action.type("~/x")
                except Exception:  # a number
                    continue
                first = value[0] if isinstance(value, tuple) else value
                assert str(first) == str(tmp_path / "x"), f"{command} {action.dest}"
                seen.add(f"{command} {action.dest}")
    assert seen == {
        "edit picture", "edit reference", "edit mask", "edit lora", "edit model", "edit output", "batch lora",
        "batch model", "batch edits", "batch output", "batch pictures", "info file", "train folder", "train start",
        "score model", "prompt model", "score output", "run workflow", "run comfyui", "run python", "run output",
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "--chains", "-1"],
        ["score", "--steps", "0"],
        ["score", "--count", "0"],
        ["edit", "a.png", "x", "--steps", "1001"],
        ["edit", "a.png", "x", "--guidance", "nan"],
        ["edit", "a.png", "x", "--seed", str(2**64)],
        ["edit", "a.png", "x", "--strength", "1.5"],
        ["edit", "a.png", "x", "--mu", "nan"],
        ["edit", "a.png", "x", "--width", "0"],
        ["edit", "a.png", "x", "--solver", "magic"],
        ["edit", "a.png", "x", "--gpus", "100000"],
        ["edit", "a.png", "x", "--lora", "a:inf"],
        ["batch", "a.jsonl", "--workers", "999999999"],
        ["batch", "a.jsonl", "--attempts", "0"],
        ["batch", "a.jsonl", "--steps", "0"],
        ["train", "a", "--threads", "0"],
        ["train", "a", "--threads", "-1"],
        ["train", "a", "--minutes", "inf"],
    ],
)
def test_counts_and_sizes_have_ranges(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert f"argument {arguments[-2]}: " in capsys.readouterr().err


def test_info_answers_for_each_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"x" * 100)
    assert main(["info", str(bad), VAE, str(tmp_path / "none"), VAE]) == 1
    answers, errors = capsys.readouterr()
    assert answers.count("ae.safetensors: an autoencoder") == 2
    assert [line.partition(": ")[0] for line in errors.splitlines()] == ["kontext", "kontext"]
    assert "bad.safetensors" in errors.splitlines()[0]
    assert "none" in errors.splitlines()[1]


def test_a_second_edit_leaves_the_first_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And its turns have a number of their own, so that nobody takes them for those of the first."""
    picture, out = tmp_path / "photo.png", tmp_path / "out"
    Image.new("RGB", (32, 32), "green").save(picture)
    arguments = ["edit", str(picture), "--steps", "1", "--device", "cpu", "--output", str(out)]
    for turns in (["x"], ["x", "y"], ["x"]):
        assert main([*arguments[:2], *turns, *arguments[2:]]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "photo_turn1-2.png", "photo_turn1-3.png", "photo_turn1.png", "photo_turn2-2.png",
    ]  # fmt: skip
    assert capsys.readouterr().err.endswith(f"-> {out / 'photo_turn1-3.png'}\n")


def test_names_as_long_as_a_disk_takes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for letter, length in (("n", 240), ("m", 251), ("日", 83)):
        picture = tmp_path / f"{letter * length}.png"
        Image.new("RGB", (32, 32), "green").save(picture)
        for _ in range(2):
            assert (
                main(["edit", str(picture), "", "--steps", "1", "--device", "cpu", "--output", str(out)]) == 0
            )
    names = [path.name for path in out.iterdir()]
    assert len(names) == 6
    assert all("_turn1" in name and len(os.fsencode(name)) <= 255 for name in names)
    assert output.OUT is not output.ERR
