"""Workflows as the page saves them, turned into the form that ComfyUI's /prompt takes."""

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..checks.shorten import plain
from .passing import pass_over
from .shape import WorkflowError, called, check_api_form, check_page_form, check_wires

Json = dict[str, Any]

_MUTED, _BYPASSED = 2, 4  # LiteGraph's modes
_VIRTUAL = ("Note", "MarkdownNote", "Reroute", "PrimitiveNode")  # these live in the page only
_PLAIN: dict[str, Any] = {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}
_WIDGETS = (*_PLAIN, "COMBO")
_UPLOADS = ("image_upload", "video_upload", "animated_image_upload", "audio_upload")
_SEEDS = ("seed", "noise_seed")
_LARGEST_BYTES = 2**26  # of a workflow's file


def read_workflow(path: Path) -> Json:
    """A workflow file, in either form.

    Raises: ValueError if there is none, or the file is not a workflow.
    """
    if not path.is_file():
        raise ValueError(f"there is no workflow {path}")
    size = path.stat().st_size
    if size > _LARGEST_BYTES:
        raise ValueError(f"{path} is not a workflow: it has {size / 2**20:.0f} MiB")
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a workflow: it is not JSON ({_fault(error)})") from error
    if not isinstance(data, dict) or not (is_api_form(data) or isinstance(data.get("nodes"), list)):
        raise ValueError(f"{path} is not a workflow of ComfyUI; save one from the page with Workflow > Save")
    try:
        if is_api_form(data):
            check_api_form(data)
        else:
            check_page_form(data)
    except WorkflowError as error:
        raise ValueError(f"{path} is not a workflow of ComfyUI; {error}") from error
    return data


def is_api_form(data: Mapping[str, Any]) -> bool:
    """Whether this is what /prompt takes: nodes by id, each with a class_type."""
    return bool(data) and all(isinstance(node, dict) and "class_type" in node for node in data.values())


def check_nodes(prompt: Json, object_info: Json) -> None:
    """Look whether a graph in API form can be run.

    Raises: ValueError naming every node that the server does not have; WorkflowError about wires.
    """
    _all_known({id: node["class_type"] for id, node in prompt.items()}, object_info)
    check_wires(prompt, object_info)


def to_api_form(workflow: Json, object_info: Json, rng: random.Random | None = None) -> Json:
    """What the page would queue for this workflow.

    Args:
        object_info: what the server says of its nodes (/object_info).
        rng: chooses among {one|or another} in texts, where the page would choose anew each time.
    Returns: {node id: {"class_type", "inputs", "_meta"}}.
    Raises: ValueError if the server lacks nodes, or the workflow has subgraphs, which only the page can
        unfold; WorkflowError if it is damaged.
    """
    check_page_form(workflow)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    inside = {subgraph.get("id") for subgraph in (workflow.get("definitions") or {}).get("subgraphs") or []}
    if any(node["type"] in inside for node in nodes.values()):
        raise ValueError(
            "this workflow has subgraphs, which only the page can unfold: export it there with File > Export (API)"
        )
    running = {
        id: node
        for id, node in nodes.items()
        if node.get("mode", 0) not in (_MUTED, _BYPASSED) and node["type"] not in _VIRTUAL
    }
    _all_known({id: node["type"] for id, node in running.items()}, object_info)
    wires = _Wires(nodes, workflow.get("links") or [])
    prompt = {
        str(id): {
            "inputs": _inputs(node, object_info[node["type"]], wires, running, rng or random.Random()),
            "class_type": node["type"],
            "_meta": {
                "title": node.get("title") or object_info[node["type"]].get("display_name") or node["type"]
            },
        }
        for id, node in running.items()
    }
    pass_over(prompt, nodes, wires.origins, _bypass)
    return prompt


def widget_values(node: Json, info: Json) -> Json:
    """A node's widget values by name. The page saves them as a list, with what it added itself in between."""
    saved = node.get("widgets_values") or []
    specs = {name: spec for name, spec in _specs(info) if _is_widget(name, spec, node)}
    if isinstance(saved, dict):
        return {name: saved.get(name, _default(spec)) for name, spec in specs.items()}
    required = (info.get("input") or {}).get("required") or {}
    uploads = any(option in spec[1] for spec in map(_pair, required.values()) for option in _UPLOADS)
    last_required = next((name for name in reversed(specs) if name in required), None)
    values = iter(saved)
    widgets: Json = {}
    for name, spec in specs.items():
        value = next(values, _default(spec))
        widgets[name] = {"__value__": value} if isinstance(value, list) else value
        for _ in range(_controls(name, spec) + (uploads and name == last_required)):
            next(values, None)
    return widgets


def dynamic_prompt(text: str, rng: random.Random) -> str:
    """What the page makes of a text: comments go, and of {one|or another} one is chosen."""
    text = re.sub(r"/\*[\s\S]*?\*/|//.*", "", text)
    innermost = re.compile(r"(?<!\\)\{((?:\\.|[^{}\\])*)\}")
    while innermost.search(text):
        text = innermost.sub(lambda match: rng.choice(re.split(r"(?<!\\)\|", match[1])), text)
    return re.sub(r"\\([{}|])", r"\1", text)


