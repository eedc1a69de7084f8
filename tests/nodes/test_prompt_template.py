"""Kontext Prompt Template: what it writes, shows and reports; and the page's requests for the same advice."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from kontext_core.prompts.templates import TEMPLATES

Run = Callable[..., Any]

RECOLOUR = {"target": "the car", "change": "dark red", "keep": "the background"}
WRITTEN = "Change the colour of the car to dark red, keep the background the same"


def test_the_menu_has_every_template_in_its_category(part: Callable[[str], Any]) -> None:
    names = part("nodes.prompt_template").NAMES
    assert [template.name for template in names.values()] == list(TEMPLATES)
    assert names["text editing: rewrite at"].name == "rewrite_at"
    assert all(name.startswith(f"{template.category}: ") for name, template in names.items())


def test_an_instruction_is_written_and_shown(run: Run) -> None:
    output = run("KontextPromptTemplate", **RECOLOUR)
    assert output.result == (WRITTEN, "nothing found")
    assert output.ui.as_dict()["text"] == (f"{WRITTEN}\nnothing found",)


def test_every_template_is_written_from_its_example(run: Run, part: Callable[[str], Any]) -> None:
    for name, template in part("nodes.prompt_template").NAMES.items():
        instruction, report = run("KontextPromptTemplate", template=name, **template.example).result
        assert "{" not in instruction
        assert report == "nothing found", instruction


def test_the_report_has_a_line_for_each_finding(run: Run) -> None:
    output = run("KontextPromptTemplate", **RECOLOUR | {"target": "its roof", "change": "red, no stripes"})
    pronoun, negative = output.result[1].splitlines()
    assert pronoun.startswith("'its' comes before anything that it could mean: ")
    assert negative.startswith("the model does not understand 'no' ")


def test_pictures_are_checked_only_where_their_number_is_set(run: Run) -> None:
    assert run("KontextPromptTemplate", **RECOLOUR, pictures=0).result[1] == "nothing found"
    assert run("KontextPromptTemplate", **RECOLOUR, pictures=1).result[1] == "nothing found"
    assert (
        run("KontextPromptTemplate", **RECOLOUR, pictures=2).result[1].startswith("picture 2 is connected, ")
    )


def test_tokens_are_counted_by_the_model(run: Run, model: Any, hosted: Any) -> None:
    long = RECOLOUR | {"keep": "the house " * 40}
    assert run("KontextPromptTemplate", **long).result[1] == "nothing found"
    report = run("KontextPromptTemplate", **long, model=model).result[1]
    assert report.startswith(f"T5 reads {model.text.text_length} tokens and this instruction has ")
    assert run("KontextPromptTemplate", **long, model=hosted).result[1] == "nothing found", "ComfyUI's own"


def test_texts_that_are_not_used_are_named(run: Run) -> None:
    output = run("KontextPromptTemplate", **RECOLOUR, old="OPEN", style=" ", place="on the table")
    assert output.result == (WRITTEN, "nothing found\nnot used by this template: old, place")


def test_a_missing_text_is_asked_for(run: Run) -> None:
    with pytest.raises(ValueError, match=r"the template 'recolour' needs a text for 'keep' .*such as 'the "):
        run("KontextPromptTemplate", **RECOLOUR | {"keep": " "})
    with pytest.raises(ValueError, match="template is 'x'; choose one of local editing: recolour, "):
        run("KontextPromptTemplate", **RECOLOUR, template="x")
    with pytest.raises(ValueError, match="pictures is 65; it must be a whole number from 0 to 64"):
        run("KontextPromptTemplate", **RECOLOUR, pictures=65)


@pytest.fixture
def answer(part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """The route's function while no model is loaded."""
    monkeypatch.setattr(part("nodes.load"), "_loaded", {})
    return part("nodes.lint_route").answer


def test_the_page_gets_the_sentences(answer: Callable[[Any], Any]) -> None:
    (sentence,) = answer({"instruction": "make her smile"})["findings"]
    assert sentence.startswith("'her' comes before ")
    assert answer({"instruction": "make the red circle blue", "pictures": 2}) == {"findings": []}
    assert len(answer({"instruction": "give the dog a hat", "pictures": 2})["findings"]) == 1
    assert answer({"instruction": "give the dog a hat", "pictures": None}) == {"findings": []}
    assert answer({"instruction": ""}) == {"findings": []}


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ([], "the question is an empty list; it must be an object"),
        ({}, "instruction is nothing; it must be "),
        ({"instruction": 3}, "instruction is 3; it must be "),
        ({"instruction": "x", "pictures": -1}, "pictures is -1; it must be a whole number from 0 to 64"),
        ({"instruction": "x", "pictures": True}, "pictures is True; it must be "),
    ],
)
def test_a_question_that_cannot_be_answered(
    answer: Callable[[Any], Any], question: Any, sentence: str
) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        answer(question)


def test_a_loaded_model_counts_with_tokenizers_of_its_own(
    answer: Callable[[Any], Any], part: Callable[[str], Any], model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the model may be at work in another thread, which a second one would break."""
    monkeypatch.setattr(part("nodes.load"), "_loaded", {"key": model})
    used: list[str] = []
    monkeypatch.setattr(model.text, "count_tokens", used.append)
    long = {"instruction": "the car " * 40}
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(answer(long))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sentences = [sentence for each in answers for sentence in each["findings"]]
    assert len(answers) == 4
    assert sum(sentence.startswith("T5 reads ") for sentence in sentences) == 4
    assert used == []
