"""How command lines have a model loaded: each option arrives, and those that change pictures are known."""

import argparse
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import torch

from kontext_core.cli.options import loading_options, lora_option, model_options
from kontext_core.memory.offload_plan import GIB
from kontext_core.model_options import ModelOptions
from kontext_core.pipeline import Pipeline

GIVEN = (
    "--memory 8 --waits file --weights fp8 --compile --float8 --attention torch --graph --device cpu --model m "
    "--lora l:2"
)


def parsed(*arguments: str) -> ModelOptions:
    parser = argparse.ArgumentParser()
    for add in (lora_option, model_options, loading_options):
        add(parser)
    return ModelOptions.of(parser.parse_args(arguments))


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `Pipeline.load` is asked; it loads nothing."""
    asked: list[dict[str, Any]] = []

    def load(model: str, **options: Any) -> str:
        asked.append({"model": model, **options})
        return "a pipeline"

    monkeypatch.setattr(Pipeline, "load", load)
    return asked


def test_every_option_has_its_field() -> None:
    here = Path.cwd()
    assert parsed(*GIVEN.split()) == ModelOptions(
        str(here / "m"),
        "cpu",
        ((str(here / "l"), 2.0),),
        memory=8.0,
        waits="file",
        weights="fp8",
        compile=True,
        float8=True,
        attention="torch",
        graph=True,
    )
    assert parsed() == ModelOptions()


def test_every_field_arrives(loaded: list[dict[str, Any]]) -> None:
    options = parsed(*GIVEN.partition(" --lora")[0].split())
    assert ModelOptions(**json.loads(json.dumps(asdict(options)))).load() == "a pipeline"
    (asked,) = loaded
    wishes = asked.pop("wishes")
    assert (wishes.attention, wishes.graph) == ("torch", True)
    assert asked == {
        "model": str(Path.cwd() / "m"),
        "device": "cpu",
        "quantise": "fp8",
        "memory_gib": 8.0,
        "waits": "file",
        "compile": True,
        "float8": True,
    }


def test_an_attention_that_is_not_known_loads_nothing(loaded: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="attention 'magic' is not known; choose auto, flash4"):
        ModelOptions(attention="magic").load()
    assert loaded == []


def test_those_who_share_a_card_share_its_memory(
    loaded: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (20 * GIB, 24 * GIB))
    for options in (
        ModelOptions(device="cuda:0", sharers=2),
        ModelOptions(device="cuda:0", sharers=1),
        ModelOptions(device="cpu", sharers=2),
        ModelOptions(device="cuda:0", sharers=2, memory=3),
    ):
        options.load()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (5 * GIB, 24 * GIB))
    ModelOptions(device="cuda:0", sharers=2).load()
    assert [asked["memory_gib"] for asked in loaded] == [12, "auto", "auto", 3, 5]


@pytest.mark.parametrize(
    ("options", "changing"),
    [
        ({}, {}),
        ({"memory": 8.0, "waits": "file", "compile": True, "graph": True, "device": "cpu"}, {}),
        ({"attention": "torch"}, {}),
        ({"attention": "sage"}, {"attention": "sage"}),
        ({"float8": True}, {"float8": True}),
        ({"weights": "fp8", "memory": 8.0}, {"weights": "fp8"}),
        ({"weights": "auto", "memory": 8.0}, {"weights": "auto", "memory": 8.0}),
    ],
)
def test_what_changes_pictures(options: dict[str, Any], changing: dict[str, Any]) -> None:
    assert ModelOptions(**options).picture_options() == changing


def test_every_field_is_thought_of() -> None:
    """A new one changes pictures, or it does not."""
    same = {"model", "loras", "device", "memory", "waits", "compile", "graph", "threads", "sharers"}
    assert {field.name for field in fields(ModelOptions)} - same == {"weights", "float8", "attention"}
