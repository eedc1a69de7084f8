"""Whether a model fits a device, and in which form: planned before loading, on models without memory."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import nn
from transformers import T5EncoderModel

from ..errors import TooLittleMemoryError
from ..memory.offload_plan import (
    GIB,
    Host,
    OffloadPlan,
    OtherWeights,
    budget_bytes,
    host_storage,
    other_weights,
    plan_offload,
)
from ..model.transformer import Transformer
from .empty_weights import empty_weights
from .models import QUANTISED_PREFIXES, T5_BLOCKS, assign_weights
from .report import FileReport
from .tensors import Weights

AUTO = "auto"
# By what each does to the velocity, the least first; None is as stored. int4 takes nf4's memory at a greater
# error. Source: benchmarks/results/formats.json.
BY_ERROR = (None, "int8", "fp8", "nf4")

Found = tuple[FileReport, Weights]
Memory = float | Literal["least"]


@dataclass(frozen=True)
class WeightChoice:
    """How a model is to be loaded.

    Args:
        quantise: as for `load_transformer`.
        where: what will be where.
        reason: in words, how it came to that; "" where it was asked for.
    """

    quantise: str | None
    where: OffloadPlan
    reason: str = ""


def choose_weights(
    parts: Mapping[str, Found],
    dtype: torch.dtype,
    quantise: str | None,
    memory: Memory,
    host: Host = Host(),  # noqa: B008 (it is frozen)
) -> WeightChoice:
    """Plan a model within a device's memory.

    Args:
        parts: "transformer", "vae", "clip" and "t5", each as `locate_part` gives it.
        dtype: to compute with.
        quantise: as for `load_transformer`; "auto" takes the form with the least error whose blocks all stay
            on the device, and where none does, the one of the fewest bits, whose blocks visit.
        memory: GiB, or "least" for as little as can be.
        host: where weights wait that visit the device.
    Raises: TooLittleMemoryError if it is too little whatever visits; ValueError if it is no amount.
    """
    budget = budget_bytes(memory)
    if quantise != AUTO:
        return WeightChoice(quantise, _planned(parts, dtype, quantise, budget, host))
    names = [form or "as stored" for form in BY_ERROR]
    words = f"the first of {', '.join(names)}"
    for form, name in zip(BY_ERROR, names, strict=True):
        try:
            where = _planned(parts, dtype, form, budget, host)
        except TooLittleMemoryError:
            continue
        if where.blocks == 0:
            amount = "in little memory" if budget is None else f"within {budget / GIB:.1f} GiB"
            return WeightChoice(form, where, f"weights {name}, {words} whose blocks stay {amount}")
    where = _planned(parts, dtype, BY_ERROR[-1], budget, host)
    return WeightChoice(
        BY_ERROR[-1], where, f"weights {names[-1]}, of the fewest bits: no form has blocks that all stay"
    )


def _planned(
    parts: Mapping[str, Found], dtype: torch.dtype, quantise: str | None, budget: int | None, host: Host
) -> OffloadPlan:
    transformer, beside, converted_bytes = outlined(parts, dtype, quantise)
    where = plan_offload(transformer, budget, beside=beside)
    return replace(where, waiting=host_storage(where, converted_bytes, host))


def outlined(
    parts: Mapping[str, Found], dtype: torch.dtype, quantise: str | None
) -> tuple[Transformer, OtherWeights, int]:
    """The model as it would be loaded, without memory, and the bytes of it that its files hold otherwise.

    Arguments are those of `choose_weights`, without "auto".
    """
    with empty_weights():
        transformer = Transformer(parts["transformer"][0].config)
        t5 = T5EncoderModel(parts["t5"][0].config)
    converted_bytes = _outline(transformer, parts["transformer"], dtype, quantise, QUANTISED_PREFIXES)
    report, weights = parts["t5"]
    weights = weights | {"encoder.embed_tokens.weight": weights["shared.weight"]}
    half = torch.bfloat16 if dtype == torch.float16 else dtype  # as T5 is loaded
    converted_bytes += _outline(t5, (report, weights), half, quantise, T5_BLOCKS)
    t5.get_encoder().set_input_embeddings(t5.shared)
    small = sum(parts[kind][0].memory(dtype, None) for kind in ("vae", "clip"))
    others = other_weights(nn.Module(), nn.Module(), t5)
    return transformer, OtherWeights(others.resident + small, others.words), converted_bytes


def _outline(
    model: nn.Module, part: Found, dtype: torch.dtype, quantise: str | None, stays_packed: tuple[str, ...]
) -> int:
    """Have a model on `meta` as it would be loaded. What is stored in packed form is mapped, and not read.

    Returns: see `assign_weights`.
    """
    report, weights = part
    outline = {
        key: replace(tensor, read=partial(torch.empty, tensor.shape, dtype=tensor.dtype, device="meta"))
        for key, tensor in weights.items()
    }
    return assign_weights(model, report, outline, dtype, "meta", stays_packed, quantise)
