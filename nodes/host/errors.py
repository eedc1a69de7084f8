"""Errors in a node, as one sentence for the user."""

from __future__ import annotations

import functools
import gc
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import comfy.model_management as management  # pyright: ignore[reportMissingImports]

from ...kontext_core.errors import CheckpointError, TooLittleMemoryError, explain_oom
from ..border import checked

_Result = TypeVar("_Result")


def _others_loaded() -> bool:
    """Tell whether ComfyUI has models in memory that are not ours: ours have asked for room already."""
    return any(not getattr(entry.model, "ours", False) for entry in management.current_loaded_models)


def user_errors(execute: Callable[..., _Result]) -> Callable[..., _Result]:
    """Wrap `execute`: check inputs, make one sentence of errors, and retry once if memory runs out.

    Raises: ValueError, or RuntimeError if memory runs out again after ComfyUI has unloaded its models.
    """
    names = tuple(inspect.signature(execute).parameters)[1:]

    @functools.wraps(execute)
    def wrapped(cls: Any, *args: Any, **inputs: Any) -> _Result:
        values = dict(zip(names, args, strict=False)) | inputs

        def attempt() -> _Result:
            with explain_oom("what came into this node", "pass smaller pictures, or fewer at once"):
                return execute(cls, **checked(cls, values))

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
