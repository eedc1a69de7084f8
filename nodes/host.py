"""What talks to ComfyUI, besides folders.py: its devices, memory, progress, and the text in a node."""

from __future__ import annotations

import asyncio
import codecs
import functools
import gc
import inspect
import json
import logging
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import comfy.model_management as management  # pyright: ignore[reportMissingImports]
import comfy.utils  # pyright: ignore[reportMissingImports]
import torch
from PIL import Image
from torch import Tensor

from ..kontext_core.errors import CheckpointError, TooLittleMemoryError, explained_memory
from . import versions
from ._api import ui
from .border import checked

MOST_ASKED = 65_536  # bytes of a question from the page
LONGEST_ASKED = 10.0  # seconds in which it has to arrive
_CORE_LOG = logging.getLogger(__name__.rpartition(".nodes.")[0] + ".kontext_core")

_Result = TypeVar("_Result")


def graph_texts(hidden: Any) -> dict[str, str]:
    """What a PNG says of the graph that made it, so that dropping it on the page restores that; see `io.Hidden`."""
    from comfy.cli_args import args  # pyright: ignore[reportMissingImports]

    if args.disable_metadata or not hidden:
        return {}
    texts = {"prompt": hidden.prompt} if hidden.prompt else {}
    return {name: json.dumps(value) for name, value in (texts | (hidden.extra_pnginfo or {})).items()}


def device(choice: str) -> torch.device:
    """The device of a choice in the loader; "auto" is the one ComfyUI works on."""
    if choice == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda' and PyTorch finds no such GPU here; choose 'auto' or 'cpu'")
    if choice == "auto":
        return management.get_torch_device()
    # with its number, or ComfyUI would take it for another
    return torch.device("cuda", torch.cuda.current_device()) if choice == "cuda" else torch.device(choice)


def dtype(choice: str, on: torch.device) -> torch.dtype:
    """The dtype of a choice in the loader; "auto" is the best that is fast on the device."""
    if choice != "auto":
        return getattr(torch, choice)
    if on.type == "cpu":
        return torch.float32
    return torch.bfloat16 if management.should_use_bf16(on) else torch.float16


def make_room(wanted: int, on: torch.device) -> None:
    """Have ComfyUI unload models of its own until so many bytes, and some to compute with, are free."""
    if on.type != "cpu":
        management.free_memory(wanted + management.minimum_inference_memory(), on)


def memory(choice: float, on: torch.device) -> float | Literal["least"] | None:
    """GiB that a model may take by the choice in the loader; 0 is what is free on a CUDA device, and None elsewhere.

    ComfyUI's options count where nothing was chosen: --highvram and --gpu-only keep all weights there, --lowvram takes
    half of what is free, --novram as little as can be, and --reserve-vram stays free.
    """
    if choice > 0:
        return choice
    state = management.vram_state
    if on.type != "cuda" or state == management.VRAMState.HIGH_VRAM:
        return None
    if state == management.VRAMState.NO_VRAM:
        return "least"
    free = max(free_gib(on) - management.extra_reserved_memory() / 2**30, 0.01)
    return free / 2 if state == management.VRAMState.LOW_VRAM else free


def free_gib(on: torch.device) -> float:
    """What is free on a device, with what PyTorch has reserved there and does not use."""
    return management.get_free_memory(on) / 2**30


def stop_if_asked() -> None:
    """Raises: ComfyUI's InterruptProcessingException if the user pressed the button."""
    management.throw_exception_if_processing_interrupted()


def colours() -> tuple[Tensor, Tensor]:
    """ComfyUI's rough colours of FLUX.1 latents, for previews: matrix (16, 3) and bias (3,)."""
    from comfy.latent_formats import Flux  # pyright: ignore[reportMissingImports]

    known = Flux()
    return torch.tensor(known.latent_rgb_factors), torch.tensor(known.latent_rgb_factors_bias)


class Progress:
    """A callback for the sampling loop: the bar and the picture in the running node, and the stop button.

    Args: preview makes a picture of latents, None: no pictures; it is called so seldom that it takes a fifth of the time at
    most.
    """

    def __init__(self, preview: Callable[[Tensor], Image.Image] | None) -> None:
        self._preview = preview
        self._bar: Any = None
        self._next_preview = 0.0

    def __call__(self, step: int, steps: int, latents: Tensor) -> None:
        stop_if_asked()
        if self._bar is None:
            self._bar = comfy.utils.ProgressBar(steps)
        start = time.monotonic()
        shown = None
        if self._preview is not None and (start >= self._next_preview or step + 1 == steps):
            shown = ("JPEG", self._preview(latents), versions.preview_size())
            end = time.monotonic()
            self._next_preview = end + max(4 * (end - start), 0.1)
        self._bar.update_absolute(step + 1, steps, shown)


