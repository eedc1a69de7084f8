"""The one place that talks to ComfyUI: its folders, devices, memory, progress, and the text in a node."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import comfy.model_management as management  # pyright: ignore[reportMissingImports]
import comfy.utils  # pyright: ignore[reportMissingImports]
import folder_paths  # pyright: ignore[reportMissingImports]
import torch
from PIL import Image
from torch import Tensor

from ..kontext_core.errors import CheckpointError, TooLittleMemoryError
from . import versions
from ._api import ui

MOST_ASKED = 65_536  # bytes of a question from the page
_CORE_LOG = logging.getLogger(__name__.rpartition(".nodes.")[0] + ".kontext_core")

_Result = TypeVar("_Result")
CHAIN_LATENTS = ".kontext.safetensors"  # what `chain.latents_path` ends in


def weight_files(folder: str) -> list[str]:
    """Names of the safetensors and GGUF files in one of ComfyUI's model folders, as ComfyUI lists them."""
    named = f"kontext_gguf_{folder}"  # ComfyUI's own lists leave GGUF out
    folder_paths.folder_names_and_paths.setdefault(
        named, (folder_paths.folder_names_and_paths[folder][0], {".gguf"})
    )
    names = (*folder_paths.get_filename_list(folder), *folder_paths.get_filename_list(named))
    return sorted({name for name in names if name.lower().endswith((".safetensors", ".sft", ".gguf"))})


def pickled_files(folder: str) -> list[str]:
    """Names of the files there that opening would let run code, and that nothing here opens."""
    return [name for name in folder_paths.get_filename_list(folder) if name.endswith((".pth", ".pt", ".bin"))]


def weight_path(folder: str, name: str) -> Path:
    """Where a listed file lies. Raises: ValueError if it is not among those, or is a link that leads out of them."""
    found = folder_paths.get_full_path(folder, name) if name in weight_files(folder) else None
    if found is None:
        raise ValueError(f"there is no file {name!r} in {named_folders(folder)}")
    return inside(Path(found))


def inside(path: Path) -> Path:
    """The path, if it leads, through all links, into a folder that ComfyUI has for models. Raises: ValueError."""
    target = path.resolve()
    roots = [
        Path(root).resolve() for roots, _ in folder_paths.folder_names_and_paths.values() for root in roots
    ]
    if not any(target.is_relative_to(root) for root in (Path(folder_paths.models_dir).resolve(), *roots)):
        raise ValueError(
            f"{path} is a link to {target}, outside of ComfyUI's model folders; name its folder in ComfyUI's "
            "extra_model_paths.yaml, or put the file itself there"
        )
    return path


def folders(folder: str) -> list[Path]:
    """Where ComfyUI looks for models of one kind."""
    return [Path(path) for path in folder_paths.get_folder_paths(folder)]


def named_folders(folder: str) -> str:
    """The same, for a message."""
    return " or ".join(str(path) for path in folders(folder))


def tokenizer_folders() -> dict[str, Path]:
    """The tokenizers of CLIP-L and T5-XXL that ComfyUI brings along."""
    comfy_folder = Path(str(folder_paths.__file__)).parent / "comfy"
    return {
        "tokenizer": comfy_folder / "sd1_tokenizer",
        "tokenizer_2": comfy_folder / "text_encoders" / "t5_tokenizer",
    }


def next_picture(prefix: str, *, width: int, height: int) -> tuple[Path, dict[str, str]]:
    """The next free PNG of this prefix below the output folder, and how ComfyUI's page is told of it.

    Raises: ValueError if the prefix leads out of that folder; OSError if its folder cannot be made.
    """
    output = folder_paths.get_output_directory()
    if not _lies_in(Path(output, prefix), Path(output)):
        raise ValueError(
            f"filename_prefix {prefix!r} leads out of ComfyUI's output folder; give a name or a folder below it"
        )
    try:
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, output, width, height)
    except OSError as error:
        raise OSError(f"the folder of {prefix!r} could not be made in {output}: {error.strerror}") from error
    file = f"{name}_{counter:05}_.png"
    return Path(folder, file), {"filename": file, "subfolder": subfolder, "type": "output"}


