"""The description of a model: each option of a command line arrives, and impossible values are refused."""

import argparse
import json
import math
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from kontext_core.batch.command import picture_options
from kontext_core.batch.work import WorkerModel
from kontext_core.checks.arguments import gib
from kontext_core.cli.options import loading_options, lora_option, model_options, spec_of
from kontext_core.errors import CheckpointError
from kontext_core.kernels.attention_backends import BACKENDS
from kontext_core.memory.offload_plan import GIB, budget_bytes
from kontext_core.model_spec import (
    ATTENTION,
    DTYPES,
    INEXACT_ATTENTION,
    MODEL_PARTS,
    PACKED_FORMS,
    ComputeOptions,
    Lora,
    ModelSpec,
)
from kontext_core.pipeline import Pipeline
from kontext_core.quant.schemes import SCHEMES

GIVEN = (
    "--memory 8 --waits file --weights fp8 --compile --float8 --attention torch --graph --device cpu --model m "
    "--lora l:2"
)


def parsed(*arguments: str) -> ModelSpec:
    parser = argparse.ArgumentParser()
    for add in (lora_option, model_options, loading_options):
        add(parser)
    return spec_of(parser.parse_args(arguments))


def test_every_option_has_its_field() -> None:
    here = Path.cwd()
    assert parsed(*GIVEN.split()) == ModelSpec(
        model=str(here / "m"),
        device="cpu",
        loras=(Lora(str(here / "l"), 2.0),),
        memory_gib=8.0,
        waits="file",
        quantise="fp8",
        compile=True,
        float8=True,
        compute=ComputeOptions(attention="torch", graph=True),
    )
    assert parsed() == ModelSpec(memory_gib="auto", compute=ComputeOptions())


def test_every_field_goes_through_json() -> None:
    spec = parsed(*GIVEN.split())
    model = {part: part for part in MODEL_PARTS}
    spec = ModelSpec(
        **{field.name: getattr(spec, field.name) for field in fields(spec)}
        | {"model": model, "dtype": "float16"}
    )
    values = spec.to_json()
    assert set(values) == {field.name for field in fields(ModelSpec)}, "each differs from its default"
    assert ModelSpec.from_json(json.loads(json.dumps(values))) == spec
    assert ModelSpec().to_json() == {}
    with pytest.raises(ValueError, match=r"^'weights' says nothing of a model; there are model, device, "):
        ModelSpec.from_json({"weights": "fp8"})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"model": {"vae": "a"}},
            "a model needs a path for each of transformer, vae, .*; not given: transformer",
        ),
        ({"dtype": "int8"}, "dtype is 'int8' and must be one of float32, bfloat16, float16, float64"),
        ({"quantise": "int3"}, "quantise is 'int3'; it must be one of fp8, fp8_tensor, int8"),
        (
            {"waits": "cloud"},
            "weights that visit the device wait in 'cloud'; choose one of auto, memory, file",
        ),
        ({"memory_gib": "much"}, "memory_gib is 'much' and must be GiB above 0, least, auto, or None"),
        ({"memory_gib": 0}, "memory_gib is 0 and must be GiB above 0"),
        ({"memory_gib": float("nan")}, "memory_gib is nan and must be GiB above 0"),
        ({"memory_gib": float("inf")}, "memory_gib is inf and must be GiB above 0"),
        ({"memory_gib": True}, "memory_gib is True and must be GiB above 0"),
        ({"compile": "no"}, "compile is 'no' and must be True or False"),
        ({"float8": None}, "float8 is None and must be True or False"),
    ],
)
def test_what_no_model_can_have(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        ModelSpec(**values)


def test_an_attention_that_is_not_known() -> None:
    with pytest.raises(ValueError, match=r"^attention 'magic' is not known; choose auto, flash4"):
        parsed("--attention", "magic")
    with pytest.raises(ValueError, match=r"^kernels 'magic' are not known; choose one of auto, plain"):
        ComputeOptions(kernels="magic")


def test_names_are_those_that_work() -> None:
    assert tuple(BACKENDS) == ATTENTION
    assert tuple(name for name, backend in BACKENDS.items() if not backend.exact) == INEXACT_ATTENTION
    assert SCHEMES == PACKED_FORMS
    assert all(getattr(torch, name).is_floating_point for name in DTYPES)


def test_no_torch_is_needed() -> None:
    code = "import sys, kontext_core.model_spec, kontext_core.cli.options; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_pipeline_is_loaded_from_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each keyword of `Pipeline.load` is a field."""
    specs: list[ModelSpec] = []
    monkeypatch.setattr(Pipeline, "from_spec", specs.append)
    compute = ComputeOptions(graph=True)
    Pipeline.load(
        Path("m"), dtype=torch.float16, device=torch.device("cpu"), quantise="fp8", memory_gib=8, waits="file",
        compile=True, float8=True, wishes=compute,
    )  # fmt: skip
    assert specs == [
        ModelSpec(
            model="m", dtype="float16", device="cpu", quantise="fp8", memory_gib=8, waits="file", compile=True,
            float8=True, compute=compute,
        )
    ]  # fmt: skip


def test_a_path_is_a_folder_also_where_it_has_the_name_of_the_tiny_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError):
        Pipeline.load(Path("tiny"), device="cpu")
    assert Pipeline.load("tiny", device="cpu").preferred_sizes


