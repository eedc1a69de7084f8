"""How a model is loaded, as command lines say it, for an edit, a batch, several devices."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import torch

from .config import TINY
from .kernels.attention_backends import BACKENDS
from .quant.schemes import FULL, SCHEMES

if TYPE_CHECKING:
    from .memory.offload_plan import Waits
    from .pipeline import Pipeline

_AUTO = "auto"


@dataclass(frozen=True)
class ModelOptions:
    """Values that go through JSON, with the meaning of `Pipeline.load`.

    Args:
        model: "tiny", or a path.
        device: None is the GPU where there is one.
        loras: (file, strength) of each.
        memory: GiB; None is what is free on a GPU.
        waits: where weights wait that visit the device.
        weights: how large matrices are kept; None as they are stored.
        compile: whether blocks are compiled.
        float8: whether they multiply in float8.
        attention: one of `attention_backends.BACKENDS`, or "auto".
        graph: whether steps are recorded as a CUDA graph.
        threads: of the CPU; 0 as PyTorch likes.
        sharers: processes that share the device, each of which may take its part.
    """

    model: str = TINY
    device: str | None = None
    loras: Sequence[tuple[str, float]] = ()
    memory: float | None = None
    waits: "Waits" = "auto"
    weights: str | None = None
    compile: bool = False
    float8: bool = False
    attention: str = _AUTO
    graph: bool = False
    threads: int = 0
    sharers: int = 1

    @classmethod
    def of(cls, options: argparse.Namespace) -> Self:
        """Read the options that `cli.options` adds to a command; paths become absolute."""
        return cls(
            options.model if options.model == TINY else str(Path(options.model).absolute()),
            options.device,
            tuple((str(file.absolute()), strength) for file, strength in options.lora),
            options.memory,
            options.waits,
            options.weights,
            options.compile,
            options.float8,
            options.attention or _AUTO,
            options.graph,
        )

    def load(self) -> "Pipeline":
        """Load the model, with its LoRAs. Raises: as `Pipeline.load` and `Pipeline.with_loras`."""
        from .kernels.options import Wishes
        from .pipeline import Pipeline

        if self.attention not in (_AUTO, *BACKENDS):
            raise ValueError(f"attention {self.attention!r} is not known; choose auto, {', '.join(BACKENDS)}")
        if self.weights not in (None, _AUTO, FULL, *SCHEMES):
            forms = ", ".join((_AUTO, FULL, *SCHEMES))
            raise ValueError(f"weights {self.weights!r} are not known; choose one of {forms}")
        if self.threads:
            torch.set_num_threads(self.threads)
        pipeline = Pipeline.load(
            self.model,
            device=self.device,
            quantise=self.weights,
            memory_gib=self._memory_gib(),
            waits=self.waits,
            compile=self.compile,
            float8=self.float8,
            wishes=Wishes(attention=self.attention, graph=self.graph),
        )
        if not self.loras:
            return pipeline
        from .lora import Lora

        return pipeline.with_loras([Lora(path, strength) for path, strength in self.loras])

    def picture_options(self) -> dict[str, Any]:
        """List those that change pictures, but for model and LoRAs; none where all are the usual ones."""
        backend = BACKENDS.get(self.attention)
        chosen = {
            "weights": self.weights,
            "memory": self.memory if self.weights == _AUTO else None,
            "float8": self.float8,
            "attention": self.attention if backend is not None and not backend.exact else None,
        }
        return {name: value for name, value in chosen.items() if value}

    def _memory_gib(self) -> float | Literal["auto"]:
        if self.memory is not None:
            return self.memory
        if self.sharers == 1:  # the device may be none, which loading says
            return _AUTO
        device = torch.device(self.device or "cpu")
        if device.type != "cuda":
            return _AUTO
        from .memory.offload_plan import GIB

        free, total = torch.cuda.mem_get_info(device)
        return min(free, total // self.sharers) / GIB
