"""Loading a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakValueDictionary

import torch

from ..kontext_core.model_spec import ComputeOptions, ModelSpec
from . import files, values
from ._api import io
from .host import folders, versions
from .host.errors import user_errors
from .host.memory import device_for, dtype_for, free_gib, make_room, memory_gib
from .host.outputs import text_output
from .types import CATEGORY, Model
from .values import FileNames

if TYPE_CHECKING:
    from ..kontext_core.loading.report import FileReport
    from ..kontext_core.pipeline import Pipeline

DTYPES = ("auto", "bfloat16", "float16", "float32")
DEVICES = ("auto", "cpu", "cuda")
AS_STORED = "as stored"
AUTO = "auto"
WEIGHTS = (AS_STORED, "full", "fp8", "int8", "int4", "nf4", AUTO, "fp8_tensor", "int8_zero", "int4_zero")
MOST_GIB = 4096
EXACT = "exact"


class Speed(NamedTuple):
    """What a choice of speed is in `ModelSpec`; graph in its `ComputeOptions`."""

    compile: bool = False
    float8: bool = False
    graph: bool = False


SPEEDS = {
    EXACT: Speed(),
    "compiled": Speed(compile=True),
    "graph": Speed(graph=True),
    "fp8": Speed(float8=True),
    "fp8 compiled": Speed(compile=True, float8=True),
}
ATTENTIONS = (AUTO, "sage")

_loaded: WeakValueDictionary[Any, Pipeline] = WeakValueDictionary()


class KontextLoadModel(io.ComfyNode):
    """A model; two loaders with the same choices share one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return versions.schema(
            node_id="KontextLoadModel",
            display_name="Kontext Load Model",
            category=CATEGORY,
            search_aliases=["flux kontext", "load diffusion model", "load checkpoint", "unet loader"],
            advanced=("dtype", "device", "memory", "speed", "attention"),
            description="Loads FLUX.1 Kontext with its autoencoder and text encoders, and reports what it "
            "found.",
            inputs=[
                io.Combo.Input(
                    "model",
                    options=files.models(),
                    default=files.TINY,
                    tooltip="The bundled tiny model (it knows only its own world of shapes), or a file or "
                    "folder in models/diffusion_models or models/diffusers: safetensors in "
                    "bfloat16, float16, float32 or fp8 (plain, or scaled as ComfyUI does), GGUF "
                    "(F32 to Q2_K), NF4 and FP4 of bitsandbytes, int8 and float8 of torchao; whole "
                    "checkpoints, and folders of diffusers.",
                ),
                *(
                    io.Combo.Input(
                        name,
                        options=FileNames([files.AUTO, *folders.weight_files(folder)]),
                        default=files.AUTO,
                        tooltip=f"The {called} in models/{folder}, usually {usual}. auto: the one in the "
                        "model folder, or the file whose content fits.",
                    )
                    for name, (_, _, folder, called, usual) in files.FILE_INPUTS.items()
                ),
                io.Combo.Input(
                    "dtype",
                    options=list(DTYPES),
                    default="auto",
                    tooltip="The number format to compute with. auto: bfloat16 on a GPU, float32 on a CPU. "
                    "float32 takes twice the memory. The T5 text encoder never uses float16.",
                ),
                io.Combo.Input(
                    "device",
                    options=list(DEVICES),
                    default="auto",
                    tooltip="Where to compute. auto: where ComfyUI does.",
                ),
                io.Combo.Input(
                    "weights",
                    options=list(WEIGHTS),
                    default=AS_STORED,
                    optional=True,
                    tooltip="How the large matrices of the transformer and T5 are kept in memory. as "
                    "stored: as in the file, which is small for GGUF, fp8, NF4, FP4 and torchao "
                    "files. full: unpacked to the dtype, the fastest. fp8 (one factor per row), "
                    "fp8_tensor (one per matrix), int8 and int8_zero take half, and int4, int4_zero "
                    "and nf4 about a quarter, of bfloat16's memory, at some loss; _zero: with zero "
                    "points, slightly more accurate. auto: the form with the least loss that stays "
                    "within the memory.",
                ),
                io.Float.Input(
                    "memory",
                    default=0.0,
                    min=0.0,
                    max=MOST_GIB,
                    step=0.5,
                    optional=True,
                    tooltip="GiB of device memory that the model may use, for weights and computation "
                    "together. What does not fit is kept in the computer's memory and fetched when "
                    "needed: the same picture, but slower. 0: as much as is free.",
                ),
                io.Combo.Input(
                    "speed",
                    options=list(SPEEDS),
                    default=EXACT,
                    optional=True,
                    tooltip="How steps are computed on a CUDA card. exact: with the card's best kernels, "
                    "without preparation. compiled: torch.compile compiles the blocks, which makes "
                    "the first edit of each size slower. graph: a step is recorded as a CUDA graph, "
                    "for small pictures and slow computers; the memory of one step stays in use. "
                    "fp8: products in float8, faster on cards of compute capability 8.9 or later, "
                    "but slightly inexact.",
                ),
                io.Combo.Input(
                    "attention",
                    options=list(ATTENTIONS),
                    default=AUTO,
                    optional=True,
                    tooltip="What computes attention. auto: the card's best exact kernel. sage: "
                    "SageAttention, if it is installed; faster on some cards, but not exact.",
                ),
            ],
            outputs=[Model.Output("MODEL", display_name="model", tooltip="For all other Kontext nodes.")],
        )

    @classmethod
    def validate_inputs(cls, model: str | None = None) -> bool | str:
        return values.validity(files.check_model, model)

    @classmethod
    def fingerprint_inputs(
        cls,
        model: str | None = None,
        vae: str | None = None,
        clip_l: str | None = None,
        t5xxl: str | None = None,
        **_: Any,
    ) -> Any:
        return files.fingerprint(model, vae=vae, clip_l=clip_l, t5xxl=t5xxl)

    @classmethod
    @user_errors
    def execute(
        cls,
        model: str,
        vae: str,
        clip_l: str,
        t5xxl: str,
        dtype: str,
        device: str,
        weights: str = AS_STORED,
        memory: float = 0.0,
        speed: str = EXACT,
        attention: str = AUTO,
    ) -> io.NodeOutput:
        selection = files.select(model, vae=vae, clip_l=clip_l, t5xxl=t5xxl)
        parts = selection.parts
        on = device_for(device)
        numbers = dtype_for(dtype, on)
        reports = files.reports_of(parts)
        how = SPEEDS[speed]
        spec = ModelSpec(
            model={part: str(path) for part, path in parts.items()},
            dtype=str(numbers).removeprefix("torch."),
            device=str(on),
            quantise=None if weights == AS_STORED else weights,
            memory_gib=float(memory) or None,
            compile=how.compile,
            float8=how.float8,
            compute=ComputeOptions(attention=attention, graph=how.graph),
        )
        key = (files.state_of(parts), json.dumps(spec.to_json(), sort_keys=True))
        pipeline = _loaded.get(key)
        if pipeline is None:
            pipeline = _loaded[key] = _load(spec, reports)
        plan = pipeline.describe_memory()
        about = [
            _used(pipeline, numbers, on),
            *([plan] if plan else []),
            *(report.describe() for report in reports),
            *selection.notes,
        ]
        return io.NodeOutput(pipeline, ui=text_output(*about))


