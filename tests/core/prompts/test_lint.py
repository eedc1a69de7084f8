"""The lint: each rule finds its faults and nothing else, and instructions without them have no findings."""

import json
import random

import pytest

from kontext_core.prompts.lint import RULES, TokenCount, lint
from kontext_core.world import KINDS, sample
from tools.paths import ROOT

GOOD: dict[str, list[str]] = json.loads(
    (ROOT / "tests" / "data" / "prompts" / "instructions.json").read_text(encoding="utf-8")
)
MOST_FALSE = 0.02

TRIPS = {
    "pronoun": (
        "She is now taking a selfie at the harbour",
        "Make her smile",
        "Put a hat on his head",
        "Remove it",
        "Change its colour to red",
        "Replace this with a cat",
        "Change the background to a beach, keep the light, and make him wave",
        "Give them sunglasses",
        "paint it blue",
        "make it bigger",
        "Have him hold a sword",
        "Swap it for a bicycle",
    ),
    "quotes": (
        "Make the sign say open",
        "Change the title to The Last Day",
        "Write happy birthday on the cake",
        "Replace the word love with hate",
        "Add the text SALE to the window",
        "Change the text on the billboard to Coming Soon",
        "Add a sign that reads welcome home",
        "Change 'OPEN' to closed",
        "Change the sign to OPEN",
        "Add a big title: Summer Party",
        "The sign should read Closed",
        "Change the name on the badge to Sarah",
        "Rename the shop to Bella",
    ),
    "texts": (
        "Replace 'OPEN' with 'shut'",
        'Change "Sale" to "Everything must go today"',
        "change the text “HELLO” to “Howdy”",
        "Replace 'WELCOME TO OUR HOME' by 'HI THERE'",
        "Change the sign from 'stop' to 'WAIT'",
        "Change 'Tea' to 'Tea' and 'Milk' to 'Orange juice'",
    ),
    "stays": (
        "Change the background to a beach",
        "Transform the man into a viking",
        "Replace the background with a city at night",
        "Make the background a snowy forest",
        "Put the car in front of a new background",
        "Transform this photo into an oil painting",
        "Change the whole background of the image to outer space",
    ),
    "negative": (
        "Let the man smile without teeth",
        "No people in the street",
        "Don't change the face",
        "An empty street, no cars",
        "Do not add any text",
        "Make the sky blue, don’t add clouds",
    ),
    "changes": (
        "Make the sky pink, the grass blue, the house red and the car green",
        "Add a hat, remove the glasses, change the shirt to red and make the man smile",
        "Remove the dog. Add a cat. Paint the wall green. Turn off the lamp.",
        "Add a tree and remove the car and change the sky to orange and make the road wet",
        "Please add a moon, then delete the bench, then also rotate the sign; finally, open the door",
    ),
}

PASSES = {
    "pronoun": (
        "Make it night",
        "Turn it into a watercolour",
        "Make the woman smile while keeping her pose",
        "Take the hat of the man and put it on the table",
        "Anna is at the harbour with her dog",
        "The swordsman raises his sword",
        "Turn this into a pencil drawing",
        "Wolves howl with their heads up",
        "make it black and white",
        "A she-wolf with her cubs",
        "Use picture 2 and put it on the wall",
    ),
    "quotes": (
        "Make the sign say 'open'",
        "Change the text to a bold serif font",
        "Change the title to red",
        "Remove the text from the window",
        "A man reading a book under a sign",
        "Move the words to the left",
        "Add a text box below the picture",
        "Translate the text on the poster to French",
        "Write 'hello' on the wall",
        "Change the sign to a wooden one",
    ),
    "texts": (
        "Replace 'OPEN' with 'SHUT'",
        "Change 'Monday' to 'Friday'",
        "Add 'A' on the left and 'GRAND OPENING' on the right",
        "Change the text from '1985' to '2025'",
        'Replace "We\'re here" with "We\'re back"',
        "Write 'hello' in the font of 'GOODBYE EVERYONE'",
    ),
    "stays": (
        "Change the background to a beach while keeping the man in place",
        "Blur the background",
        "Make the background darker",
        "Transform only the hat into a crown",
        "Add a tree in the background",
        "Remove the background",
        "Using this style, draw a fox on a white background",
    ),
    "negative": (
        "Remove the people from the street",
        "Make the sign say 'NO PARKING'",
        "Add a knot to the rope",
        "Change the house number to 'No. 7'",
        "Change the shirt to no. 10",
        "Make not only the hat but also the coat red",
    ),
    "changes": (
        "Make the sky pink, the grass blue and the house red",
        "Add a hat, a scarf, a coat and gloves to the snowman",
        "Change the background to a beach, keep the face, keep the pose, keep the light and leave the dog",
        "Remove the red, green, blue and yellow balloons",
        "Add a tree, then remove the car and make the road wet",
    ),
}


def rules(instruction: str, pictures: int | None = 1) -> set[str]:
    return {finding.rule for finding in lint(instruction, pictures=pictures)}


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in TRIPS.items() for text in texts])
def test_a_rule_finds_its_fault_and_no_other(rule: str, text: str) -> None:
    assert rules(text) == {rule}


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in PASSES.items() for text in texts])
def test_a_rule_passes_what_only_looks_like_its_fault(rule: str, text: str) -> None:
    assert rule not in rules(text)


