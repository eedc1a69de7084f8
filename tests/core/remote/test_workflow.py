"""The page's form converted to the API's form, compared with the page's own conversion of the same graph."""

import copy
import json
import random
from pathlib import Path

import pytest

from kontext_core.remote.client import Json
from kontext_core.remote.workflow import (
    check_nodes,
    dynamic_prompt,
    is_api_form,
    read_workflow,
    to_api_form,
    widget_values,
)

# Saved from the page: upload button, seed control, reroute, bypassed, muted and primitive
# nodes, a text with choices.
SAVED = Path(__file__).parent / "data" / "odd_graph.json"


@pytest.fixture
def saved() -> Json:
    """`workflow`, what the page queued for it (`prompt`), and the server's `object_info`."""
    return json.loads(SAVED.read_text())


def info(*required: tuple[str, list[object]], **optional: list[object]) -> Json:
    return {"input": {"required": dict(required), "optional": optional}}


def node(saved: Json, kind: str) -> Json:
    return next(one for one in saved["workflow"]["nodes"] if one["type"] == kind)


def test_equals_what_the_page_queued(saved: Json) -> None:
    assert to_api_form(saved["workflow"], saved["object_info"]) == saved["prompt"]


def test_conversion_leaves_the_workflow_alone(saved: Json) -> None:
    before = copy.deepcopy(saved)
    to_api_form(saved["workflow"], saved["object_info"])
    assert saved == before


def test_a_node_without_any_title_is_called_by_its_type() -> None:
    """As those of ComfyUI 0.18 that have no display name."""
    workflow = {"nodes": [{"id": 1, "type": "A", "inputs": [], "widgets_values": []}], "links": []}
    [node] = to_api_form(workflow, {"A": {"input": {}, "display_name": None}}).values()
    assert node == {"inputs": {}, "class_type": "A", "_meta": {"title": "A"}}


def test_links_as_objects(saved: Json) -> None:
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    workflow = saved["workflow"]
    workflow["links"] = [dict(zip(names, link, strict=True)) for link in workflow["links"]]
    assert to_api_form(workflow, saved["object_info"]) == saved["prompt"]


def test_bypassed_node_without_a_fitting_input_feeds_nothing(saved: Json) -> None:
    node(saved, "KontextLoadModel")["mode"] = 4
    made = to_api_form(saved["workflow"], saved["object_info"])
    edit = next(one for one in made.values() if one["class_type"] == "KontextEdit")
    assert "model" not in edit["inputs"]


def test_muted_node_feeds_nothing_not_even_the_widget_it_was_wired_to(saved: Json) -> None:
    node(saved, "PrimitiveInt")["mode"] = 2
    made = to_api_form(saved["workflow"], saved["object_info"])
    edit = next(one for one in made.values() if one["class_type"] == "KontextEdit")
    assert "steps" not in edit["inputs"]


def test_dangling_link_is_no_link(saved: Json) -> None:
    workflow = saved["workflow"]
    workflow["nodes"] = [one for one in workflow["nodes"] if one["type"] != "LoadImage"]
    made = to_api_form(workflow, saved["object_info"])
    assert next(one for one in made.values() if one["class_type"] == "ImageScale")["inputs"]["width"] == 64


def test_ring_of_reroutes_ends() -> None:
    nodes = [
        {"id": id, "type": "Reroute", "inputs": [{"name": "", "type": "*", "link": id}]} for id in (1, 2)
    ]
    show = {"id": 3, "type": "Show", "inputs": [{"name": "images", "type": "IMAGE", "link": 3}]}
    links = [[1, 2, 0, 1, 0, "*"], [2, 1, 0, 2, 0, "*"], [3, 1, 0, 3, 0, "*"]]
    made = to_api_form({"nodes": [*nodes, show], "links": links}, {"Show": info(("images", ["IMAGE"]))})
    assert made["3"]["inputs"] == {}


def test_missing_nodes_are_all_named(saved: Json) -> None:
    del saved["object_info"]["KontextEdit"], saved["object_info"]["ImageScale"]
    with pytest.raises(
        ValueError,
        match=r"^this ComfyUI does not have ImageScale \(node 5\), KontextEdit \(node 10\): install the pack",
    ):
        to_api_form(saved["workflow"], saved["object_info"])
    with pytest.raises(ValueError, match=r"^this ComfyUI does not have ImageScale \(node 5\), KontextEdit"):
        check_nodes(saved["prompt"], saved["object_info"])


