"""The differences between versions of ComfyUI, from 0.3.64 on. No other module knows any version."""

from __future__ import annotations

import copy
import dataclasses
import functools
import sys
from collections.abc import Sequence
from typing import Any

import comfy.options  # pyright: ignore[reportMissingImports]

from .._api import io

# Fields of a schema that came after 0.3.75: words to find a node by, its place among ComfyUI's essentials,
# and that it is worked on with a picture in it, which then outlives a reload of the page.
NEWER = ("search_aliases", "essentials_category", "has_intermediate_output")


def schema(*, advanced: Sequence[str] = (), **fields: Any) -> Any:
    """Build `io.Schema` without those of the `NEWER` fields that this ComfyUI does not know.

    Args:
        advanced: names of inputs that newcomers do not need, which the page may fold away.
        fields: the schema's own.
    """
    known = {field.name for field in dataclasses.fields(io.Schema)}
    result = io.Schema(
        **{name: value for name, value in fields.items() if name in known or name not in NEWER}
    )
    inputs = {entry.id: entry for entry in result.inputs}
    for name in advanced:
        entry = inputs[name]
        if hasattr(entry, "advanced"):  # since 0.10
            entry.advanced = True
        else:
            entry.extra_dict["advanced"] = True
    return result


def preview_method() -> str | None:
    """Return the user's choice of live previews: "none", "auto", "latent2rgb", "taesd"; None if none.

    The choice in the page's settings comes with the graph and overrides --preview-method. Before 0.5,
    ComfyUI's own nodes ignore it; ours do not.
    """
    from comfy.cli_args import LatentPreviewMethod, args  # pyright: ignore[reportMissingImports]

    names = [method.value for method in LatentPreviewMethod]
    setting = _running_graph_data().get("preview_method")
    if setting in names:
        return setting
    none = LatentPreviewMethod.NoPreviews
    if args.preview_method != none or _on_command_line("preview_method", tuple(sys.argv[1:])):
        return args.preview_method.value
    return None  # "none" is ComfyUI's own default, which nobody chose


def preview_size() -> int:
    """Return the longest side of a live preview in pixels, from --preview-size."""
    from comfy.cli_args import args  # pyright: ignore[reportMissingImports]

    return args.preview_size


def _running_graph_data() -> dict[str, Any]:
    """Return the data that came with the running graph besides its nodes; empty if ComfyUI has no server."""
    module = sys.modules.get("server")  # ComfyUI's, which only ComfyUI itself may start
    server = getattr(getattr(module, "PromptServer", None), "instance", None)
    queue = getattr(server, "prompt_queue", None)
    running = [] if queue is None else queue.get_current_queue_volatile()[0]
    return running[0][3] if running else {}


@functools.lru_cache
def _on_command_line(name: str, arguments: tuple[str, ...]) -> bool:
    """Tell whether an option was given to ComfyUI rather than left at its default."""
    if not comfy.options.args_parsing:
        return False
    from comfy.cli_args import parser  # pyright: ignore[reportMissingImports]

    own = copy.deepcopy(parser)
    own.set_defaults(**{name: None})
    return getattr(own.parse_known_args(arguments)[0], name) is not None
