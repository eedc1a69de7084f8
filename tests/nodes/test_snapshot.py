"""Ids, inputs, defaults, ranges, tooltips and outputs of all nodes, which saved workflows rely on."""

import json
from typing import Any

from tests.snapshots import check_snapshot, read_snapshot
from tools import comfyui

_FILES = {"model", "vae", "clip_l", "t5xxl", "lora", "file"}  # whose options are what lies on the disk


def described(node: Any) -> dict[str, Any]:
    """What ComfyUI tells its page of a node, but for the place of the pack and the files that there are."""
    info = json.loads(json.dumps(node.GET_NODE_INFO_V1()))
    info.pop("python_module", None)
    for part in info["input"].values():
        for name, entry in part.items():
            if name in _FILES and len(entry) > 1:
                entry[1].pop("options", None)
    return info


def shared(value: Any, other: Any) -> Any:
    """Of objects within objects the keys that both have: each version of ComfyUI says things of its own."""
    if isinstance(value, dict) and isinstance(other, dict):
        return {key: shared(value[key], other[key]) for key in value if key in other}
    if isinstance(value, list) and isinstance(other, list) and len(value) == len(other):
        return [shared(*pair) for pair in zip(value, other, strict=True)]
    return value


def test_nodes_are_as_they_were(node_list: list[Any]) -> None:
    nodes = {node.GET_SCHEMA().node_id: described(node) for node in node_list}
    if comfyui.named() is None:
        check_snapshot("nodes", nodes)
        return
    before = read_snapshot("nodes")
    assert nodes.keys() == before.keys()
    for name, node in nodes.items():
        for part in ("required", "optional"):
            assert node["input"].get(part, {}).keys() == before[name]["input"].get(part, {}).keys()
    assert shared(nodes, before) == shared(before, nodes)
