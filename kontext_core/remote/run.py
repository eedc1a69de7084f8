"""One workflow on a ComfyUI, from its file to the pictures in a folder."""

import re
from collections.abc import Callable, Collection
from pathlib import Path

from .. import disk
from .client import Client, Event, Json, RemoteError, Result
from .workflow import check_nodes, is_api_form, to_api_form

DAY_S = 86_400.0


def as_prompt(workflow: Json, object_info: Json) -> Json:
    """A workflow in API form, whichever it had.

    Raises: ValueError if the server lacks nodes, the workflow cannot be unfolded here, or is damaged.
    """
    if not is_api_form(workflow):
        return to_api_form(workflow, object_info)
    check_nodes(workflow, object_info)
    return workflow


def execute(
    client: Client,
    prompt: Json,
    workflow: Json | None = None,
    on_event: Callable[[Event], object] | None = None,
    timeout: float = DAY_S,
) -> Result:
    """Queue a graph and wait for its end. An interrupt here takes it off the server's queue.

    Args:
        prompt: in API form.
        workflow: its page form, to be kept in the pictures.
    Raises: RemoteError if it is refused, fails, or is stopped over there.
    """
    prompt_id = client.queue(prompt, workflow)
    try:
        result = client.wait(prompt_id, on_event, timeout)
    except KeyboardInterrupt:
        client.cancel(prompt_id)
        raise
    if result.interrupted:
        raise RemoteError("The graph was stopped on ComfyUI before it had finished.")
    return result


def download(
    client: Client, result: Result, folder: Path, nodes: Collection[str] | None = None
) -> list[Path]:
    """Fetch every picture that a graph put out.

    Nothing that exists is overwritten, and nothing leaves the folder.

    Args:
        nodes: ids of those whose pictures count; None is all.
    Returns: the new files, by node.
    """
    disk.make_folder(folder)
    return [
        write_new(folder, str(image.get("filename", "")), client.view(image))
        for node in result.outputs
        if nodes is None or node in nodes
        for image in result.images(node)
    ]


def output_nodes(prompt: Json, object_info: Json, result: Result) -> set[str]:
    """The nodes whose pictures are the outcome: those that are there to put something out.

    Others show pictures on the way, as do those whose picture another node saves.

    Args:
        prompt: in API form.
        object_info: what the server says of its nodes.
        result: what the nodes put out.
    """
    putting_out = {id for id, node in prompt.items() if object_info[node["class_type"]].get("output_node")}
    saving = {id for id in putting_out if any(image.get("type") == "output" for image in result.images(id))}
    wires = (value for id in saving for value in prompt[id]["inputs"].values() if isinstance(value, list))
    return putting_out - {str(wire[0]) for wire in wires if wire} | saving


def write_new(folder: Path, name: str, data: bytes) -> Path:
    """Write a new file, named as the server says, or nearly so where that is taken or no name."""
    base = re.split(r"[/\\]", name)[-1]
    base = re.sub(r'[\x00-\x1f<>:"|?*\ud800-\udfff]', "_", base).strip(" .") or "picture"
    return disk.write_new(folder, Path(base).stem, Path(base).suffix, data)