@contextmanager
def heard() -> Generator[list[str]]:
    """Collects what the core warns of meanwhile, so that the node can say it too."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    listener = Listener(logging.WARNING)
    _CORE_LOG.addHandler(listener)
    try:
        yield said
    finally:
        _CORE_LOG.removeHandler(listener)


@dataclass(frozen=True)
class _Told(ui.PreviewText):
    """Text and what else the page's scripts want to know."""

    value: str
    more: dict[str, Sequence[Any]]

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), **self.more}


def say(*lines: str, **more: Sequence[Any]) -> Any:
    """Text of a node's output, which web/js/node_text.js shows in the node; nothing to say empties it again.

    Args: more: lists for other scripts of the page.
    """
    return _Told("\n".join(lines), more)


def shown(image: Tensor, *lines: str, cls: Any) -> dict[str, Any]:
    """A picture (B, H, W, 3) and text of a node's output, both to be seen in the node. Args: cls: the node."""
    return {**ui.PreviewImage(image, cls=cls).as_dict(), "text": ("\n".join(lines),)}


def serve(path: str, answer: Callable[[Any], Any]) -> None:
    """Let the page ask by POST with JSON. Where ComfyUI has no server, and where the path is served already, nothing.

    Args:
        answer: from the question to what JSON can hold, run in a thread. A ValueError of it is status 400,
            {"error": sentence}, and so is a question that cannot be read.
    """
    module = sys.modules.get("server")  # ComfyUI's, which only ComfyUI itself may start
    server = getattr(getattr(module, "PromptServer", None), "instance", None)
    if server is None or any(getattr(route, "path", None) == path for route in server.routes):
        return
    from aiohttp import web

    async def answered(request: web.Request) -> web.Response:
        try:
            return web.json_response(await asyncio.to_thread(answer, await _question(request)))
        except (ValueError, OSError) as error:
            return web.json_response({"error": str(error)}, status=400)

    server.routes.post(path)(answered)


async def _question(request: Any) -> Any:
    """Read what a request asks. Raises: ValueError in one sentence if it is no JSON of a sensible size."""
    from aiohttp.http_exceptions import HttpProcessingError
    from aiohttp.web import RequestPayloadError

    body = bytearray()
    try:
        async with asyncio.timeout(LONGEST_ASKED):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > MOST_ASKED:
                    break
    except (TimeoutError, HttpProcessingError, RequestPayloadError) as error:
        raise ValueError(
            "the question did not arrive whole: its length or its encoding is another"
        ) from error
    if not 0 < len(body) <= MOST_ASKED:
        raise ValueError(f"a question must have 1 to {MOST_ASKED} bytes")
    try:
        if codecs.lookup(request.charset or "utf-8").name != "utf-8":
            raise LookupError
        return json.loads(body.decode("utf-8"))
    except (LookupError, UnicodeDecodeError) as error:
        raise ValueError("a question must be text in UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"the question is not JSON: {error}") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, lists in lists in lists
        raise ValueError("the question is nested too deeply, or holds a number that is too long") from error


def graph() -> Any:
    """An empty graph for a node that expands to others."""
    from comfy_execution.graph_utils import GraphBuilder  # pyright: ignore[reportMissingImports]

    return GraphBuilder()


def _others_loaded() -> bool:
    """Whether ComfyUI has models in memory that are not ours: ours have asked for room already."""
    return any(not getattr(one.model, "ours", False) for one in management.current_loaded_models)


def explained(execute: Callable[..., _Result]) -> Callable[..., _Result]:
    """For `execute`: what comes in is checked, what the core raises becomes one sentence, and when
    memory ran out it is tried once more.

    Raises: ValueError, or RuntimeError when memory runs out again after ComfyUI has unloaded its models.
    """
    names = tuple(inspect.signature(execute).parameters)[1:]

    @functools.wraps(execute)
    def wrapped(cls: Any, *args: Any, **inputs: Any) -> _Result:
        given = dict(zip(names, args, strict=False)) | inputs

        def attempt() -> _Result:
            with explained_memory("what came into this node", "hand on smaller pictures, or fewer at once"):
                return execute(cls, **checked(cls, given))

        try:
            try:
                return attempt()
            except TooLittleMemoryError:
                if not _others_loaded():
                    raise
            gc.collect()  # an error may hold itself, and with it what the attempt had made
            management.unload_all_models()
            management.soft_empty_cache()
            return attempt()
        except CheckpointError as error:
            raise ValueError(str(error)) from error
        except TooLittleMemoryError as error:
            raise RuntimeError(f"{error}. ComfyUI's other models are unloaded already") from error

    return wrapped
