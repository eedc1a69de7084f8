"""The graph that we queue for a workflow equals what the page would queue, on old and new front ends."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from kontext_core.remote.client import Client, Json
from kontext_core.remote.workflow import read_workflow, to_api_form
from tests import front_ends
from tools import frontend
from tools.page import open_browser, open_page
from tools.paths import ROOT
from tools.server import Server

pytestmark = pytest.mark.comfy
# Those that come along, and some that the first version of the pack saved.
WORKFLOWS = [
    *sorted((ROOT / "workflows").glob("*.json")),
    *sorted((ROOT / "tests" / "data" / "workflows_0.1").glob("*.json")),
]
ODD = json.loads((ROOT / "tests" / "core" / "remote" / "data" / "odd_graph.json").read_text())

_QUEUED = """async (workflow) => {
  await window.app.loadGraphData(workflow)
  const {output, workflow: saved} = await window.app.graphToPrompt()
  return JSON.stringify({output, saved})
}"""


@pytest.fixture(scope="module", params=front_ends.params())
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(front_end=frontend.get(request.param)) as server:
        yield server


@pytest.fixture(scope="module")
def page(server: Server) -> Iterator[Page]:
    with open_browser() as browser, open_page(browser, server.url) as page:
        yield page


@pytest.fixture(scope="module")
def object_info(server: Server) -> Json:
    with Client(server.url) as client:
        return client.object_info()


def queued(page: Page, workflow: Json) -> tuple[Json, Json]:
    """What the page queues for a workflow, and how it saves it again."""
    made = json.loads(page.evaluate(_QUEUED, workflow))
    return made["output"], made["saved"]


def plain(prompt: Json, workflow: Json) -> Json:
    """A graph without the titles that nobody gave: they are ComfyUI's and its page's, which
    may be of different years.
    """
    named = {str(node["id"]) for node in workflow["nodes"] if node.get("title")}
    return {
        id: {key: value for key, value in node.items() if key != "_meta" or id in named}
        for id, node in prompt.items()
    }


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_conversion_equals_the_page(page: Page, object_info: Json, path: Path) -> None:
    workflow = read_workflow(path)
    prompt, saved = queued(page, workflow)
    for form in (workflow, saved):
        assert plain(to_api_form(form, object_info), workflow) == plain(prompt, workflow)
    for node in prompt.values():
        given = object_info[node["class_type"]]["input"]
        known = {**given.get("required", {}), **given.get("optional", {})}
        assert node["inputs"].keys() <= known.keys()
        assert given.get("required", {}).keys() <= node["inputs"].keys()


def test_conversion_equals_the_page_for_odd_graphs(page: Page, object_info: Json) -> None:
    prompt, saved = queued(page, ODD["workflow"])
    workflow = ODD["workflow"]
    queued_before = plain(ODD["prompt"], workflow)
    assert plain(prompt, workflow) == queued_before
    for form in (workflow, saved):
        assert plain(to_api_form(form, object_info), workflow) == queued_before


_TURNS = ("KontextTurn", "KontextEdit", "KontextScript", "KontextPickTurn", "KontextVisualCue")
_WITH_TURNS = ("three_turn_edit", "five_turn_chain", "branch_and_compare", "script", "drawn_ellipse")


@pytest.mark.parametrize("mode", [2, 4], ids=["muted", "bypassed"])
@pytest.mark.parametrize("name", _WITH_TURNS)
def test_what_comes_behind_a_turn_that_is_off_goes_on_with_what_came_before_it(
    page: Page, object_info: Json, name: str, mode: int
) -> None:
    """Each turn alone, and all of them; no node that runs lacks what it needs, and the
    command line queues the same.
    """
    workflow = read_workflow(ROOT / "workflows" / f"{name}.json")
    turns = [node for node in workflow["nodes"] if node["type"] in _TURNS]
    assert turns
    for off in [*([turn] for turn in turns), turns]:
        for node in workflow["nodes"]:
            node["mode"] = mode if node in off else 0
        prompt, saved = queued(page, workflow)
        for form in (workflow, saved):
            assert plain(to_api_form(form, object_info), workflow) == plain(prompt, workflow)
        assert not {str(turn["id"]) for turn in off} & prompt.keys()
        for node in prompt.values():
            lacking = (
                object_info[node["class_type"]]["input"].get("required", {}).keys() - node["inputs"].keys()
            )
            assert not lacking, (node["class_type"], lacking, [turn["title"] for turn in off])
            if node["class_type"] in _TURNS[:3]:
                assert len({"chain", "image", "latent"} & node["inputs"].keys()) == 1, node
