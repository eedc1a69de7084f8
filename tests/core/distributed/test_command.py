"""`kontext edit --gpus N`: the same picture as with one process, and one sentence if a process fails."""

import argparse
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from kontext_core.cli import main
from kontext_core.cli.edit import add_edit
from kontext_core.distributed import command, launch, sequence_parallel
from kontext_core.distributed.command import FOLLOWED, LED, _check, _networks, _undivided
from kontext_core.distributed.launch import RankAddress, run_ranks
from kontext_core.distributed.ranks import LOST
from kontext_core.errors import TooLittleMemoryError
from kontext_core.loading import load_parts
from kontext_core.model_spec import Lora, ModelSpec
from kontext_core.pipeline import Pipeline
from kontext_core.quant.layer import PackedLinear

PICTURE = str(Path(__file__).parents[3] / "workflows" / "single_edit.jpg")


def test_edit_by_two_processes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Settings that only the first process knows count too."""
    made, mask = [], tmp_path / "mask.png"
    Image.new("L", (9, 9), "white").save(mask)
    for count in ("1", "2"):
        out = tmp_path / count
        arguments = ["edit", PICTURE, "make the background sand", "--steps", "2", "--device", "cpu"]
        arguments += [
            "--strength",
            "0.9",
            "--solver",
            "heun",
            "--mu",
            "1",
            "--negative",
            "green",
            "--cfg",
            "2",
        ]
        assert (
            main(
                [
                    *arguments,
                    "--reference",
                    PICTURE,
                    "--mask",
                    str(mask),
                    "--gpus",
                    count,
                    "--output",
                    str(out),
                ]
            )
            == 0
        )
        assert f"turn 1: make the background sand -> {out}" in capfd.readouterr().err
        made.append(np.asarray(Image.open(out / "single_edit_turn1.png"), dtype=np.int16))
    assert abs(made[0] - made[1]).max() <= 1


@pytest.mark.parametrize(
    ("others", "sentence"),
    [
        (["--device", "mps"], "runs on 'cuda' or 'cpu', but 'mps' was requested"),
        (["--device", "cpu", "--approximate", "teacache"], "--approximate is for an edit on one device"),
        (["--device", "cpu", "--negative", "snow", "--nag", "5"], "--nag is for an edit on one device"),
        (
            ["--device", "cpu", "--float8"],
            "--float8 is for an edit on one device; leave it out, or leave --gpus out",
        ),
        (["--device", "cpu", "--memory", "8"], "--memory is for an edit on one device"),
        (["--device", "cpu", "--waits", "file"], "--waits is for an edit on one device"),
        (["--device", "cpu", "--compile"], "--compile is for an edit on one device"),
        (["--device", "cpu", "--graph"], "--graph is for an edit on one device"),
        (["--device", "cpu", "--attention", "sage"], "--attention is for an edit on one device"),
        (
            ["--device", "cpu", "--weights", "auto"],
            "--weights auto is for an edit on one device; name a form",
        ),
    ],
)
def test_what_cannot_be_shared(others: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edit", PICTURE, "x", "--gpus", "2", *others]) == 1
    assert sentence in capsys.readouterr().err


def test_a_new_option_is_refused_until_it_is_listed() -> None:
    """Return every flag of `kontext edit` with a value other than its default."""
    parser = argparse.ArgumentParser()
    add_edit(parser.add_subparsers())
    edit = next(iter(parser._subparsers._group_actions[0].choices.values()))  # type: ignore[union-attr, index]
    edit.add_argument("--brand-new")
    given = parser.parse_args(["edit", PICTURE, "x", "--gpus", "2"])
    given.verbose, given.given = True, []
    _check(given)
    refused: dict[str, str] = {}
    for action in edit._actions:
        if action.dest in ("help", "joined", "gpus"):
            continue
        changed = argparse.Namespace(**{**vars(given), action.dest: "another"})
        try:
            _check(changed)
        except ValueError as error:
            refused[action.dest] = str(error)
    assert {action.dest for action in edit._actions} - refused.keys() == {
        *FOLLOWED,
        *LED,
        "help",
        "joined",
        "gpus",
    }
    assert (
        refused["brand_new"] == "--brand-new is for an edit on one device; leave it out, or leave --gpus out"
    )
    assert refused.keys() == {
        "memory",
        "waits",
        "compile",
        "float8",
        "attention",
        "graph",
        "approximate",
        "nag_scale",
        "brand_new",
    }


def test_the_network_is_whole_on_every_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Including a rank that loads it with LoRAs, or has too little memory for it."""
    pipeline = Pipeline.load("tiny", device="cpu")
    assert _undivided(pipeline) is pipeline
    divided = Pipeline.load("tiny", device="cpu", memory_gib="least")
    with pytest.raises(
        ValueError, match=r"holds the whole network, but cpu has no room for it; use weights of fewer"
    ):
        _undivided(divided)
    monkeypatch.setattr(Pipeline, "from_spec", lambda _: divided)
    with pytest.raises(ValueError, match="holds the whole network"):
        _networks(ModelSpec(loras=(Lora("a"),)), torch.device("cpu"))

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    monkeypatch.setattr(load_parts, "load_transformer", full)
    with pytest.raises(
        TooLittleMemoryError, match=r"^there is too little memory for the network on cpu; use weights"
    ):
        _networks(ModelSpec(), torch.device("cpu"))


