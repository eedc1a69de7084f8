"""The shared workflows as files: their contents, their layout on the canvas, and their examples."""

import itertools
import json
import re
from typing import Any

import pytest
from PIL import Image

from kontext_core.remote.client import Json
from kontext_core.remote.workflow import is_api_form, read_workflow
from kontext_core.world.examples import EXAMPLES, PICTURES, STEPS, is_right, picture
from tools.paths import ROOT

FOLDER = ROOT / "workflows"
NAMES = sorted(EXAMPLES)
TITLE_PX = 30
STOCK = {
    "MarkdownNote",
    "SaveImage",
    "SolidMask",
    "ImageScale",
    "MaskToImage",
    "PreviewImage",
    "MaskComposite",
}


@pytest.fixture(params=NAMES)
def workflow(request: pytest.FixtureRequest) -> Json:
    """One of the workflows, with its name."""
    return read_workflow(FOLDER / f"{request.param}.json") | {"name": request.param}


def values(workflow: Json, kind: str) -> list[list[Any]]:
    """The saved widget values of all nodes of a kind, in the order of their ids."""
    nodes = sorted(workflow["nodes"], key=lambda node: int(node["id"]))
    return [node.get("widgets_values") or [] for node in nodes if node["type"] == kind]


def test_folder_is_flat_and_every_workflow_has_its_thumbnail() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {
        f"{name}{end}" for name in NAMES for end in (".json", ".jpg")
    }
    for name in NAMES:
        with Image.open(FOLDER / f"{name}.jpg") as thumbnail:
            assert thumbnail.format == "JPEG"
            assert min(thumbnail.size) >= 200


def test_they_are_as_the_page_saves_them(workflow: Json) -> None:
    assert not is_api_form(workflow)
    assert workflow["version"] == 0.4
    assert workflow["extra"]["frontendVersion"]
    text = (FOLDER / f"{workflow['name']}.json").read_text(encoding="utf-8")
    assert json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n" == text


def test_they_name_no_place_on_anybodys_disk(workflow: Json) -> None:
    """Neither paths nor addresses; and nodes are this pack's, or such as the page and ComfyUI have."""

    def texts(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [text for one in value.values() for text in texts(one)]
        return [text for one in value for text in texts(one)] if isinstance(value, list) else [str(value)]

    assert [text for text in texts(workflow) if re.search(r"^[/~\\]|^\w:[/\\]|\w+://", text)] == []
    assert {node["type"] for node in workflow["nodes"] if not node["type"].startswith("Kontext")} <= STOCK


def test_nothing_lies_upon_another(workflow: Json) -> None:
    boxes = {
        f"{node['type']} {node['id']}": (
            node["pos"][0],
            node["pos"][1] - TITLE_PX,
            node["pos"][0] + node["size"][0],
            node["pos"][1] + node["size"][1],
        )
        for node in workflow["nodes"]
    }
    for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
        apart = a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]
        assert apart, f"{one} and {other} overlap"


def test_all_of_it_is_seen_and_read_on_a_laptop(workflow: Json) -> None:
    """On a page of 1440 x 900, of which ComfyUI's own bars take some at the left and at the top."""
    scale, (x, y) = workflow["extra"]["ds"]["scale"], workflow["extra"]["ds"]["offset"]
    assert scale >= 0.62, "below 0.6 the page leaves out the texts"
    for node in workflow["nodes"]:
        left, top = scale * (node["pos"][0] + x), scale * (node["pos"][1] - TITLE_PX + y)
        right, bottom = left + scale * node["size"][0], top + scale * (node["size"][1] + TITLE_PX)
        assert 60 < left < right < 1440
        assert 80 < top < bottom < 900


def test_every_link_has_two_ends(workflow: Json) -> None:
    nodes = {node["id"]: node for node in workflow["nodes"]}
    assert workflow["links"]
    for id, origin, slot, target, entry, kind in workflow["links"]:
        assert id in nodes[origin]["outputs"][slot]["links"]
        assert nodes[target]["inputs"][entry]["link"] == id
        assert nodes[origin]["outputs"][slot]["type"] == kind


def test_they_show_their_example(workflow: Json) -> None:
    example = EXAMPLES[workflow["name"]]
    edits = values(workflow, "KontextEdit") + values(workflow, "KontextTurn")
    samplers, scripts = values(workflow, "KontextSampler"), values(workflow, "KontextScript")
    instructions = [one[0] for one in edits or values(workflow, "KontextEncodePrompt")]
    instructions += [line for one in scripts for line in one[0].splitlines()]
    assert tuple(instructions) == example.instructions
    # instruction, seed, control, steps, ...; width, height, steps, guidance, cfg, seed, control, ...
    seeds = [(one[1], one[2], one[3]) for one in edits] + [(one[5], one[6], one[2]) for one in samplers]
    # script, seed, control, seeds, steps, ...
    seeds += [(one[1], one[2], one[4]) for one in scripts for _ in example.seeds]
    assert {one[3] for one in scripts} == ({"same"} if example.one_seed else set())
    assert seeds == [(seed, "fixed", STEPS) for seed in example.seeds]
    assert tuple(one[0] for one in values(workflow, "KontextExample")) == example.pictures
    assert [one[0] for one in values(workflow, "KontextVisualCue")] == [example.marks] * bool(example.marks)
    assert bool(values(workflow, "KontextLoadChain")) == bool(example.before)
    boxes = (
        [
            (*at[:2], *size[1:3])
            for at, size in zip(
                values(workflow, "MaskComposite"), values(workflow, "SolidMask")[1:], strict=True
            )
        ]
        if example.mask
        else []
    )
    assert boxes == [example.mask] * bool(example.mask)
    assert values(workflow, "KontextLoadModel")[0][0] == "tiny (comes along)"
    assert any(node["type"] == "MarkdownNote" for node in workflow["nodes"])


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_of_the_world(name: str) -> None:
    example = EXAMPLES[name]
    assert len(example.instructions) == len(example.seeds) == len(example.truths)
    scenes = [PICTURES[one] for one in example.pictures]
    assert all(scene.is_clear() for scene in (*scenes, *example.truths))
    assert len({*scenes, *example.truths}) == len(scenes) + len(example.truths), (
        "every turn changes something"
    )


def test_pictures_are_drawn_and_judged() -> None:
    for name, scene in PICTURES.items():
        image = picture(name)
        assert image.shape == (1, 128, 128, 3)
        assert (image * 255).allclose((image * 255).round(), atol=1e-4)
        assert is_right(image, scene)
        assert not is_right(image[:, :64], scene)
    assert not is_right(picture("moon"), PICTURES["square and circle"])
    with pytest.raises(
        ValueError, match=r"^there is no example picture 'dog'; known are moon, circle and star, "
    ):
        picture("dog")
