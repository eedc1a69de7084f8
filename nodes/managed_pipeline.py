"""Our own models under ComfyUI's memory manager: it may unload their weights, and they ask it for room.

ComfyUI keeps a list of `ModelPatcher`s; ours moves all of a pipeline's weights or none, and reports their
size.
"""

from __future__ import annotations

import weakref
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import comfy.model_management as management  # pyright: ignore[reportMissingImports]
import torch
from comfy.model_patcher import ModelPatcher  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn

from ..kontext_core.edit_settings import EditSettings
from ..kontext_core.lora import Lora
from ..kontext_core.memory.offload_plan import usual_working_bytes
from ..kontext_core.pipeline import Pipeline
from ..kontext_core.sampling.inputs import Callback, SampleInputs, Text


class ManagedPipeline(Pipeline):
    """A model whose weights are on the device when it is used, else where ComfyUI wants them."""

    _patcher: _Patcher | None = None

    def ensure_loaded(self) -> None:
        """Have ComfyUI make room, which may unload other models, and bring back unloaded weights."""
        bare = self.without_loras()
        patcher = bare._patcher = bare._patcher or _Patcher(bare)
        management.load_models_gpu([patcher], memory_required=patcher.work, force_full_load=True)
        bare.to_device()  # what a LoRA shares with another model may have left with that one

    @contextmanager
    def _in_place(self) -> Generator[None]:
        """Have all weights where they are used, until this thread is done with them."""
        self.ensure_loaded()
        with self.weights.lock:
            self.to_device()  # what the manager unloaded for another thread in between
            yield

    def encode_prompt(self, prompt: str) -> Text:
        with self._in_place():
            return super().encode_prompt(prompt)

    def encode(self, image: Tensor) -> Tensor:
        with self._in_place():
            return super().encode(image)

    def decode(self, latents: Tensor) -> Tensor:
        with self._in_place():
            return super().decode(latents)

    def denoise(
        self,
        inputs: SampleInputs,
        sigmas: Sequence[float],
        settings: EditSettings,
        callback: Callback | None = None,
    ) -> Tensor:
        with self._in_place():
            return super().denoise(inputs, sigmas, settings, callback)

    def with_loras(self, loras: Sequence[Lora]) -> Self:
        with self._in_place():
            return super().with_loras(loras)


class Kontext(nn.Module):
    """The object that the manager takes for the model and names in its log.

    Args:
        device: where the weights are now.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device


class _Patcher(ModelPatcher):  # pyright: ignore[reportUntypedBaseClass]
    """A pipeline as the manager sees it. It refers to the pipeline weakly, so as not to keep it alive."""

    ours = True

    def __init__(self, pipeline: ManagedPipeline) -> None:
        # First, for up to 0.3.71 the manager's constructor asks for the size.
        self._pipeline = weakref.ref(pipeline)
        super().__init__(Kontext(pipeline.home), pipeline.home, torch.device("cpu"), size=1)
        self.work = usual_working_bytes(pipeline.transformer)

    def model_size(self) -> int:
        pipeline = self._pipeline()
        return 0 if pipeline is None else pipeline.weights.resident_bytes

    def loaded_size(self) -> int:
        return self.model_size() if self.model.device == self.load_device else 0

    def partially_load(
        self, device_to: Any, extra_memory: float = 0, force_patch_weights: bool = False, **_: Any
    ) -> int:
        """Load all of it, whatever amount is requested. Returns: bytes loaded."""
        pipeline = self._pipeline()
        if pipeline is None or self.model.device == self.load_device:
            return 0
        pipeline.to_device()
        self.model.device = self.load_device
        return self.model_size()

    def partially_unload(self, device_to: Any, memory_to_free: float = 0, *_: Any, **__: Any) -> int:
        """Unload nothing in part: the manager then unloads everything."""
        return 0

    def detach(self, unpatch_all: bool = True) -> Any:
        """Take the model off the list.

        Args:
            unpatch_all: whether the weights leave the device as well.
        """
        pipeline = self._pipeline()
        if unpatch_all and pipeline is not None and self.load_device != self.offload_device:
            pipeline.to_host()
            self.model.device = self.offload_device
        return self.model
