"""The measurement on a card, rehearsed on a CPU: every section, its rows, its time limit, and resuming it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.card import __main__ as card
from benchmarks.card import targets
from benchmarks.card.store import Context, Store
from benchmarks.speed import comfyui
from tools.paths import ROOT

Rehearse = Callable[..., dict[str, Any]]


@pytest.fixture
def rehearse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rehearse:
    """Make `rehearse(*options)`, which returns the result, with all sections in this process."""

    def inside(name: str, options: Any) -> str:
        card.run_section(name, Store(tmp_path / "card_rehearsal.json"), options)
        return "done"

    def run(*options: str) -> dict[str, Any]:
        threads = torch.get_num_threads()
        card.main(["--rehearse", "--output", str(tmp_path), *options])
        torch.set_num_threads(threads)
        return json.loads((tmp_path / "card_rehearsal.json").read_text())

    monkeypatch.setattr(card, "_in_a_process", inside)
    return run


def test_all_that_is_measured(rehearse: Rehearse, capsys: pytest.CaptureFixture[str]) -> None:
    """Run every section except the tests."""
    sections = [name for name in card.SECTIONS if name != "tests"]
    result = rehearse(*(option for name in sections for option in ("--section", name)))
    assert [name for name in result["sections"] if result["sections"][name]["rows"]] == sections
    rows = {name: one["rows"] for name, one in result["sections"].items()}
    for name in ("bfloat16", "float16"):
        assert rows["exactness"][name]["verdict"] == "exact"
        assert rows["exactness"][f"{name}, float8 products"]["plain"] > rows["exactness"][name]["plain"]
    assert list(rows["step"]) == ["1 reference", "no reference", "2 references", "copy"]
    usual = rows["step"]["1 reference"]
    assert usual["contestants"]["ours"]["error"] < 1e-5
    assert usual["contestants"]["ComfyUI"]["error"] < 1e-5
    assert usual["contestants"]["diffusers"]["spread"] >= 0
    assert "CUDA" in usual["contestants"]["ours, graph"]["unavailable"]
    assert usual["floor"]["step"] > 0
    assert [row.get("blocks_visit", 0) for row in rows["memory"].values()][3:] == sorted(
        row.get("blocks_visit", 0) for row in rows["memory"].values()
    )[3:]
    assert all(row["finite"] for row in rows["memory"].values())
    assert rows["memory"]["bf16 within 8 GiB"]["blocks_visit"] > 0
    assert rows["edit"]["whole edit, ours"]["seconds"] > 0
    assert rows["edit"]["encode a prompt"]["rounds"] == 2
    verdicts = {row["target"]: row["verdict"] for row in result["targets"]}
    assert verdicts["edit, 1 reference, bf16, ms a step"] == "goal met"
    assert verdicts["x diffusers compiled"] == "not measured"
    assert set(verdicts.values()) <= {"goal met", "met", "missed", "not measured"}
    assert "edit, 1 reference, bf16, ms a step" in capsys.readouterr().out


def test_a_process_for_the_tests_that_need_a_card(tmp_path: Path) -> None:
    """A rehearsal runs two files that need no card; each test is a row."""
    card.main(["--rehearse", "--section", "tests", "--seconds", "300", "--output", str(tmp_path)])
    result = json.loads((tmp_path / "card_rehearsal.json").read_text())["sections"]["tests"]
    assert result["state"] == "done"
    assert len(result["rows"]) > 20
    assert {row["verdict"] for row in result["rows"].values()} == {"passed"}


def test_a_section_is_ended_at_its_limit_and_keeps_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process that writes a row and never ends stands in for a section."""
    script = (
        "import sys, time; from pathlib import Path; from benchmarks.card.store import Store; "
        "store = Store(Path(sys.argv[1])); store.rows('step')['1 reference'] = {'rounds': 1}; store.write(); time.sleep(600)"
    )
    path, popen = tmp_path / "card_rehearsal.json", card.subprocess.Popen

    def begin(command: list[str], **options: Any) -> Any:
        process = popen([command[0], "-c", script, str(path)], **options)
        while not (path.is_file() and Store(path).rows("step")):
            assert process.poll() is None
        return process

    monkeypatch.setattr(card.subprocess, "Popen", begin)
    card.main(["--rehearse", "--section", "step", "--seconds", "0.2", "--output", str(tmp_path)])
    step = json.loads(path.read_text())["sections"]["step"]
    assert step["state"] == "killed after 0.2 s"
    assert step["rows"] == {"1 reference": {"rounds": 1}}