def _used(pipeline: Pipeline, dtype: torch.dtype, device: torch.device) -> str:
    """Describe the numbers that the model computes in, where, and how much of it is packed in fewer bits."""
    from ..kontext_core.quant.layer import packed_bytes

    packed = packed_bytes(pipeline.transformer) + packed_bytes(pipeline.text)
    stay = f", weights packed in {packed / 2**20:,.1f} MiB" if packed else ""
    return f"{str(dtype).removeprefix('torch.')} on {device}{stay}"


def loaded_models() -> list[Pipeline]:
    """List the models that loaders have loaded and that something still uses."""
    return list(_loaded.values())


def _load(spec: ModelSpec, reports: Sequence[FileReport]) -> Pipeline:
    """Make room for a model, and load it.

    Args:
        spec: its memory is what the user allows; None: what is free.
        reports: on the files of its parts.
    """
    from .managed_pipeline import ManagedPipeline

    device, dtype = torch.device(spec.device or "cpu"), getattr(torch, spec.dtype or "float32")
    form = None if spec.quantise == AUTO else spec.quantise
    needed = sum(report.memory(dtype, form) for report in reports)
    chosen = spec.memory_gib if isinstance(spec.memory_gib, float) else 0.0
    make_room(min(needed, int(chosen * 2**30)) if chosen else needed, device)
    allowed = memory_gib(chosen, device)
    if spec.quantise == AUTO and allowed is None:
        allowed = free_gib(device)
    with torch.inference_mode(False):  # ComfyUI runs nodes in it, and weights would be marked for ever
        pipeline = ManagedPipeline.from_spec(replace(spec, memory_gib=allowed))
    pipeline.ensure_loaded()
    return pipeline
