"""Settings of an edit: checked once, with one sentence for each error."""

import inspect
import json
import math
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kontext_core import cli
from kontext_core.batch.edits import SETTINGS, read_edits
from kontext_core.cli.options import settings_of
from kontext_core.config import FITS, SOLVERS
from kontext_core.edit_settings import ALLOWED, SHORT_NAMES, EditOptions, EditSettings, SampleOptions
from kontext_core.images.fitting import fit_image
from kontext_core.sampling.denoise import denoise
from kontext_core.sampling.solvers import SOLVERS as FUNCTIONS

UNUSABLE: list[tuple[str, Any, str]] = [
    ("steps", 0, "steps is 0 and must be a whole number from 1 to 1000"),
    ("steps", 1001, "steps is 1001 and must be"),
    ("steps", 2.5, "steps is 2.5 and must be"),
    ("steps", True, "steps is True and must be"),
    ("steps", "20", "steps is '20' and must be"),
    ("steps", None, "steps is None and must be"),
    ("steps", 10**5000, "steps is a number of about 5000 digits and must be"),
    ("seed", 2**64, "seed is 18446744073709551616 and must be a whole number from -9223372036854775808 to"),
    ("mu", math.inf, "mu is inf and must be a number from -20 to 20"),
    ("batch", 65, "batch is 65 and must be a whole number from 1 to 64"),
    ("width_px", 65_537, "width_px is 65537 and must be a whole number from 1 to 65536"),
    ("height_px", 0, "height_px is 0 and must be"),
    ("guidance", math.nan, "guidance is nan and must be a number from 0 to 100"),
    ("guidance", -1, "guidance is -1 and must be"),
    ("cfg_scale", 101, "cfg_scale is 101 and must be a number from 0 to 100"),
    ("strength", 1.5, "strength is 1.5 and must be a number from 0 to 1"),
    ("strength", [1], r"strength is \[1\] and must be"),
    ("solver", "magic", "solver is 'magic' and must be one of euler, heun, dpmpp_2m"),
    ("layout", "round", "layout is 'round' and must be one of offset, index, diagonal"),
    ("fit", ["crop"], r"fit is \['crop'\] and must be one of crop, pad, stretch, none"),
    ("negative_prompt", 5, "negative_prompt is 5 and must be a text"),
    ("approximate", 0.1, "approximate is 0.1 and must be a text"),
    ("feather_px", 1025, "feather_px is 1025 and must be a number from 0 to 1024"),
    ("keep_outside", "on", "keep_outside is 'on' and must be one of off, auto, mask"),
    ("size", None, "size is None and must be one of model, original"),
    ("detail", 1.5, "detail is 1.5 and must be a number from 0 to 1"),
    ("nag_scale", 0.5, "nag_scale is 0.5 and must be a number from 1 to 20"),
    ("cfg_to", 0, "cfg_to is 0 and must be a number from 0.05 to 1"),
    ("solver", "x" * 10_000, r"solver is 'x{70,80}\.\.\. and must be"),
]


