"""ComfyUI starts with the pack, knows its nodes, and its page opens."""

import pytest
from playwright.sync_api import Page

from kontext_core.remote.client import Client, PromptRefused
from tools.server import Server

NODES = (
    "KontextLoadModel",
    "KontextEncodePrompt",
    "KontextReference",
    "KontextSampler",
    "KontextEncode",
    "KontextDecode",
    "KontextEdit",
    "KontextExample",
)


def test_log_has_no_failure_of_the_pack(comfyui: Server) -> None:
    log = comfyui.log
    ours = [line for line in log.replace("\\", "/").splitlines() if "custom_nodes/kontext" in line]
    assert ours
    faults = (
        "Cannot import",
        "Error while calling comfy_entrypoint",
        "Skip ",
        "(IMPORT FAILED)",
        "not callable",
    )
    assert [line for line in ours if any(fault in line for fault in faults)] == []


@pytest.mark.parametrize("node", NODES)
def test_node_is_known(client: Client, node: str) -> None:
    info = client.object_info(node)
    assert list(info) == [node]
    assert info[node]["category"].startswith("Kontext")


def test_unknown_node_is_refused_in_words(client: Client) -> None:
    with pytest.raises(PromptRefused, match="NoSuchNode"):
        client.queue({"1": {"class_type": "NoSuchNode", "inputs": {}}})


def test_page_opens(page: Page) -> None:
    assert page.evaluate("() => window.app.graph._nodes.length >= 0")
    assert page.locator("#graph-canvas").is_visible()
    assert page.locator("[role=dialog]:visible").count() == 0
