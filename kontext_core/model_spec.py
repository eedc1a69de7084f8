"""What is loaded, how it is kept, and how it computes: each value checked once.

Nothing here needs PyTorch.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self, cast

from .checks.fields import changed_fields, check_names
from .checks.ranges import Allowed, checked_strength, is_memory
from .checks.shorten import short
from .config import TINY

MODEL_PARTS = ("transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
# How large matrices are kept: packed in one of these forms, "full" for none at all, or "auto" by the memory.
PACKED_FORMS = ("fp8", "fp8_tensor", "int8", "int8_zero", "int4", "int4_zero", "nf4")
FULL, AUTO = "full", "auto"
WEIGHT_FORMS = (AUTO, FULL, *PACKED_FORMS)
ATTENTION = ("flash4", "flash3", "cudnn", "flash2", "flash3_fp8", "sage", "torch")  # the best first
INEXACT_ATTENTION = ("flash3_fp8", "sage")  # to be taken only where they are asked for
FORMS = ("auto", "plain", "fused")
WAITS = ("auto", "memory", "file")
DTYPES = ("float32", "bfloat16", "float16", "float64")

Waits = Literal["auto", "memory", "file"]


@dataclass(frozen=True)
class Lora:
    """A file and how it is put upon a model.

    Args:
        strength: 1 is as it was trained; 0 leaves it out and costs nothing.
        start: the share of the steps in between which it acts upon the transformer, in [0, 1]. The words are
            read once, so its part for the text encoders, if there is one, acts all the time.
        end: likewise.
        merged: whether it is added into copies of the weights that it changes, which takes their memory again
            and no time at each step, in place of running beside them.
    Raises: ValueError.
    """

    path: str | Path
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    merged: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "strength", checked_strength(self.strength))
        _check_lora(self.path, self.merged, (self.start, self.end))
        if self.merged and (self.start, self.end) != (0.0, 1.0):
            raise ValueError(
                f"a merged LoRA acts at all steps, but this one is to act from {self.start:g} to "
                f"{self.end:g}: let it run beside the weights"
            )


def _check_lora(path: object, merged: object, shares: tuple[Any, Any]) -> None:
    """Raises: ValueError if a value of a LoRA is of another kind than it should be, or out of its range."""
    if not isinstance(path, str | PathLike):
        raise ValueError(f"the file of a LoRA is {short(path)} and must be a path")
    if not isinstance(merged, bool):
        raise ValueError(f"whether a LoRA is merged is {short(merged)} and must be True or False")
    start, end = shares
    if not (_SHARE.admits(start) and _SHARE.admits(end) and start < end):
        raise ValueError(
            f"a LoRA acts from {short(start)} to {short(end)} of the steps; both must lie in [0, 1] and the start "
            "before the end"
        )


_SHARE = Allowed(0, 1)


@dataclass(frozen=True)
class ComputeOptions:
    """How a step is to be computed. None of it changes what is computed but attention "sage".

    Args:
        kernels: one of `FORMS`; "auto" is fused where Triton runs, "fused" insists on it.
        attention: one of `ATTENTION`, or "auto" for the card's best exact one.
        side_stream: whether text runs beside the image on a CUDA stream of its own.
        graph: whether a step is recorded as a CUDA graph and replayed, where no weights visit the device.
    Raises: ValueError if there is no such form.
    """

    kernels: str = "auto"
    attention: str = "auto"
    side_stream: bool = False
    graph: bool = False

    def __post_init__(self) -> None:
        if self.kernels not in FORMS:
            raise ValueError(f"kernels {short(self.kernels)} are not known; choose one of {', '.join(FORMS)}")
        if self.attention not in (AUTO, *ATTENTION):
            raise ValueError(
                f"attention {short(self.attention)} is not known; choose auto, {', '.join(ATTENTION)}"
            )


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model as it is to be loaded and run; the keywords of `Pipeline.load`.

    Args:
        model: "tiny", which comes along; a folder laid out as the published one; or a path for each of
            `MODEL_PARTS`.
        device: "cpu", "cuda", "cuda:1", "mps"; None: the GPU where there is one.
        dtype: to compute with, one of `DTYPES`; None: bfloat16 on a GPU and float32 on a CPU.
        quantise: how the large matrices of transformer and T5 stay in memory: None: as they are stored; or
            one of `WEIGHT_FORMS`.
        memory_gib: most that the device is to hold, in GiB above 0; "least" is as little as can be, "auto"
            what is free on a CUDA device; None: all weights stay on the device.
        waits: where weights wait that visit the device, one of `WAITS`.
        compile: whether blocks are compiled at their first calls.
        float8: whether blocks multiply in float8, which changes the picture a little.
        loras: put upon the model, in order.
        compute: how steps are computed; None: as is said around the call.
    Raises: ValueError in one sentence about a value that no model can have.
    """

    model: str | Mapping[str, str] = TINY
    device: str | None = None
    dtype: str | None = None
    quantise: str | None = None
    memory_gib: float | Literal["least", "auto"] | None = None
    waits: Waits = "auto"
    compile: bool = False
    float8: bool = False
    loras: tuple[Lora, ...] = ()
    compute: ComputeOptions | None = None

    def __post_init__(self) -> None:
        if isinstance(self.model, Mapping):
            absent = [part for part in MODEL_PARTS if part not in self.model]
            if absent:
                raise ValueError(
                    f"a model needs a path for each of {', '.join(MODEL_PARTS)}; not given: {', '.join(absent)}"
                )
        if self.dtype is not None and self.dtype not in DTYPES:
            raise ValueError(f"dtype is {short(self.dtype)} and must be one of {', '.join(DTYPES)}")
        if self.quantise is not None and self.quantise not in WEIGHT_FORMS:
            raise ValueError(
                f"quantise is {short(self.quantise)}; it must be one of {', '.join(PACKED_FORMS)}, {FULL} for none at "
                f"all, {AUTO} for what the memory allows, or None for the weights as they are stored"
            )
        if self.waits not in WAITS:
            raise ValueError(
                f"weights that visit the device wait in {self.waits!r}; choose one of {', '.join(WAITS)}"
            )
        if not is_memory(self.memory_gib) and self.memory_gib not in (None, "least", AUTO):
            raise ValueError(
                f"memory_gib is {short(self.memory_gib)} and must be GiB above 0, least, auto, or None for all weights"
            )
        for name in ("compile", "float8"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {short(getattr(self, name))} and must be True or False")

    def to_json(self) -> dict[str, Any]:
        """The fields that differ from their defaults, for another process of this version."""
        changed = changed_fields(self)
        if "loras" in changed:
            changed["loras"] = [asdict(lora) | {"path": str(lora.path)} for lora in self.loras]
        if self.compute is not None:
            changed["compute"] = asdict(self.compute)
        return changed

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_json` gives. Raises: ValueError about a name that is not known, or a value."""
        check_names(values, (field.name for field in fields(cls)), "says nothing of a model")
        arguments = dict(values)
        if "loras" in arguments:
            arguments["loras"] = tuple(Lora(**cast("dict[str, Any]", lora)) for lora in arguments["loras"])
        if arguments.get("compute") is not None:
            arguments["compute"] = ComputeOptions(**arguments["compute"])
        return cls(**arguments)