def test_those_who_share_a_card_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[ModelSpec] = []
    monkeypatch.setattr(Pipeline, "from_spec", loaded.append)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (20 * GIB, 24 * GIB))
    for spec, sharers in (
        (ModelSpec(device="cuda:0", memory_gib="auto"), 2),
        (ModelSpec(device="cuda:0", memory_gib="auto"), 1),
        (ModelSpec(device="cpu", memory_gib="auto"), 2),
        (ModelSpec(device="cuda:0", memory_gib=3), 2),
    ):
        WorkerModel(spec, sharers=sharers).load()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (5 * GIB, 24 * GIB))
    WorkerModel(ModelSpec(device="cuda:0", memory_gib="auto"), sharers=2).load()
    assert [spec.memory_gib for spec in loaded] == [12, "auto", "auto", 3, 5]


@pytest.mark.parametrize(
    ("options", "changing"),
    [
        ("", {}),
        ("--memory 8 --waits file --compile --graph --device cpu", {}),
        ("--attention torch", {}),
        ("--attention sage", {"attention": "sage"}),
        ("--float8", {"float8": True}),
        ("--weights fp8 --memory 8", {"weights": "fp8"}),
        ("--weights auto --memory 8", {"weights": "auto", "memory": 8.0}),
        ("--weights auto", {"weights": "auto"}),
    ],
)
def test_what_changes_pictures(options: str, changing: dict[str, Any]) -> None:
    assert picture_options(parsed(*options.split())) == changing


def test_every_field_is_thought_of() -> None:
    """A new one changes pictures, or it does not."""
    same = {"model", "loras", "device", "dtype", "memory_gib", "waits", "compile"}
    assert {field.name for field in fields(ModelSpec)} - same == {"quantise", "float8", "compute"}


@pytest.mark.parametrize("amount", [0.0, -1.0, math.nan, math.inf, 1e308])
def test_an_amount_of_memory_is_the_same_at_every_door(amount: float) -> None:
    """1e308 GiB are not a number of bytes."""
    with pytest.raises(ValueError, match="GiB above 0"):
        ModelSpec(memory_gib=amount)
    with pytest.raises(argparse.ArgumentTypeError, match="give GiB above 0"):
        gib(str(amount))
    with pytest.raises(ValueError, match="an amount above 0"):
        budget_bytes(amount)
    most = sys.float_info.max / 2**30
    assert ModelSpec(memory_gib=most).memory_gib == gib(str(most)) == most
    assert budget_bytes(most) == int(most * GIB)