class _Wires:
    """The links of a workflow, followed back past everything that the server never sees."""

    def __init__(self, nodes: Mapping[Any, Json], links: Sequence[Any]) -> None:
        self.nodes = nodes
        # id -> (origin node, origin slot); newer pages may write a link as an object
        self.origins: dict[Any, tuple[Any, int]] = {
            link["id"] if isinstance(link, dict) else link[0]: (link["origin_id"], link["origin_slot"])
            if isinstance(link, dict)
            else (link[1], link[2])
            for link in links
            if link is not None
        }

    def source(self, link: Any, kind: str) -> tuple[Any, int] | None:
        """(node, output) that feeds an input of this type, muted nodes included, or None."""
        seen: set[Any] = set()
        while link in self.origins and link not in seen:
            seen.add(link)
            origin, slot = self.origins[link]
            node = self.nodes.get(origin)
            if node is None:
                return None
            if node.get("mode", 0) == _BYPASSED:
                index = _bypass(node, slot, kind)
                if index is None:
                    return None
                link, kind = node["inputs"][index].get("link"), node["inputs"][index]["type"]
            elif node["type"] in _VIRTUAL:
                inputs = node.get("inputs") or []
                link = inputs[slot].get("link") if slot < len(inputs) else None
            else:
                return origin, slot
        return None

    def primitive(self, link: Any) -> list[Any]:
        """[value] of the page's primitive node at the other end of a link; empty where there is none."""
        node = self.nodes.get(self.origins.get(link, (None, 0))[0], {})
        values = node.get("widgets_values") or []
        return list(values[:1]) if node.get("type") == "PrimitiveNode" else []


def _inputs(
    node: Json, info: Json, wires: _Wires, running: Mapping[Any, Json], rng: random.Random
) -> dict[str, Any]:
    inputs = widget_values(node, info)
    for name, (_, options) in _specs(info):
        if options.get("dynamicPrompts") and isinstance(inputs.get(name), str):
            inputs[name] = dynamic_prompt(inputs[name], rng)
    for slot in node.get("inputs") or []:
        if slot.get("link") is None:
            continue
        if value := wires.primitive(slot["link"]):
            inputs[slot["name"]] = value[0]
        source = wires.source(slot["link"], slot["type"])
        if source is not None and source[0] in running:
            inputs[slot["name"]] = [str(source[0]), source[1]]
        elif source is not None:
            inputs.pop(slot["name"], None)  # it comes from a muted node
    return inputs


def _bypass(node: Json, slot: int, kind: str) -> int | None:
    """The input that stands in for a bypassed node's output: the one beside it, else the first that fits."""
    inputs = node.get("inputs") or []
    outputs = node.get("outputs") or []
    if slot >= len(outputs):
        raise WorkflowError(
            f"{called(node['id'], node)}: a link comes from its output {slot}, and it has {len(outputs)} "
            "of them"
        )
    output_kind = outputs[slot]["type"]
    if kind in ("*", ""):
        return slot if slot < len(inputs) else 0 if inputs else None

    def fits(entry: Json) -> bool:
        return _connects(entry["type"], output_kind) and _connects(entry["type"], kind)

    if slot < len(inputs) and fits(inputs[slot]):
        return slot
    same = [i for i, entry in enumerate(inputs) if entry["type"] == kind]
    like = [i for i, entry in enumerate(inputs) if fits(entry)]
    return next(iter([*same, *like]), None)


def _connects(kind: Any, other: Any) -> bool:
    """Whether LiteGraph lets two types be wired together."""
    names, others = ({part.strip() for part in str(text).lower().split(",")} for text in (kind, other))
    anything = {"*", "", "0"}
    return bool(names & others or names & anything or others & anything)


def _all_known(kinds: Mapping[Any, str], object_info: Json) -> None:
    missing: dict[str, list[str]] = {}
    for id, kind in kinds.items():
        if kind not in object_info:
            missing.setdefault(kind, []).append(str(id))
    if missing:
        named = ", ".join(f"{plain(kind)} (node {plain(', '.join(ids))})" for kind, ids in missing.items())
        raise ValueError(f"this ComfyUI does not have {named}: install the pack that provides it")


def _pair(spec: Any) -> tuple[Any, Json]:
    """Read what a server says of an input, as (kind, options)."""
    kind, options = [*spec, None, None][:2] if isinstance(spec, list) else (None, None)
    return kind, options if isinstance(options, dict) else {}


def _specs(info: Json) -> Iterator[tuple[str, tuple[Any, Json]]]:
    """Inputs in the page's order, as (name, (kind, options))."""
    inputs: Json = info.get("input") or {}
    specs: Json = {**(inputs.get("required") or {}), **(inputs.get("optional") or {})}
    order: Json = info.get("input_order") or {}
    names = [*(order.get("required") or []), *(order.get("optional") or [])] or list(specs)
    return ((name, _pair(specs[name])) for name in names if name in specs)


def _is_widget(name: str, spec: tuple[Any, Json], node: Json) -> bool:
    kind, options = spec
    if options.get("forceInput"):
        return False
    if isinstance(kind, list) or kind in _WIDGETS:
        return True
    slots = node.get("inputs") or []
    # A pack's own kind of widget.
    return any((slot.get("widget") or {}).get("name") == name for slot in slots)


def _default(spec: tuple[Any, Json]) -> Any:
    """What the page gives a new widget."""
    kind, options = spec
    if "default" in options:
        return options["default"]
    if isinstance(kind, str) and kind in _PLAIN:
        return _PLAIN[kind]
    choices = kind if isinstance(kind, list) else options.get("options")
    return choices[0] if choices else None


def _controls(name: str, spec: tuple[Any, Json]) -> int:
    """How many values the page's "fixed / randomize" takes after this one; lists have a filter too."""
    kind, options = spec
    is_seed = kind == "INT" and name in _SEEDS
    if not options.get("control_after_generate", is_seed):
        return 0
    return 2 if isinstance(kind, list) or kind == "COMBO" else 1


def _fault(error: Exception) -> str:
    """Repeat what Python says of JSON, but for what only a programmer could do something about."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return str(error) if isinstance(error, json.JSONDecodeError) else "a number has thousands of digits"
