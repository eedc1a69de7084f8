"""Templates: every category has several, slots are checked, and what they make has no findings."""

import re

import pytest

from kontext_core.prompts.lint import lint
from kontext_core.prompts.templates import CATEGORIES, MOST_LETTERS, SLOTS, TEMPLATES, fill, find_template


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_filled(name: str) -> None:
    template = find_template(name)
    text = fill(template, template.example)
    assert "{" not in text
    assert all(value in text for value in template.example.values())
    assert set(template.slots) == set(template.example) <= set(SLOTS)
    pictures = 2 if "picture 2" in template.text else 1
    assert lint(text, pictures=pictures) == []


def test_every_category_has_several() -> None:
    counts = {category: 0 for category in CATEGORIES}
    for name, template in TEMPLATES.items():
        assert re.fullmatch(r"[a-z_]+", name)
        assert template.name == name
        counts[template.category] += 1
    assert len(counts) == 5
    assert min(counts.values()) >= 3


def test_all_slots_are_used() -> None:
    assert {slot for template in TEMPLATES.values() for slot in template.slots} == set(SLOTS)


@pytest.mark.parametrize(
    ("slots", "sentence"),
    [
        ({"target": "the car", "change": "red"}, "the template 'recolour' needs a text for 'keep' "),
        ({"target": "the car", "change": " \n", "keep": "it"}, "needs a text for 'change' (what it becomes"),
        (
            {"target": "the car", "colour": "red"},
            "the template 'recolour' has no slot 'colour'; its slots are target, ",
        ),
        ({"target": 3, "change": "red", "keep": "it"}, "the slot 'target' cannot be filled: 3 is not text"),
        (
            {"target": "x" * 2001, "change": "red", "keep": "it"},
            "'target' cannot be filled: a text has 2001 letters",
        ),
    ],
)
def test_a_slot_that_cannot_be_filled(slots: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        fill(TEMPLATES["recolour"], slots)
    assert MOST_LETTERS == 2000


def test_an_unknown_template_lists_the_others() -> None:
    with pytest.raises(
        ValueError, match=r"there is no template 'recolor'; choose one of recolour, replace, "
    ):
        find_template("recolor")


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("OPEN", "'OPEN'"),
        ("'OPEN'", "'OPEN'"),
        ("“OPEN”", "'OPEN'"),
        ("Joe's Bar", '"Joe\'s Bar"'),
        ('Joe\'s "Bar"', '“Joe\'s "Bar"”'),
        (" two \n lines ", "'two lines'"),
        ("{new} {keep}", "'{new} {keep}'"),
    ],
)
def test_a_text_stands_in_quotation_marks(text: str, quoted: str) -> None:
    written = fill(TEMPLATES["write"], {"new": text, "place": "on the wall", "style": "chalk"})
    assert written == f"Write {quoted} on the wall in chalk"
