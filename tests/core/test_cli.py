"""The command line: help with examples, errors in one sentence, and an edit from file to files."""

import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from kontext_core import pipeline
from kontext_core.batch.edits import read_edits
from kontext_core.cli import main
from kontext_core.cli.examples import BATCH_LINE
from kontext_core.cli.options import file_and_strength
from kontext_core.edit_settings import SHORT_NAMES
from kontext_core.errors import CheckpointError
from kontext_core.images.picture_files import from_file, from_pil, to_pil
from kontext_core.loading.locate import TINY_FOLDER
from kontext_core.model_spec import ModelSpec
from kontext_core.pipeline import Pipeline
from tools.paths import ROOT

PICTURE = str(Path(__file__).parents[2] / "workflows" / "single_edit.jpg")
COMMANDS = ("edit", "prompt", "info", "train", "score", "run")


@pytest.mark.parametrize("command", ["", "edit", "run"])
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert 'kontext edit photo.png "make the red circle blue"' in text
    assert command or all(name in text for name in COMMANDS)


def test_the_example_of_a_batch_is_a_good_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["batch", "--help"])
    assert BATCH_LINE in capsys.readouterr().out
    assert BATCH_LINE in (ROOT / "README.md").read_text(encoding="utf-8")
    (tmp_path / "photo.png").touch()
    (tmp_path / "edits.jsonl").write_text(BATCH_LINE)
    (edit,), faults = read_edits(tmp_path / "edits.jsonl", tmp_path, {})
    assert (faults, len(edit.instructions), edit.settings) == ([], 2, {"seed": 7})


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; from kontext_core.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["edit", "none.png", "x"], "kontext: there is no file none.png"),
        (["edit", __file__, "x"], "test_cli.py is not a picture that can be read"),
        (["edit", __file__, "x"], "(it does not start like a picture, or is damaged)"),
        (["edit", ".", "x"], "kontext: . is a folder, not a picture"),
        (
            ["edit", PICTURE, "x", "--device", "tpu"],
            "kontext: there is no device 'tpu'; choose 'cpu', or 'cuda'",
        ),
        (
            ["edit", PICTURE, "x", "--weights", "int3"],
            "kontext: weights 'int3' are not known; choose one of auto, ",
        ),
        (["edit", PICTURE, "x", "--mask", "no.png"], "kontext: there is no file no.png"),
        (
            ["edit", PICTURE, "x", "--cfg", "2"],
            "kontext: cfg other than 1 needs a negative; give one, or leave cfg out",
        ),
        (
            ["edit", PICTURE, "x", "--strength", "0.5", "--width", "64", "--device", "cpu"],
            "leave width and height out (0 in a node)",
        ),
        (["info", "none.safetensors"], "none.safetensors"),
        (["edit", PICTURE, "x", "--model", "no-such-folder"], "no-such-folder"),
        (
            ["edit", PICTURE, "x", "--approximate", "magic"],
            "there is no method 'magic' to skip work; choose one of",
        ),
        (["score", "--kinds", "recolour,dance"], "kontext: unknown kinds: dance; known are recolour, "),
    ],
)
def test_faults_are_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("kontext: ")
    assert sentence in errors
    assert errors.count("\n") == 1


def test_a_black_mask_is_refused_before_a_model_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Pipeline, "from_spec", lambda _: pytest.fail("it was loaded"))
    Image.new("L", (5, 9)).save(tmp_path / "black.png")
    assert main(["edit", PICTURE, "x", "--mask", str(tmp_path / "black.png")]) == 1
    assert capsys.readouterr().err == (
        "kontext: the mask marks nothing that may change: paint a part of it white, or leave it out\n"
    )


def test_verbose_shows_the_traceback() -> None:
    with pytest.raises(ValueError, match=r"there is no file"):
        main(["--verbose", "edit", "none.png", "x"])


def test_interrupt_ends_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline.Pipeline, "from_spec", stop)
    assert main(["edit", PICTURE, "x"]) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_edit_writes_a_picture_for_each_turn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "photo.png"
    Image.frombytes("RGB", (150, 100), random.Random(0).randbytes(45_000)).save(picture)
    out = tmp_path / "new" / "out"
    arguments = ["edit", str(picture), "make it red", "", "--steps", "2", "--seed", "5", "--device", "cpu"]
    assert main([*arguments, "--output", str(out), "--reference", str(picture)]) == 0
    assert capsys.readouterr().err == (
        f"turn 1: make it red -> {out / 'photo_turn1.png'}\n"
        f"turn 2: (no instruction) -> {out / 'photo_turn2.png'}\n"
    )
    sizes = {path.name: Image.open(path).size for path in out.iterdir()}
    assert sizes == {"photo_turn1.png": (128, 128), "photo_turn2.png": (128, 128)}


