"""Workflows damaged in any way: one sentence, or a graph that can be sent."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kontext_core.remote.client import Json, Result
from kontext_core.remote.run import as_prompt, output_nodes
from kontext_core.remote.shape import WorkflowError
from kontext_core.remote.workflow import read_workflow
from tools.paths import ROOT

TEMPLATES = sorted((ROOT / "workflows").glob("*.json"))
ODD = json.loads((Path(__file__).parent / "data" / "odd_graph.json").read_text())
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 7, 2**70, 0.5, float("nan"), float("inf"), "", "x", "\ud83c", "a\0b", [], [[]],
    [1, 2], [None], {}, {"a": 1}, {"name": 1}, [{}], [[[[[[]]]]]],
)  # fmt: skip
ROUNDS = 60  # of each file


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON document, as its holder and the key there."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


def damage(document: Json, rng: random.Random) -> Json:
    """The same with one to three places lost, replaced, doubled or exchanged for each other."""
    damaged = copy.deepcopy(document)
    for _ in range(rng.randint(1, 3)):
        every = list(places(damaged))
        if not every:
            return damaged
        holder, key = rng.choice(every)
        way = rng.randrange(4)
        if way == 0:
            del holder[key]
        elif way == 1:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
        elif way == 2 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            other, place = rng.choice(every)
            holder[key] = copy.deepcopy(other[place])
    return damaged


def described(workflow: Json) -> Json:
    """What a server would say of the nodes in a workflow of the page, as far as the workflow itself tells."""
    return {
        node["type"]: {
            "input": {"required": {slot["name"]: [slot["type"], {}] for slot in node.get("inputs") or []}},
            "output_node": not node.get("outputs"),
        }
        for node in workflow["nodes"]
    }


def documents() -> dict[str, tuple[Json, Json]]:
    """Workflows in both forms, each with what the server says of its nodes."""
    pages = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in TEMPLATES}
    known = {name: described(page) for name, page in pages.items()}
    forms = {name: (page, known[name]) for name, page in pages.items()}
    forms |= {
        f"{name}, for the API": (as_prompt(page, known[name]), known[name]) for name, page in pages.items()
    }
    return forms | {
        "odd": (ODD["workflow"], ODD["object_info"]),
        "odd, for the API": (ODD["prompt"], ODD["object_info"]),
    }


DOCUMENTS = documents()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_whatever_is_damaged(name: str, tmp_path: Path) -> None:
    document, known = DOCUMENTS[name]
    rng, file = random.Random(name), tmp_path / "w.json"
    said: list[str] = []
    for _ in range(ROUNDS):
        file.write_text(json.dumps(damage(document, rng)))
        try:
            prompt = as_prompt(read_workflow(file), known)
        except ValueError as error:
            said.append(str(error))
        else:
            json.dumps(prompt)
            output_nodes(prompt, known, Result("p", {}, (), (), interrupted=False))
    assert not [sentence for sentence in said if "\n" in sentence or not sentence]
    assert 0 < len(said) < ROUNDS, "some are damaged beyond use, and some are not"


EDIT: Json = {"id": 1, "type": "Edit"}
SHOW: Json = {"id": 2, "type": "Show", "inputs": [{"name": "images", "type": "IMAGE", "link": 1}]}


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"nodes": [EDIT, EDIT]}, "two nodes have the id 1"),
        ({"nodes": [EDIT, {**EDIT, "id": "1"}]}, "two nodes have the id 1"),
        ({"nodes": [EDIT | {"id": True}]}, "is not a node, which has an id and a type"),
        ({"nodes": [5]}, "5 is not a node, which has an id and a type"),
        ({"nodes": [EDIT | {"mode": [4]}]}, "node 1 (Edit): its mode is [4], not a number"),
        ({"nodes": [EDIT | {"widgets_values": "x"}]}, "node 1 (Edit): its widgets_values are x, not a list"),
        ({"nodes": [EDIT | {"inputs": {}}]}, "node 1 (Edit): its inputs are {}, not a list"),
        ({"nodes": [EDIT | {"inputs": [{"type": "INT"}]}]}, "{'type': 'INT'} is not an input"),
        ({"nodes": [SHOW | {"inputs": [{"name": "x", "type": "I", "link": {}}]}]}, "its input x has no"),
        ({"nodes": [EDIT | {"inputs": [{"name": "x", "type": "I", "widget": "x"}]}]}, (
            "widget is x, not an object"
        )),
        ({"nodes": [EDIT | {"inputs": [{"name": "x", "type": "I", "widget": {"name": 1}}]}]}, "x has no name"),
        ({"nodes": [EDIT | {"outputs": [{"name": "x"}]}]}, "node 1 (Edit): {'name': 'x'} is not an output"),
        ({"nodes": [EDIT], "links": {}}, "the workflow: its links are {}, not a list"),
        ({"nodes": [EDIT], "links": [None, [1, 2]]}, "[1, 2], number 2 of its links, is none"),
        ({"nodes": [EDIT], "links": [[1, 1, -1, 2, 0, "IMAGE"]]}, "number 1 of its links, is none"),
        ({"nodes": [EDIT], "links": [{"id": 1, "origin_id": 1}]}, "number 1 of its links, is none"),
        ({"nodes": [EDIT], "definitions": []}, "the workflow: its definitions is [], not an object"),
        ({"nodes": [EDIT], "definitions": {"subgraphs": [{"id": {}}]}}, "one of its subgraphs has no id"),
        ({"1": {"class_type": 5, "inputs": {}}}, "node 1: its class_type is 5, not text"),
        ({"1": {"class_type": "Edit"}}, "node 1 (Edit): its inputs are not an object of names and values"),
        ({"1": {"class_type": "Edit", "inputs": {}, "_meta": []}}, "its _meta is [], not an object"),
    ],
)  # fmt: skip
def test_the_node_is_named(document: Json, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "w.json"
    file.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="is not a workflow of ComfyUI; ") as error:
        read_workflow(file)
    assert sentence in str(error.value)
    assert str(error.value).startswith(str(file))


@pytest.mark.parametrize(
    ("wire", "sentence"),
    [
        (["7", 0], r"node 2 \(Show\): its input images comes from node 7, which does not exist"),
        ([1, 0], r"node 2 \(Show\): its input images is \[1, 0\], not a wire"),
        (["1"], "its input images is .*, not a wire"),
        (["1", "0"], "its input images is .*, not a wire"),
    ],
)
def test_wires_lead_to_nodes(wire: list[Any], sentence: str) -> None:
    known = {"Edit": {"input": {}}, "Show": {"input": {"required": {"images": ["IMAGE"]}}}}
    prompt = {
        "1": {"class_type": "Edit", "inputs": {}},
        "2": {"class_type": "Show", "inputs": {"images": wire}},
    }
    with pytest.raises(WorkflowError, match=sentence):
        as_prompt(prompt, known)
    prompt["2"]["inputs"] = {"images": ["1", 0], "of_no_account": wire}
    assert as_prompt(prompt, known) is prompt


def test_a_bypassed_node_without_that_output() -> None:
    known = described({"nodes": [EDIT, SHOW]})
    page = {"nodes": [EDIT | {"mode": 4, "outputs": []}, SHOW], "links": [[1, 1, 0, 2, 0, "IMAGE"]]}
    with pytest.raises(
        WorkflowError, match=r"node 1 \(Edit\): a link comes from its output 0, and it has 0 of them"
    ):
        as_prompt(page, known)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"1": ' + b"[" * 200_000, "it is nested too deeply"),
        (b'{"nodes": [' + b"9" * 5000 + b"]}", "a number has thousands of digits"),
        (b'{"nodes": "\xe9"}', "it is not UTF-8"),
        (b"\x89PNG\r\n", "it is not UTF-8"),
    ],
)
def test_json_that_python_cannot_read(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "w.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"w\.json is not a workflow: it is not JSON \({sentence}\)$"):
        read_workflow(tmp_path / "w.json")


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "w.json").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(ValueError, match=r"w\.json is not a workflow: it has 1024 MiB"):
        read_workflow(tmp_path / "w.json")


def test_a_byte_order_mark_is_none_of_the_workflow(tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text(json.dumps({"nodes": [EDIT]}), encoding="utf-8-sig")
    assert read_workflow(tmp_path / "w.json") == {"nodes": [EDIT]}
