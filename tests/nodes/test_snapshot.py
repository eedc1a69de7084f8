"""Ids, inputs, defaults, ranges, tooltips and outputs of all nodes are what saved workflows and other programs know."""

import json
from typing import Any

from tests.snapshots import check_snapshot

_FILES = {"model", "vae", "clip_l", "t5xxl", "lora", "file"}  # whose options are what lies on the disk


def test_nodes_are_as_they_were(node_list: list[Any]) -> None:
    nodes: dict[str, Any] = {}
    for node in node_list:
        info = json.loads(json.dumps(node.GET_NODE_INFO_V1()))
        info.pop("python_module", None)  # where the pack lies
        for part in info["input"].values():
            for name, entry in part.items():
                if name in _FILES and len(entry) > 1:
                    entry[1].pop("options", None)
        nodes[info["name"]] = info
    check_snapshot("nodes", nodes)