def chain_pictures() -> list[str]:
    """PNG files that may hold a chain: all in the input folder, and in the output folder those with latents.

    The page asks whenever it lists the nodes, so only the output folder and two levels below it are looked at.
    """
    inputs_folder, output = (
        Path(folder) for folder in (folder_paths.get_input_directory(), folder_paths.get_output_directory())
    )
    given = sorted(path.name for path in inputs_folder.glob("*.png"))
    found = (path for pattern in ("", "*/", "*/*/") for path in output.glob(f"{pattern}*{CHAIN_LATENTS}"))
    saved = sorted(((_changed(path), path) for path in found), reverse=True)
    pictures = [path.with_name(path.name.removesuffix(CHAIN_LATENTS) + ".png") for _, path in saved]
    names = [path.relative_to(output).as_posix() for path in pictures if path.is_file()]
    return [*(f"{name} [output]" for name in names), *given]


def _changed(path: Path) -> float:
    """When a file was changed last; 0 if it has vanished meanwhile."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def picture_path(name: str) -> Path:
    """Where a picture lies that the page names, in the input or the output folder.

    Raises: ValueError if it is not there, or the name leads elsewhere.
    """
    folder = Path(folder_paths.annotated_filepath(name)[1] or folder_paths.get_input_directory())
    path = Path(folder_paths.get_annotated_filepath(name))
    if not _lies_in(path, folder) or not path.is_file():
        raise ValueError(
            f"there is no picture {name!r} in {folder}: choose another, upload it, or take it out of the workflow"
        )
    return path


def _lies_in(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


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

    Args: answer: from the question to what JSON can hold, run in a thread; a ValueError is status 400, {"error": sentence}.
    """
    module = sys.modules.get("server")  # ComfyUI's, which only ComfyUI itself may start
    server = getattr(getattr(module, "PromptServer", None), "instance", None)
    if server is None or any(getattr(route, "path", None) == path for route in server.routes):
        return
    from aiohttp import web

    async def answered(request: web.Request) -> web.Response:
        try:
            if not 0 < (request.content_length or 0) <= MOST_ASKED:
                raise ValueError(f"a question must have 1 to {MOST_ASKED} bytes")
            question = json.loads(await request.text())
            return web.json_response(await asyncio.to_thread(answer, question))
        except (ValueError, RecursionError) as error:
            return web.json_response({"error": str(error)}, status=400)

    server.routes.post(path)(answered)


def graph() -> Any:
    """An empty graph for a node that expands to others."""
    from comfy_execution.graph_utils import GraphBuilder  # pyright: ignore[reportMissingImports]

    return GraphBuilder()


def _others_loaded() -> bool:
    """Whether ComfyUI has models in memory that are not ours: ours have asked for room already."""
    return any(not getattr(one.model, "ours", False) for one in management.current_loaded_models)


def explained(execute: Callable[..., _Result]) -> Callable[..., _Result]:
    """For `execute`: what the core raises reaches the user as one sentence; when memory ran out, it is tried once more.

    Raises: ValueError, or RuntimeError when memory runs out again after ComfyUI has unloaded its models.
    """

    @functools.wraps(execute)
    def wrapped(*args: Any, **inputs: Any) -> _Result:
        try:
            try:
                return execute(*args, **inputs)
            except TooLittleMemoryError:
                if not _others_loaded():
                    raise
            management.unload_all_models()
            management.soft_empty_cache()
            return execute(*args, **inputs)
        except CheckpointError as error:
            raise ValueError(str(error)) from error
        except TooLittleMemoryError as error:
            raise RuntimeError(f"{error}. ComfyUI's other models are unloaded already") from error

    return wrapped