@pytest.mark.parametrize(
    "settings",
    [
        {
            "strength": 0.5,
            "solver": "heun",
            "mu": -0.5,
            "negative_prompt": "green",
            "cfg_scale": 2,
            "feather_px": 4,
        },
        {"width_px": 64, "height_px": 96, "layout": "index", "guidance": 4},
    ],
    ids=["from the picture, masked", "of another size"],
)
def test_edit_is_that_of_the_pipeline(settings: dict[str, Any], tmp_path: Path) -> None:
    """Every flag reaches each turn, bit for bit; a mask of another size than the picture too."""
    picture, masked = tmp_path / "photo.png", "strength" in settings
    Image.frombytes("RGB", (128, 128), random.Random(1).randbytes(49_152)).save(picture)
    white = Image.new("L", (32, 32))
    white.paste(255, (4, 4, 20, 16))
    white.save(tmp_path / "mask.png")
    flags = [part for field, value in settings.items() for part in (f"--{SHORT_NAMES[field]}", str(value))]
    flags += ["--mask", str(tmp_path / "mask.png")] * masked
    arguments = ["edit", str(picture), "make it red", "", "--steps", "2", "--seed", "5", "--device", "cpu"]
    assert main([*arguments, *flags, "--output", str(tmp_path)]) == 0

    mask = torch.zeros(32, 32)
    mask[4:16, 4:20] = 1
    options: Any = {"seed": 5, "steps": 2, **settings} | ({"mask": mask} if masked else {})
    tiny = Pipeline.load("tiny", device="cpu")
    first = tiny.edit("make it red", [from_file(picture)], **options)
    for turn, edit in ((1, first), (2, tiny.edit("", [first], **options))):
        assert torch.equal(from_file(tmp_path / f"photo_turn{turn}.png"), from_pil(to_pil(edit.image)))


def test_at_its_own_size_a_picture_keeps_what_its_file_holds(tmp_path: Path) -> None:
    """Each turn: transparent parts, EXIF, and beside the mask the file's own numbers."""
    exif = Image.Exif()
    exif[271] = "A maker"
    stored = np.random.default_rng(3).integers(0, 256, (150, 200, 4), dtype=np.uint8)
    Image.fromarray(stored).save(tmp_path / "photo.png", exif=exif)
    white = Image.new("L", (200, 150))
    white.paste(255, (40, 40, 120, 100))
    white.save(tmp_path / "mask.png")
    flags = ["--size", "original", "--mask", str(tmp_path / "mask.png"), "--steps", "1", "--device", "cpu"]
    out = tmp_path / "out"
    assert main(["edit", str(tmp_path / "photo.png"), "make it red", "", *flags, "--output", str(out)]) == 0
    for turn in (1, 2):
        result = Image.open(out / f"photo_turn{turn}.png")
        assert result.getexif()[271] == "A maker"
        now = np.asarray(result)
        beside = np.asarray(white) == 0
        assert np.array_equal(now[beside], stored[beside])
        assert not np.array_equal(now[~beside], stored[~beside])


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--cfg", "2"], "cfg other than 1 needs a negative"),
        (["--nag", "5"], "nag other than 1 needs a negative; give one, or leave nag out"),
        (
            ["--nag", "5", "--negative", "x", "--approximate", "teacache"],
            "nag and approximate do not go together",
        ),
        (["--feather", "8"], "a feather softens the rim of a mask, and there is none"),
    ],
)
def test_flags_that_go_with_others(
    flags: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["edit", str(PICTURE), "make it red", *flags]) == 1
    assert sentence in capsys.readouterr().err


def test_a_negative_without_a_cfg_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = ["--steps", "1", "--device", "cpu", "--output", str(tmp_path), "--negative", "green"]
    assert main(["edit", str(PICTURE), "make it red", *options]) == 0
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "a negative counts only with a nag or a cfg other than 1, and both are 1: the pictures are as without it"
    ]