def test_subgraphs_are_refused() -> None:
    inner = "0f2c3a1e-0000-4000-8000-000000000000"
    workflow = {"nodes": [{"id": 1, "type": inner}], "definitions": {"subgraphs": [{"id": inner}]}}
    with pytest.raises(ValueError, match=r"has subgraphs, .*: export it there with File > Export \(API\)$"):
        to_api_form(workflow, {})


@pytest.mark.parametrize(
    ("spec", "saved", "value"),
    [
        (["INT", {"control_after_generate": True}], [3, "fixed", 9], 3),
        (["COMBO", {"control_after_generate": True, "options": ["a"]}], ["a", "fixed", "", 9], "a"),
        ([["a", "b"], {"control_after_generate": True}], ["b", "randomize", "", 9], "b"),
        (["FLOAT", {"default": 0.5}], [0.25, 9], 0.25),
        (["STRING", {}], ["text", 9], "text"),
        (["BOOLEAN", {}], [True, 9], True),
        (["COMBO", {"options": ["a"], "image_upload": True}], ["x.png", "image", 9], "x.png"),
    ],
)
def test_what_the_page_adds_is_skipped(spec: list[object], saved: list[object], value: object) -> None:
    known = info(("mine", spec), after=["INT", {}])
    assert widget_values({"widgets_values": saved}, known) == {"mine": value, "after": 9}


def test_seeds_have_a_control_unless_they_say_no() -> None:
    plain = info(("seed", ["INT", {}]), after=["INT", {}])
    assert widget_values({"widgets_values": [1, "fixed", 9]}, plain) == {"seed": 1, "after": 9}
    without = info(("seed", ["INT", {"control_after_generate": False}]), after=["INT", {}])
    assert widget_values({"widgets_values": [1, 9]}, without) == {"seed": 1, "after": 9}


def test_values_that_an_older_file_lacks_are_the_defaults() -> None:
    known = info(
        ("a", ["INT", {"default": 4}]),
        b=["COMBO", {"options": ["x", "y"]}],
        c=[["u"]],
        d=["STRING", {}],
        e=["COMBO", {"options": []}],
    )
    assert widget_values({"widgets_values": [7]}, known) == {"a": 7, "b": "x", "c": "u", "d": "", "e": None}
    assert widget_values({}, known)["a"] == 4


def test_values_by_name_and_sockets_are_told_apart() -> None:
    known = info(
        ("size", ["INT", {}]), wired=["INT", {"forceInput": True}], own=["PACKS_OWN", {}], image=["IMAGE"]
    )
    saved: Json = {"widgets_values": {"size": 3, "videopreview": {}}}
    assert widget_values(saved, known) == {"size": 3}
    saved = {"widgets_values": [3, [1, 2]], "inputs": [{"name": "own", "widget": {"name": "own"}}]}
    assert widget_values(saved, known) == {"size": 3, "own": {"__value__": [1, 2]}}


def test_texts_with_choices_and_comments() -> None:
    rng = random.Random(0)
    made = {dynamic_prompt(r"a {red|{dark|light} blue} \{box\} /* no */ end // no", rng) for _ in range(50)}
    assert made == {f"a {colour} {{box}}  end " for colour in ("red", "dark blue", "light blue")}
    assert dynamic_prompt("nothing to choose", rng) == "nothing to choose"


def test_reading_either_form(tmp_path: Path, saved: Json) -> None:
    file = tmp_path / "w.json"
    for form in ("workflow", "prompt"):
        file.write_text(json.dumps(saved[form]))
        assert read_workflow(file) == saved[form]
        assert is_api_form(saved[form]) == (form == "prompt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"w\.json is not a workflow: it is not JSON \("),
        (b"\xff\xfe", r"w\.json is not a workflow: it is not JSON \("),
        (b"[]", r"w\.json is not a workflow of ComfyUI; save one from the page with Workflow > Save$"),
        (b"{}", r"w\.json is not a workflow of ComfyUI;"),
        (b'{"nodes": [{"id": 1}]}', r"w\.json is not a workflow of ComfyUI;"),
        (b'{"prompt": {"1": {"class_type": "A"}}, "x": 1}', r"w\.json is not a workflow of ComfyUI;"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "w.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_workflow(tmp_path / "w.json")