def test_every_rule_is_tested() -> None:
    assert set(RULES) == set(TRIPS) == set(PASSES)
    assert all(len(texts) >= 5 for texts in (*TRIPS.values(), *PASSES.values()))


@pytest.mark.parametrize(
    ("text", "pictures"),
    [
        ("Put the hat of picture 2 on the man", 1),
        ("Use the style of the third image", 2),
        ("Combine image 1 and image 4", 3),
        ("Place the cat from the second photo on the sofa", 1),
        ("Use picture two as the style", 1),
        ("Draw what is in picture 1", 0),
        ("Give the man a hat", 2),
        ("Put the dog of picture 2 on the sofa", 3),
        ("make the red circle blue and keep the rest", 2),
        ("", 2),
    ],
)
def test_pictures_are_connected_and_named(text: str, pictures: int) -> None:
    assert rules(text, pictures) == ({"pictures"} if text else set())
    assert rules(text, None) == set()


@pytest.mark.parametrize(
    ("text", "pictures"),
    [
        ("Put the hat of picture 2 on the man", 2),
        ("Put the dog of image 2 and the cat of image 3 on the sofa", 3),
        ("Put the things of pictures 2, 3 and 4 on the table", 4),
        ("Let both characters shake hands", 2),
        ("Use the style of the reference", 2),
        ("Straighten the second picture on the wall", 1),
        ("Add two pictures to the wall", 1),
        ("A photo 35mm wide", 1),
        ("Put the things of the second and third picture on the table", 3),
        ("Make the first picture brighter", 1),
        ("Put the woman of picture 1 and the man of picture 2 at a table", 2),
        ("Put the hat from image 2 on the dog in image 1", 2),
        ("Combine the two images into one scene", 2),
        ("Let these two characters dance", 2),
        ("Use the second image as the style for the first", 2),
        ("Dress the model in the outfit from the second picture", 2),
        ("Place the product on the table of the other image", 2),
        ("Put the cat on the left next to the dog on the right", 1),
        ("Blend both photos", 2),
        ("Take the style of image 3 and the subject of image 2", 3),
        ("the man from the left image shakes hands with the woman from the right image", 2),
        (
            "Make the character from image 1 wear the jacket from image 2 and stand in the place shown in image 3",
            3,
        ),
        ("Picture 2 is the style to use", 2),
    ],
)
def test_pictures_that_are_right(text: str, pictures: int) -> None:
    assert rules(text, pictures) == set()


def test_tokens_are_counted_by_what_is_given() -> None:
    asked: list[str] = []

    def count(text: str) -> list[TokenCount]:
        asked.append(text)
        return [TokenCount("T5", 512, 512), TokenCount("CLIP", 78, 77)]

    (finding,) = lint("  make it night ", tokens=count)
    assert asked == ["make it night"]
    assert finding.rule == "tokens"
    assert finding.sentence.startswith("CLIP reads 77 tokens and this instruction has 78: ")


def test_instructions_without_a_fault_have_no_findings() -> None:
    texts = [text for category in GOOD.values() for text in category]
    assert len(GOOD) == 7  # the five categories of KontextBench, what only looks like a fault, and a mixture
    assert len(set(texts)) >= 350
    false = {text: found for text in texts if (found := rules(text))}
    assert len(false) <= MOST_FALSE * len(texts), false


def test_the_tiny_model_s_grammar_has_no_findings() -> None:
    rng = random.Random(0)
    for i in range(500):
        edit = sample(KINDS[i % len(KINDS)], rng)
        assert lint(edit.instruction, pictures=len(edit.references)) == [], edit
        assert lint(f"{edit.instruction.capitalize()}.", pictures=None) == []


def test_the_grammar_s_own_pictures_are_looked_for_too() -> None:
    assert rules("use the style of picture 2", 1) == {"pictures"}


@pytest.mark.parametrize("text", [text for texts in TRIPS.values() for text in texts])
def test_a_finding_is_one_sentence(text: str) -> None:
    for finding in lint(text):
        assert finding.sentence.isprintable()
        assert not finding.sentence.endswith(".")
        assert ": " in finding.sentence, "after the colon it says what to write instead"
        assert len(finding.sentence) < 260


def test_a_text_in_another_language_is_left_alone() -> None:
    assert rules("Ponha a menina no jardim e mude o céu") == set()
    assert rules("No quiero nubes en el cielo") == set()
    assert rules("Her şeyi kırmızı yap") == set()
    assert rules("把红色的圆变成蓝色") == set()


@pytest.mark.parametrize("value", [None, 3, b"make it night"])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="a prompt must be a text"):
        lint(value)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "piece", ["'", "'a' to 'b' ", '"a', "“", "the ", "background to ", "picture 2, ", "\ufffc", "a a "]
)
def test_a_text_of_any_length_is_read(piece: str) -> None:
    """Only its beginning: what stands behind it, the model does not read either."""
    assert rules(piece * 100_000 + " no") <= {"texts", "pictures", "stays", "quotes"}