def test_an_instruction_in_another_encoding(tmp_path: Path) -> None:
    """As a shell hands it over: bytes that are no UTF-8, and half an emoji that was cut off."""
    command = [
        sys.executable,
        "-m",
        "kontext_core.cli",
        "edit",
        PICTURE,
        b"make the caf\xe9 red",
        b"\xed\xa0\xbc",
    ]
    options = ["--steps", "1", "--device", "cpu", "--output", str(tmp_path)]
    ended = subprocess.run([*command, *options], capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert b"turn 1: make the caf\\udce9 red -> " in ended.stderr
    assert len(list(tmp_path.iterdir())) == 2


def test_edit_cuts_the_padding_off_in_every_turn(tmp_path: Path) -> None:
    picture = tmp_path / "wide.png"
    Image.new("RGB", (200, 100), "green").save(picture)
    arguments = ["edit", str(picture), "", "", "--steps", "1", "--fit", "pad", "--device", "cpu"]
    assert main([*arguments, "--output", str(tmp_path)]) == 0
    for turn in (1, 2):
        assert Image.open(tmp_path / f"wide_turn{turn}.png").size == (128, 64)


def test_edit_with_a_lora(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module, file = "transformer.proj_out", tmp_path / "style.safetensors"
    save_file(
        {f"{module}.lora_A.weight": torch.ones(2, 128), f"{module}.lora_B.weight": torch.ones(64, 2)}, file
    )
    arguments = ["edit", PICTURE, "x", "--steps", "1", "--device", "cpu", "--output", str(tmp_path)]
    for lora in (f"{file}:0", str(file)):
        assert main([*arguments, "--lora", lora]) == 0
    first, second = (tmp_path / f"single_edit_turn1{number}.png" for number in ("", "-2"))
    assert first.read_bytes() != second.read_bytes()
    said = "style.safetensors: a LoRA in diffusers' names, 0.00 MiB\n1 x LoRA, rank 2; modules: 1 of transformer\n"
    assert capsys.readouterr().err.count(said) == 2
    assert main(["info", str(file)]) == 0
    assert capsys.readouterr().out == said


def test_edit_within_a_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["edit", PICTURE, "x", "--steps", "1", "--device", "cpu", "--output", str(tmp_path)]
    assert main([*arguments, "--memory", "0.05", "--weights", "auto"]) == 0
    said = capsys.readouterr().err
    assert said.startswith("weights ")
    assert "of weights on the device, " in said
    with pytest.raises(SystemExit):
        main([*arguments, "--memory", "none"])
    assert "none is not an amount of memory; give GiB above 0" in capsys.readouterr().err


def test_where_weights_wait_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def load(spec: ModelSpec) -> None:
        seen.append(spec.waits)
        raise CheckpointError("enough")

    monkeypatch.setattr(Pipeline, "from_spec", load)
    for more in ([], ["--waits", "file"]):
        assert main(["edit", PICTURE, "x", *more]) == 1
    assert seen == ["auto", "file"]


@pytest.mark.parametrize(
    ("text", "path", "strength"),
    [
        ("a.safetensors:0.8", "a.safetensors", 0.8),
        ("a:b", "a:b", 1.0),
        ("a", "a", 1.0),
        ("C:/a:-1", "C:/a", -1.0),
    ],
)
def test_a_lora_and_its_strength(text: str, path: str, strength: float) -> None:
    assert file_and_strength(text) == (Path(path), strength)


@pytest.mark.parametrize("strength", ["1e400", "nan", "-inf", "1000.5", "9" * 5000])
@pytest.mark.parametrize("command", ["edit", "batch"])
def test_a_strength_that_cannot_be(
    command: str, strength: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reported at once, before a model is loaded."""
    with pytest.raises(SystemExit):
        main(
            [
                command,
                str(tmp_path / "any"),
                *(["x"] if command == "edit" else []),
                "--lora",
                f"a.safetensors:{strength}",
            ]
        )
    assert "argument --lora: the strength of a LoRA is " in capsys.readouterr().err


def test_score_writes_what_it_measured_and_how(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["score", "--count", "1", "--chains", "1", "--steps", "1", "--kinds", "remove,character"]
    assert main([*arguments, "--device", "cpu", "--output", str(tmp_path)]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert set(scores["rates"]) == {"remove", "character", "character/offset"}
    assert all(rate in (0, 1) for rate in scores["rates"].values())
    assert len(scores["chains"]["latents"]["right_up_to_turn"]) == 5
    assert scores["command"].startswith("kontext score --count 1 --chains 1 --steps 1")
    assert (scores["count"], scores["steps"]) == (1, 1)
    assert "training" in scores
    assert Image.open(tmp_path / "grid.png").width > 100
    assert "remove" in capsys.readouterr().err


def test_info_says_what_the_tiny_model_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(TINY_FOLDER / "ae.safetensors")]) == 0
    assert "autoencoder" in capsys.readouterr().out
    assert main(["info", str(TINY_FOLDER / "flux1-kontext-dev.safetensors"), "--layers"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "double_blocks.*.img_attn.qkv.weight: 2 x bfloat16" in said
    assert any(line.startswith("training = ") for line in said)


def test_a_closer_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"good": torch.ones(3), "bad": torch.tensor([1.0, float("nan")])}, path)
    assert main(["info", str(path), "--check", "--sha256"]) == 1
    output, errors = capsys.readouterr()
    assert f"sha256 of x.safetensors: {hashlib.sha256(path.read_bytes()).hexdigest()}\n" in output
    assert errors == f"kontext: {path}: 1 tensors hold NaN or infinity: bad (1 of 2)\n"
    save_file({"good": torch.ones(3)}, path)
    assert main(["info", str(path), "--check"]) == 0
    assert capsys.readouterr().out.endswith("all numbers are finite\n")
