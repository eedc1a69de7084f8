"""LoRAs upon a model: the same modules again with some linears in others' places, and all weights shared.

Nothing of the model is changed, so it may have other LoRAs in another view at the same time, and taking one off is
going on with the model itself. Those that are merged come first, and the others run beside what they make of the weights.
"""

import copy
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import nn

from ..sampler import Stages
from ..text import TextEncoders
from ..transformer import Transformer
from .file import LoraFile, open_lora
from .keys import Tables, make_tables
from .layer import Change, LoraLinear, is_linear, merged
from .report import LoraReport, Matches, match

log = logging.getLogger(__name__)

_Model = TypeVar("_Model", bound=nn.Module)


@dataclass(frozen=True)
class Lora:
    """A file and how it is put upon a model.

    Args:
        strength: 1 is as it was trained; 0 leaves it out and costs nothing.
        start, end: the share of the steps in between which it acts upon the transformer, in [0, 1]. The words are read
            once, so its part for the text encoders, if there is one, acts all the time.
        merged: whether it is added into copies of the weights that it changes, which takes their memory again and no
            time at each step, in place of running beside them.
    Raises: ValueError.
    """

    path: str | Path
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    merged: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.strength):
            raise ValueError(
                f"the strength of a LoRA is {self.strength} and must be a number, 1 being as trained"
            )
        if not 0.0 <= self.start < self.end <= 1.0:
            raise ValueError(
                f"a LoRA acts from {self.start} to {self.end} of the steps; both must lie in [0, 1] and the start before "
                "the end"
            )
        if self.merged and (self.start, self.end) != (0.0, 1.0):
            raise ValueError(
                "a merged LoRA acts at all steps, and this one is to act from "
                f"{self.start:g} to {self.end:g}: let it run beside the weights"
            )


@dataclass(frozen=True, eq=False)
class Attached:
    """A model with LoRAs upon it.

    Args: stages: see `sampler.Stages`. reports: in the order of the LoRAs. files: kept, so that others find them open.
    """

    stages: Stages
    text: TextEncoders
    reports: tuple[LoraReport, ...]
    files: tuple[LoraFile, ...]


@torch.inference_mode(False)  # its weights are used in any mode
def with_loras(transformer: Transformer, text: TextEncoders, loras: Sequence[Lora]) -> Attached:
    """A view of a model with LoRAs upon it, in order. What a file cannot give is logged as a warning.

    Raises: CheckpointError in one sentence about a file that cannot be used; ValueError if weights that are packed are
        to be merged.
    """
    tables = _tables(transformer, text)
    files = tuple(open_lora(lora.path) for lora in loras)
    found = [match(file, tables) for file in files]
    uses = [
        _Use(lora, file, matches)
        for lora, file, (matches, _) in zip(loras, files, found, strict=True)
        if lora.strength
    ]
    for _, report in found:
        if report.missed:
            log.warning(report.missed)
    clip = _beside("clip", _merged("clip", text.clip, uses), uses)
    t5 = _beside("t5", _merged("t5", text.t5, uses), uses)
    same = clip is text.clip and t5 is text.t5
    return Attached(
        stages=_stages(transformer, uses),
        text=text if same else text.with_encoders(t5, clip),
        reports=tuple(report for _, report in found),
        files=files,
    )


def view(module: _Model, replaced: Mapping[str, nn.Module]) -> _Model:
    """The same modules with others in some places; all that is not on the way there is shared.

    Args: replaced: by name, as in `named_modules`.
    """
    if not replaced:
        return module
    inside: dict[str, dict[str, nn.Module]] = {}
    for name, other in replaced.items():
        first, _, rest = name.partition(".")
        inside.setdefault(first, {})[rest] = other
    made = copy.copy(module)  # its parameters, buffers and hooks are the very same dictionaries
    made._modules = dict(module._modules)  # pyright: ignore[reportPrivateUsage]
    for name, below in inside.items():
        child = module.get_submodule(name)
        made._modules[name] = below[""] if "" in below else view(child, below)  # pyright: ignore[reportPrivateUsage]
    return made


@dataclass(frozen=True, eq=False)
class _Use:
    lora: Lora
    file: LoraFile
    matches: Matches


def _tables(transformer: Transformer, text: TextEncoders) -> Tables:
    config, own = transformer.config, set(_linears(transformer))
    clip, t5 = (_linears(model) for model in (text.clip, text.t5))
    tables = make_tables(config.depth, config.depth_single_blocks, clip, t5)
    return {  # without what this model lacks, such as the guidance of schnell
        kind: {name: one for name, one in table.items() if one.part != "transformer" or one.layer in own}
        for kind, table in tables.items()
    }


def _linears(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if is_linear(module)]


def _stages(transformer: Transformer, uses: Sequence[_Use]) -> Stages:
    """Views by the share of the steps where each begins; one view where the same LoRAs act."""
    below = _merged("transformer", transformer, uses)
    beside = [one for one in uses if not one.lora.merged]
    begins = sorted({0.0, *(one.lora.start for one in beside), *(one.lora.end for one in beside)} - {1.0})
    views: dict[tuple[_Use, ...], Transformer] = {}
    stages: list[tuple[float, Transformer]] = []
    for begin in begins:
        acting = tuple(one for one in beside if one.lora.start <= begin < one.lora.end)
        if acting not in views:
            views[acting] = _beside("transformer", below, acting)
        if not stages or stages[-1][1] is not views[acting]:
            stages.append((begin, views[acting]))
    return tuple(stages)


def _merged(part: str, model: _Model, uses: Sequence[_Use]) -> _Model:
    """A view with the LoRAs in it that are to be merged."""
    replaced: dict[str, nn.Module] = {}
    for layer, changes in _changes(part, model, [one for one in uses if one.lora.merged]).items():
        base = model.get_submodule(layer)
        if hasattr(base, "dequantise"):
            raise ValueError(
                f"{layer} holds packed weights ({type(base).__name__}), into which nothing can be merged: let the LoRA run "
                "beside them, or load the model with plain weights"
            )
        replaced[layer] = merged(cast("nn.Linear", base), changes)
    return view(model, replaced)


def _beside(part: str, model: _Model, uses: Sequence[_Use]) -> _Model:
    """A view with the others beside the weights."""
    changes = _changes(part, model, [one for one in uses if not one.lora.merged])
    return view(model, {layer: LoraLinear(model.get_submodule(layer), own) for layer, own in changes.items()})


@torch.no_grad()
def _changes(part: str, model: nn.Module, uses: Sequence[_Use]) -> dict[str, list[Change]]:
    """By layer, in the order of the LoRAs."""
    found: dict[str, list[Change]] = {}
    for one in uses:
        for module, (_, target) in one.matches.items():
            if target.part != part:
                continue
            layer = model.get_submodule(target.layer)
            width = cast("int", layer.in_features)
            rows = target.rows(width, cast("int", layer.out_features))
            shape = sum(stop - start for start, stop in rows), width
            where = cast("torch.dtype", model.dtype), cast("torch.device", model.device)
            delta = one.file.delta(module, shape, *where)
            magnitude = one.file.magnitude(module, shape, *where)
            scale = one.file.scale(module, delta)
            change = Change(layer, delta, rows, scale, one.lora.strength, magnitude)
            found.setdefault(target.layer, []).append(change)
    return found
