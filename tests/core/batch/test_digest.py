"""A batch recognises its model and LoRAs by their content, not by location or time."""

import argparse
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from kontext_core.batch import command, digest, processes
from kontext_core.batch.digest import MEMORY, Digests, files_of_lora, files_of_model
from kontext_core.batch.edits import read_edits
from kontext_core.batch.store import RESULTS
from kontext_core.batch.work import WorkerModel
from kontext_core.cli import main
from kontext_core.loading.locate import TINY_FOLDER
from kontext_core.model_spec import ModelSpec
from tests.core.batch.conftest import Pretended

LINE = {"id": "x", "pictures": "a.png", "instructions": "do it"}
YEAR_NS = 365 * 86_400 * 10**9


@pytest.fixture
def run(
    folder: Path,
    lines: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str]]:
    """`run(*options)`: how many edits a batch of one line makes, and what it says; no model is loaded."""
    path = lines(LINE)

    def call(*options: object) -> tuple[int, str]:
        log: list[str] = []
        monkeypatch.setattr(processes, "ProcessWorker", lambda *_, **__: Pretended(log))
        arguments = ["batch", path, "--output", folder / "out", "--device", "cpu", *options]
        assert main([str(argument) for argument in arguments]) == 0
        return len(log), capsys.readouterr().err

    return call


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    file = tmp_path / "style.safetensors"
    file.write_bytes(b"first")
    return file


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder that a test may change."""
    return Path(shutil.copytree(TINY_FOLDER, tmp_path / "model"))


def rewrite(file: Path, data: bytes) -> None:
    """Replace content without changing size or time."""
    times = file.stat()
    assert len(data) == times.st_size
    file.write_bytes(data)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_lora_of_the_same_size_and_time(run: Callable[..., tuple[int, str]], lora: Path) -> None:
    assert run("--lora", f"{lora}:1")[0] == 1
    assert run("--lora", f"{lora}:1") == (0, run("--lora", f"{lora}:1")[1])
    rewrite(lora, b"other")
    made, said = run("--lora", f"{lora}:1")
    assert made == 1
    assert said.startswith(
        "x was made before, but its line, a picture, the model or a LoRA has changed since: it is tried again"
    )
    assert run("--lora", f"{lora}:1")[0] == 0
    assert run("--lora", f"{lora}:0.5")[0] == 1


@pytest.mark.parametrize(
    "part", ["flux1-kontext-dev.safetensors", "text_encoder/config.json", "tokenizer/vocab.json"]
)
def test_any_part_of_a_model(run: Callable[..., tuple[int, str]], model: Path, part: str) -> None:
    assert run("--model", model)[0] == 1
    file = model / part
    data = bytearray(file.read_bytes())
    if part.endswith(".json"):
        data += b" "
        file.write_bytes(data)
    else:
        data[-1] ^= 1
        rewrite(file, bytes(data))
    assert [run("--model", model)[0] for _ in range(2)] == [1, 0]


def test_another_place_or_time_is_the_same_model(
    run: Callable[..., tuple[int, str]], model: Path, lora: Path, tmp_path: Path
) -> None:
    assert run("--model", model, "--lora", lora)[0] == 1
    for file in (lora, *model.rglob("*")):
        os.utime(file)
    moved, there = model.rename(tmp_path / "moved"), lora.rename(tmp_path / "elsewhere.safetensors")
    assert run("--model", moved, "--lora", there)[0] == 0


@pytest.mark.parametrize(
    ("options", "again"),
    [
        (["--weights", "fp8"], 1),
        (["--float8"], 1),
        (["--attention", "sage"], 1),
        (["--weights", "auto", "--memory", "8"], 1),
        (
            [
                "--memory",
                "8",
                "--waits",
                "file",
                "--compile",
                "--graph",
                "--attention",
                "torch",
                "--workers",
                "2",
            ],
            0,
        ),
    ],
)
def test_options_that_change_pictures(
    run: Callable[..., tuple[int, str]], options: list[str], again: int
) -> None:
    assert run()[0] == 1
    assert run(*options)[0] == again


def test_options_reach_the_workers(
    run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    asked: list[WorkerModel] = []

    def worker(model: WorkerModel, **_: object) -> Pretended:
        asked.append(model)
        return Pretended([])

    starts = command._starts

    def noted(options: Any, model: ModelSpec, stack: Any) -> Any:
        monkeypatch.setattr(processes, "ProcessWorker", worker)
        return starts(options, model, stack)

    monkeypatch.setattr(command, "_starts", noted)
    run("--memory", "8", "--weights", "fp8", "--attention", "torch", "--workers", "2")
    (model,) = asked
    assert (model.spec.memory_gib, model.spec.quantise, model.sharers) == (8.0, "fp8", 1)
    assert model.spec.compute is not None
    assert model.spec.compute.attention == "torch"
    assert model.threads == max((os.cpu_count() or 1) // 2, 1)


@pytest.mark.parametrize(
    ("cards", "options", "devices", "sharers"),
    [
        (2, {}, ["cuda:0", "cuda:1"], 1),
        (2, {"workers": 3}, ["cuda:0", "cuda:1", "cuda:0"], 2),
        (2, {"workers": 2, "device": "cuda:1"}, ["cuda:1", "cuda:1"], 2),
        (0, {"workers": 2, "device": "cpu"}, ["cpu", "cpu"], 1),
    ],
)
def test_workers_on_one_card_share_it(
    monkeypatch: pytest.MonkeyPatch, cards: int, options: dict[str, Any], devices: list[str], sharers: int
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    given = {"device": None, "workers": None, "engine": "processes", "ray_address": None, "verbose": False}
    starts: list[Any] = command._starts(argparse.Namespace(**given | options), ModelSpec(), ExitStack())
    assert [start.args[0].spec.device for start in starts] == devices
    assert {start.args[0].sharers for start in starts} == {sharers}


def earlier_record(folder: Path, model: Path, lora: Path) -> Path:
    """Write the results of a version that recognised models by name. Returns: the picture."""
    (edit,), _ = read_edits(folder / "edits.jsonl", folder, {"steps": 28})
    name = hashlib.sha256(json.dumps([str(model), [[str(lora), 1.0]]]).encode()).hexdigest()
    key = edit.key([(folder / "a.png").read_bytes()], name)
    picture = folder / "out" / "x_turn1.png"
    picture.parent.mkdir()
    picture.write_bytes(b"made before")
    record = {
        "id": "x",
        "status": "done",
        "pictures": [picture.name],
        "line": 1,
        "key": key,
        "sizes": [[1, 1]],
    }
    (folder / "out" / RESULTS).write_text(json.dumps(record) + "\n")
    return picture


def test_what_an_earlier_version_made_is_kept(
    run: Callable[..., tuple[int, str]], folder: Path, model: Path, lora: Path
) -> None:
    """From then on it is recognised by its content."""
    picture = earlier_record(folder, model, lora)
    os.utime(picture, ns=(0, picture.stat().st_mtime_ns + YEAR_NS))
    made, said = run("--model", model, "--lora", lora)
    assert made == 0
    assert "0 made, 1 already there, 0 failed" in said
    os.utime(picture, ns=(0, 0))
    assert run("--model", model, "--lora", lora)[0] == 0
    rewrite(lora, b"other")
    assert run("--model", model, "--lora", lora)[0] == 1


@pytest.mark.parametrize("options", [[], ["--weights", "fp8"]])
def test_but_not_by_a_model_that_changed_since_or_in_another_form(
    run: Callable[..., tuple[int, str]], folder: Path, model: Path, lora: Path, options: list[str]
) -> None:
    picture = earlier_record(folder, model, lora)
    age_ns = YEAR_NS if options else -YEAR_NS
    os.utime(picture, ns=(0, picture.stat().st_mtime_ns + age_ns))
    assert run("--model", model, "--lora", lora, *options)[0] == 1


def test_files_are_read_once_until_they_look_different(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, read = tmp_path / "a", list[str]()
    file.write_bytes(b"some weights")
    hashed = hashlib.file_digest
    monkeypatch.setattr(digest.hashlib, "file_digest", lambda *given: (read.append("a"), hashed(*given))[1])
    later = file.stat().st_mtime_ns + 60 * 10**9
    monkeypatch.setattr(digest.time, "time_ns", lambda: later)

    def ask() -> str:
        digests = Digests(tmp_path / MEMORY, print)
        answer = digests.of([file])
        digests.keep()
        return answer

    first = ask()
    assert (ask(), len(read)) == (first, 1)
    os.utime(file, ns=(0, 0))
    assert (ask(), len(read)) == (first, 2)
    rewrite(file, b"some Weights")
    assert ask() != first
    assert len(read) == 3
    for odd in ("{", "[1]", '{"a": 1}', "[" * 100_000, '{"a": {"sha256": 5}}'):
        (tmp_path / MEMORY).write_text(odd)
        assert ask() != first
    # So young that it may change again unseen.
    now = max(file.stat().st_mtime_ns, file.stat().st_ctime_ns) + 10**9
    monkeypatch.setattr(digest.time, "time_ns", lambda: now)
    (tmp_path / MEMORY).unlink()
    assert ask() != first
    count = len(read)
    ask()
    assert len(read) == count + 1


def test_a_long_reading_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "_LONG", 3)
    (tmp_path / "a").write_bytes(b"four")
    said: list[str] = []
    Digests(tmp_path / MEMORY, said.append).of([tmp_path / "a"])
    assert said == [f"reading {tmp_path / 'a'} once, to notice when it changes (0 GiB)"]


def test_which_files(model: Path, tmp_path: Path) -> None:
    (model / "README.md").write_text("of no account")
    names = [file.relative_to(model).as_posix() for file in files_of_model(str(model))]
    assert names[:2] == ["flux1-kontext-dev.safetensors", "ae.safetensors"]
    assert {
        "text_encoder/model.safetensors",
        "text_encoder_2/model.safetensors",
        "tokenizer/vocab.json",
    } < set(names)
    assert "README.md" not in names
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for name in ("adapter_model.safetensors", "adapter_config.json", "notes.txt"):
        (adapter / name).touch()
    both = {adapter / "adapter_config.json", adapter / "adapter_model.safetensors"}
    assert set(files_of_lora(adapter)) == set(files_of_lora(adapter / "adapter_model.safetensors")) == both
    with pytest.raises(ValueError, match=r"there is no file .*none"):
        files_of_lora(tmp_path / "none")


def test_weights_that_are_not_there_are_one_sentence(
    folder: Path, lines: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = lines(LINE)
    for options, sentence in (
        (["--model", "none"], "there is no file or folder "),
        (["--lora", "none.safetensors"], "there is no file "),
    ):
        assert main(["batch", str(path), "--output", str(folder / "out"), *options]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"kontext: {sentence}")
        assert said.count("\n") == 1