@pytest.mark.parametrize("rank", [0, 1])
def test_every_process_loads_onto_its_own_card(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str | None] = []
    ranks = SimpleNamespace(rank=rank, device=torch.device("cuda", 5))
    monkeypatch.setattr(command, "_ranks", lambda _: nullcontext(ranks))
    monkeypatch.setattr(command, "_check", lambda _: None)
    monkeypatch.setattr(command, "_networks", lambda model, device: loaded.append(model.device))
    monkeypatch.setattr(sequence_parallel, "worker_loop", lambda *_: None)
    options = argparse.Namespace(joined="0:2:x")
    command.spread_over(options, ModelSpec(), lambda _, model, __: loaded.append(model.device))
    assert loaded == ["cuda:5"]


def test_the_form_of_weights_reaches_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    (network,) = _networks(ModelSpec(quantise="int8"), torch.device("cpu"))
    assert any(isinstance(module, PackedLinear) for module in network.modules())
    (network,) = _networks(ModelSpec(), torch.device("cpu"))
    assert not any(isinstance(module, PackedLinear) for module in network.modules())


def test_a_reason_that_finds_no_room_hides_none(tmp_path: Path) -> None:
    RankAddress(0, 1, tmp_path / "gone").fail("why")
    RankAddress(0, 1, tmp_path).fail("caf\udce9")
    assert RankAddress(0, 1, tmp_path).fault.read_text(encoding="utf-8") == "caf?"


def test_an_interrupt_while_they_start_ends_those_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(place: RankAddress, arguments: object, heard: bool) -> "subprocess.Popen[bytes]":
        if started:
            raise KeyboardInterrupt
        started.append(subprocess.Popen([sys.executable, "-S", "-c", "import time; " + WAIT]))
        return started[-1]

    monkeypatch.setattr(launch, "_start", start)
    monkeypatch.setattr(launch, "_GRACE_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run_ranks(["edit"], 2)
    assert started[0].poll() is not None


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list["subprocess.Popen[bytes]"]]:
    """`scripts(a, b)`: the ranks run these lines of Python, which know their `place`."""
    started: list[subprocess.Popen[bytes]] = []

    def given(*codes: str) -> list["subprocess.Popen[bytes]"]:
        def start(place: RankAddress, arguments: object, heard: bool) -> "subprocess.Popen[bytes]":
            head = f"import os, sys, time; fault = {str(place.fault)!r}; "
            started.append(subprocess.Popen([sys.executable, "-S", "-c", head + codes[place.rank]]))
            return started[-1]

        monkeypatch.setattr(launch, "_start", start)
        return started

    return given


WAIT = "time.sleep(600)"
SAYS = "open(fault, 'w').write({!r}); sys.exit(1)"


@pytest.mark.parametrize(
    ("codes", "sentence"),
    [
        (
            (WAIT, "os.kill(os.getpid(), 9)"),
            "process 2 of the 2 of this edit was killed by signal 9, so all of them were stopped",
        ),
        (("sys.exit(7)", WAIT), "process 1 of the 2 of this edit ended with exit code 7"),
        ((SAYS.format(LOST), SAYS.format("too little memory")), "^too little memory$"),
        (
            ("time.sleep(1); " + SAYS.format(LOST), "os.kill(os.getpid(), 9)"),
            "process 2 of the 2 .* signal 9",
        ),
        ((SAYS.format("there is no file x"), WAIT), "^there is no file x$"),
    ],
)
def test_all_end_with_the_reason_of_the_one_that_failed(
    codes: tuple[str, str], sentence: str, scripts: Callable[..., list["subprocess.Popen[bytes]"]]
) -> None:
    started = scripts(*codes)
    with pytest.raises(RuntimeError, match=sentence):
        run_ranks(["edit"], 2)
    for code, process in zip(codes, started, strict=True):
        ended = process.poll()
        assert ended is not None
        assert code != WAIT or ended < 0, "it was stopped, and did not come to its end"


def test_all_end_well(scripts: Callable[..., list["subprocess.Popen[bytes]"]]) -> None:
    scripts("time.sleep(0.2)", "pass")
    run_ranks(["edit"], 2)


def test_a_place_as_text(tmp_path: Path) -> None:
    place = RankAddress(1, 3, tmp_path / "a:b")
    assert RankAddress.parse(str(place)) == place
