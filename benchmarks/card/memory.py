"""Peak memory of an edit's steps: weights whole in several forms, and within a limit,
where some of them visit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kontext_core.memory.block_streaming import StreamedTransformer, move_others
from kontext_core.memory.offload_plan import GIB, plan_offload
from kontext_core.memory.tensor_data import tensors_of
from kontext_core.model.blocks import Modulation
from kontext_core.model.latents import noise
from kontext_core.model.transformer import Transformer
from kontext_core.quant.layer import PackedLinear
from kontext_core.quant.schemes import pack
from kontext_core.sampling.denoise import denoise
from kontext_core.sampling.schedule import sigmas

from ..speed.cases import CONFIGURATIONS, Case
from ..speed.models import Question, question, random_transformer
from .store import Context

FORMS = {"fp8": "fp8", "int4": "int4"}
LIMITS = (24, 16, 12, 8)  # GiB; what visits in one goes on doing so in the next, and is gathered once
STEPS = 4


@torch.no_grad()
def measure_memory(context: Context) -> None:
    """With the modulation away, as an edit told a limit leaves it, and resident as it is without one."""
    configuration = CONFIGURATIONS["least" if context.rehearse else "kontext"]
    config, side = configuration.transformer, configuration.sides[0] if context.rehearse else 1024
    asked = question(config, Case(side, 1), context.device, context.dtype)
    model = random_transformer(config, context.device, context.dtype)

    def resident() -> dict[str, Any]:
        return _measured(context, model, asked, side)

    context.attempt("bf16, all resident", resident)
    for name, scheme in FORMS.items():
        context.attempt(
            f"{name}, modulation away",
            lambda scheme=scheme: _packed(context, model, scheme, asked, side),
            needs=0 if context.rehearse else 10,
        )
    move_others(model, torch.device("cpu"), ())
    if not context.rehearse:
        torch.cuda.empty_cache()
    streaming: StreamedTransformer | None = None
    for gib in LIMITS:
        limit = gib * GIB if not context.rehearse else _small_limit(model, gib)

        def visiting(limit: int = limit) -> dict[str, Any]:
            nonlocal streaming
            # least pictures take more than least weights: in a rehearsal weights alone are planned
            where = plan_offload(model, limit, 0 if context.rehearse else None)
            streaming = StreamedTransformer(
                model, context.device, blocks=where.blocks, modulation=where.modulation, before=streaming
            )
            with _limited(context, limit):
                row = _measured(context, model, asked, side)
            return {"blocks_visit": where.blocks, "planned_gib": where.needed_bytes / GIB, **row}

        context.attempt(f"bf16 within {gib} GiB", visiting, needs=0 if context.rehearse else 15)


def _small_limit(model: Transformer, gib: int) -> int:
    """For weights alone: from the least that is possible to all that there are."""
    least, whole = (plan_offload(model, budget, 0).needed_bytes for budget in (None, GIB))
    return least + (whole - least) * (gib - LIMITS[-1]) // (LIMITS[0] - LIMITS[-1])


def _packed(context: Context, model: Transformer, scheme: str, asked: Question, side: int) -> dict[str, Any]:
    with torch.device("meta"):
        other = Transformer(model.config)
    other.load_state_dict(model.state_dict(), assign=True)
    for block in (*other.double_blocks, *other.single_blocks):
        rare = {id(one) for part in block.modules() if isinstance(part, Modulation) for one in part.modules()}
        for name, linear in list(block.named_modules()):
            if type(linear) is nn.Linear and id(linear) not in rare:
                block.set_submodule(name, PackedLinear([pack(linear.weight, scheme)], linear.bias))
    StreamedTransformer(other, context.device, blocks=0)
    own = {id(tensor) for tensor in tensors_of(other)}
    beside = sum(
        one.nbytes for one in tensors_of(model) if one.device == context.device and id(one) not in own
    )
    return _measured(context, other.eval(), asked, side, beside)


def _measured(
    context: Context, model: Transformer, asked: Question, side: int, beside: int = 0
) -> dict[str, Any]:
    """Peak while denoising, and seconds of a step.

    Args:
        beside: bytes on the card that are not this model's.
    """
    given = noise(1, side // 8, side // 8, 0), asked.txt, asked.pooled, sigmas(STEPS, asked.tokens.shape[1])

    def work() -> Tensor:
        return denoise(model, *given, references=asked.references)

    work()
    if context.rehearse:
        return {"finite": bool(work().isfinite().all())}
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    latents = work()
    end.record()
    end.synchronize()
    return {
        "peak_gib": (torch.cuda.max_memory_allocated() - beside) / GIB,
        "reserved_gib": torch.cuda.max_memory_reserved() / GIB,
        "step_seconds": start.elapsed_time(end) / 1000 / STEPS,
        "steps": STEPS,
        "finite": bool(latents.isfinite().all()),
    }


@contextmanager
def _limited(context: Context, limit: int) -> Iterator[None]:
    """The allocator refuses more than the limit, so that a plan that is too small is seen."""
    if context.rehearse:
        yield
        return
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(context.device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit / whole), context.device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, context.device)