@pytest.mark.parametrize(("name", "value", "sentence"), UNUSABLE, ids=range(len(UNUSABLE)))
def test_unusable_values_are_named(name: str, value: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        EditSettings(**{name: value})


def test_every_setting_has_a_value_that_is_refused() -> None:
    assert {name for name, _, _ in UNUSABLE} == {setting.name for setting in fields(EditSettings)}


def test_the_ends_of_every_range_are_taken() -> None:
    for name, allowed in ALLOWED.items():
        for value in (allowed.low, allowed.high) if allowed.low is not None else allowed.choices:
            assert getattr(EditSettings(**{name: value}), name) == value
        assert ALLOWED[name].admits(None) is (getattr(EditSettings(), name) is None)


def test_numbers_stay_what_they_are() -> None:
    settings = EditSettings(guidance=3, steps=np.int64(5), strength=np.float32(0.5))
    assert (type(settings.guidance), type(settings.steps), type(settings.strength)) == (int, int, float)
    assert (settings.guidance, settings.steps, settings.strength) == (3, 5, 0.5)


def test_the_loop_of_tensors_has_the_same_defaults() -> None:
    expected = {setting.name: setting.default for setting in fields(EditSettings)} | {"layout": "offset"}
    for name, parameter in inspect.signature(denoise).parameters.items():
        if name in expected:
            assert parameter.default == expected[name], name


def test_options_are_the_fields() -> None:
    assert set(EditOptions.__annotations__) == set(ALLOWED)
    assert set(EditOptions.__annotations__) - set(SampleOptions.__annotations__) == {
        *("fit", "negative_prompt", "feather_px"),  # which are done with before the sampler begins
        *("keep_outside", "size", "detail"),  # which come after it
    }


# Settings that the command line does not have, and why.
NO_OPTION = {"batch": "a turn is one picture there, and a file"}
NO_HELP = {"seed", "fit"}  # their names, and the choices beside them, say it
TEXTS = {"approximate": "teacache", "negative_prompt": "green"}


def another(field: str) -> Any:
    """Return a value other than the default that every entry point accepts."""
    allowed = ALLOWED[field]
    if allowed.low is None:
        return allowed.choices[-1] if allowed.choices else TEXTS[field]
    return int(allowed.high // 8) if allowed.whole else allowed.high / 8


def needed(field: str) -> dict[str, str]:
    """Return what cfg, nag, feather and detail need beside them in a batch's line."""
    size = {"size": "original"} if field == "detail" else {}
    return {"negative": "green", "mask": "a.png", **size}


@pytest.mark.parametrize("field", ALLOWED)
def test_every_setting_is_at_every_door(field: str, tmp_path: Path) -> None:
    """A flag of `kontext edit`, a key of a batch's line and a keyword of `Editor.edit`, all of one range."""
    assert field in EditOptions.__annotations__
    parser = cli._parser()
    commands: Any = next(action for action in parser._actions if action.choices)
    flags = {action.dest: action for action in commands.choices["edit"]._actions}
    if field in NO_OPTION:
        assert field not in {*SHORT_NAMES, *flags, *(name for name, _ in SETTINGS.values())}
        return
    name, value = SHORT_NAMES[field], another(field)
    flag, flag_name = flags[field], f"--{name.replace('_', '-')}"
    assert flag.option_strings == [flag_name]
    assert tuple(flag.choices or ()) == ALLOWED[field].choices
    assert bool(flag.help) is (field not in NO_HELP)
    settings = settings_of(parser.parse_args(["edit", "a.png", "x", f"{flag_name}={value}"]))
    assert getattr(settings, field) == value != getattr(EditSettings(), field)

    (tmp_path / "a.png").touch()
    line = {"pictures": "a.png", "instructions": "x", **needed(field), name: value}
    (tmp_path / "edits.jsonl").write_text(json.dumps(line), encoding="utf-8")
    (edit,), faults = read_edits(tmp_path / "edits.jsonl", tmp_path, {})
    assert faults == []
    assert getattr(EditSettings.from_json(edit.settings), field) == value


@pytest.mark.parametrize("field", [name for name in SHORT_NAMES if ALLOWED[name].low is not None])
def test_a_range_is_the_same_at_every_door(field: str, tmp_path: Path) -> None:
    name, allowed, parser = SHORT_NAMES[field], ALLOWED[field], cli._parser()
    assert replace(SETTINGS[name][1], optional=allowed.optional) == allowed
    assert allowed.low is not None
    (tmp_path / "a.png").touch()
    for value, is_allowed in (
        (allowed.low, True),
        (allowed.high, True),
        (allowed.low - 1, False),
        (allowed.high + 1, False),
    ):
        line = {"pictures": "a.png", "instructions": "x", **needed(field), name: value}
        (tmp_path / "edits.jsonl").write_text(json.dumps(line))
        edits, faults = read_edits(tmp_path / "edits.jsonl", tmp_path, {})
        assert (len(edits), len(faults)) == ((1, 0) if is_allowed else (0, 1)), faults
        arguments = ["edit", "a.png", "x", f"--{name.replace('_', '-')}={value}"]
        if is_allowed:
            assert getattr(settings_of(parser.parse_args(arguments)), field) == value
        else:
            with pytest.raises(SystemExit):
                parser.parse_args(arguments)


def test_every_key_of_a_batchs_line_is_in_its_guide() -> None:
    text = (Path(__file__).parents[2] / "benchmarks" / "many_gpus.md").read_text(encoding="utf-8")
    assert [name for name in SHORT_NAMES.values() if f'"{name}": ' not in text] == []


def test_options_go_before_the_settings_beside_them() -> None:
    settings = EditSettings(steps=5, guidance=4)
    assert settings.with_options({"steps": 6}) == EditSettings(steps=6, guidance=4)
    with pytest.raises(TypeError, match=r"^'stepps' is not an option here; the options are steps, mu, "):
        settings.with_options({"stepps": 6})
    with pytest.raises(TypeError, match=r"^'fit' is not an option here"):
        settings.with_options({"fit": "pad"}, SampleOptions)
    with pytest.raises(ValueError, match=r"^steps is 0 and must be"):
        settings.with_options({"steps": 0})


def test_there_and_back_through_json() -> None:
    settings = EditSettings(steps=5, seed=2**64 - 1, layout="index", guidance=3, negative_prompt="")
    values = json.loads(json.dumps(settings.to_json()))
    assert values == {
        "steps": 5, "seed": 2**64 - 1, "layout": "index", "guidance": 3, "negative_prompt": "",
    }  # fmt: skip
    assert EditSettings.from_json(values) == settings
    assert EditSettings().to_json() == {}
    with pytest.raises(ValueError, match=r"^'width' is not a setting of an edit; there are steps, mu, "):
        EditSettings.from_json({"width": 64})


def test_a_record_has_what_every_version_writes_and_what_counts() -> None:
    settings = EditSettings(steps=5, seed=7, height_px=64, width_px=96, fit="crop", layout="offset")
    always = {
        "negative_prompt": None, "height_px": 64, "width_px": 96, "fit": "crop",
        "steps": 5, "guidance": 2.5, "layout": "offset", "cfg_scale": 1.0,
    }  # fmt: skip
    assert list(settings.record().items()) == list(always.items())
    feathered = settings.with_options({"feather_px": 3})
    assert feathered.record() == always
    assert feathered.record(masked=True) == always | {"masked": True, "feather_px": 3}
    other = settings.with_options({"solver": "heun", "approximate": "teacache"})
    assert other.record() == always | {"solver": "heun", "approximate": "teacache"}
    later = {"anchor": True, "of a later version": 1}
    assert EditSettings.from_record(other.record() | later) == other.with_options({"seed": 0})


def test_the_names_are_those_that_work() -> None:
    assert tuple(FUNCTIONS) == SOLVERS
    for fit in FITS:
        assert fit in (inspect.getdoc(fit_image) or ""), "each is explained"


def test_no_torch_is_needed() -> None:
    code = "import sys, kontext_core.edit_settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