def test_a_second_run_goes_on(rehearse: Rehearse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Existing rows are kept, unavailable ones are tried again, and --anew starts from scratch."""
    measured: list[str] = []
    works = {"a": True, "b": False}

    def measure(name: str) -> dict[str, Any]:
        measured.append(name)
        if not works[name]:
            raise RuntimeError("no kernel image\nand more")
        return {"seconds": 1.0}

    def section(context: Context) -> None:
        for name in works:
            context.attempt(name, lambda name=name: measure(name))
        context.attempt("c", lambda: measure("c"), needs=1e9)

    monkeypatch.setattr(card, "SECTIONS", {"step": card.Section(50, section)})
    rows = rehearse()["sections"]["step"]["rows"]
    assert rows["b"] == {"unavailable": "RuntimeError: no kernel image"}
    assert rows["c"] == {"unavailable": "no time was left"}
    rehearse()
    assert measured == ["a", "b"], "it was done"
    monkeypatch.setattr(card, "_in_a_process", lambda *_: "ended with code 1")
    rehearse("--anew")
    assert measured == ["a", "b"]


def test_rows_are_kept_when_a_run_was_ended(tmp_path: Path) -> None:
    store, measured, works = Store(tmp_path / "card.json"), [], {"b": False}

    def once() -> None:
        rows = Store(store.path).rows("step")

        def keep(key: str, row: Any) -> None:
            store.rows("step")[key] = dict(row)
            store.write()

        context = Context(torch.device("cpu"), True, rows, keep, lambda: 10.0)
        context.attempt("a", lambda: measured.append("a") or {"seconds": 0.123456789})
        context.attempt("b", lambda: {"seconds": 2.0} if works["b"] else 1 / 0)

    once()
    assert Store(store.path).rows("step")["a"] == {"seconds": 0.1235}
    assert "ZeroDivisionError" in Store(store.path).rows("step")["b"]["unavailable"]
    works["b"] = True
    once()
    assert measured == ["a"]
    assert Store(store.path).rows("step")["b"] == {"seconds": 2.0}


@pytest.mark.parametrize(
    ("value", "least", "verdict"),
    [
        (10, False, "goal met"),
        (12, False, "met"),
        (14, False, "missed"),
        (12, True, "missed"),
        (13, True, "met"),
    ],
)
def test_verdicts(value: float, least: bool, verdict: str) -> None:
    must, goal = (13, 14) if least else (13, 11)
    target = targets.Target("speed", lambda rows: rows["x"], must, goal, least)
    assert target.row({"x": value})["verdict"] == verdict
    assert target.row({})["verdict"] == "not measured"
    assert "value" not in target.row({"x": None})


def test_sections_end_within_eight_minutes() -> None:
    assert sum(section.seconds for section in card.SECTIONS.values()) <= 8 * 60


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("", "there is no CUDA card here; --rehearse goes through all of it on a CPU"),
        ("--rehearse --seconds 0", "--seconds 0 is not an amount of time; give a number above 0"),
        ("--rehearse --output README.md", "--output README.md is a file; name a folder"),
        ("--rehearse --section speed", "invalid choice: 'speed'"),
    ],
)
def test_options(
    options: str, sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit):
        card.main(options.split())
    assert sentence in capsys.readouterr().err


def test_where_comfyui_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The named folder, the one that comes with the checkout, the cache."""
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "named"))
    monkeypatch.setenv("KONTEXT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(comfyui, "TRAVELS", tmp_path / "travels")
    with pytest.raises(
        comfyui.UnavailableError, match=r"set COMFYUI_PATH, or put its folder comfy into .*travels"
    ):
        comfyui.tree()
    for name in (f"cache/comfyui-{comfyui.VERSION}", "travels", "named"):
        file = tmp_path / name / "comfy" / "ldm" / "flux" / "model.py"
        file.parent.mkdir(parents=True)
        file.write_text("")
        assert comfyui.tree() == tmp_path / name
