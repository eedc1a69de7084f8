"""kontext prompt: findings of instructions, templates filled and listed, exit codes."""

import subprocess
import sys
from pathlib import Path

import pytest

from kontext_core.cli import main
from kontext_core.prompts.templates import CATEGORIES, TEMPLATES

UNCOUNTED = "tokens are not counted; --model names the model whose tokenizers count them\n"
RECOLOUR = ["--template", "recolour", "target=the car", "change=dark red", "keep=the background"]


def test_a_check_says_one_sentence_for_each_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompt", "Make the sign say open, no cars", "--check"]) == 1
    output, errors = capsys.readouterr()
    quotes, negative = output.splitlines()
    assert quotes.startswith("words to be written belong in quotation marks, ")
    assert negative.startswith("the model does not understand 'no' ")
    assert errors == UNCOUNTED


def test_nothing_found_is_said_and_is_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompt", "make it night", "--check"]) == 0
    assert capsys.readouterr().out == "nothing found\n"


def test_without_check_findings_are_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompt", "make her smile"]) == 0
    assert capsys.readouterr().out.startswith("'her' comes before anything that it could mean: ")


def test_several_instructions_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompt", "make it night", "make her smile", "--check"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first == "'make it night': nothing found"
    assert second.startswith("'make her smile': 'her' comes before ")


@pytest.mark.parametrize(("pictures", "code"), [("1", 1), ("2", 0), ("3", 1)])
def test_pictures_are_counted(pictures: str, code: int) -> None:
    assert main(["prompt", "put the hat of picture 2 on the dog", "--check", "--pictures", pictures]) == code


def test_tokens_are_counted_by_the_model_s_tokenizers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prompt", "the car " * 20, "--check", "--model", "tiny"]) == 1
    output, errors = capsys.readouterr()
    assert output.startswith("T5 reads 32 tokens and this instruction has ")
    assert errors == ""
    assert main(["prompt", "make it night", "--check", "--model", "tiny"]) == 0
    capsys.readouterr()
    assert main(["prompt", "make it night", "--model", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.startswith(f"kontext: there is no folder {tmp_path / 'none'}; name one ")


def test_a_template_prints_its_instruction_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompt", *RECOLOUR, "--check"]) == 0
    output, errors = capsys.readouterr()
    assert output == "Change the colour of the car to dark red, keep the background the same\n"
    assert errors == f"nothing found\n{UNCOUNTED}"


def test_what_a_template_makes_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--template", "rewrite", "old=OPEN", "new=closed"]
    assert main(["prompt", *arguments, "--check"]) == 1
    assert main(["prompt", *arguments]) == 0
    output, errors = capsys.readouterr()
    assert output.endswith("Replace 'OPEN' with 'closed', keep the font, the colour and the size the same\n")
    assert "'closed' is written in small letters" in errors


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--template", "recolor"], "there is no template 'recolor'; choose one of recolour, replace, "),
        (["--template", "recolour", "target=the car"], "the template 'recolour' needs a text for 'change' "),
        (["--template", "recolour", "the car"], "'the car' is not SLOT=VALUE, such as target='the red car'"),
        (
            ["--template", "recolour", "colour=red"],
            "the template 'recolour' has no slot 'colour'; its slots are ",
        ),
        (["--template", "rewrite", "old=a", "new=b", "old=c"], "the slot 'old' is given twice"),
    ],
)
def test_faults_are_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prompt", *arguments]) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith(f"kontext: {sentence}")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["--check"], ["x", "--pictures", "-1"], ["x", "--pictures", "65"]])
def test_what_is_missing_or_out_of_range(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["prompt", *arguments])
    assert ended.value.code == 2


def test_the_list_needs_no_torch_and_names_all() -> None:
    code = (
        "import sys; from kontext_core.cli import main\n"
        "assert main(['prompt', '--list']) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    text = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert all(f"{category}:\n" in text for category in CATEGORIES)
    assert all(f"  {name}: {template.text}\n" in text for name, template in TEMPLATES.items())
