"""LoRAs upon a model: the same modules again with some linears in others' places, and all weights shared.

Nothing of the model is changed, so it may have other LoRAs in another view at the same time, and taking one
off is going on with the model itself. Those that are merged come first, and the others run beside what they
make of the weights.
"""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from ..model.model_lock import share_lock
from ..model.text import TextEncoders
from ..model.transformer import Transformer
from ..model_spec import Lora
from ..sampling.velocity import Stages
from .file import LoraFile, open_lora
from .keys import Names, Target, make_names
from .layer import BoundDelta, LoraLinear, Rows, is_linear, merged
from .norms import NormChange, changed_norm, is_norm, scale_of
from .report import LoraReport, Matches, match

log = logging.getLogger(__name__)

_Model = TypeVar("_Model", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class Attached:
    """A model with LoRAs upon it.

    Args:
        stages: see `denoise.Stages`.
        reports: in the order of the LoRAs.
        files: kept, so that others find them open.
    """

    stages: Stages
    text: TextEncoders
    reports: tuple[LoraReport, ...]
    files: tuple[LoraFile, ...]

    @property
    def networks(self) -> list[Transformer]:
        """The networks of the stages."""
        return [network for _, network in self.stages]


@torch.inference_mode(False)  # its weights are used in any mode
def with_loras(transformer: Transformer, text: TextEncoders, loras: Sequence[Lora]) -> Attached:
    """A view of a model with LoRAs upon it, in order. What a file cannot give is logged as a warning.

    Raises: CheckpointError in one sentence about a file that cannot be used; ValueError if weights that are
        packed are to be merged.
    """
    names = _names(transformer, text)
    files = tuple(open_lora(lora.path) for lora in loras)
    matched = [match(file, names) for file in files]
    uses = [
        _Use(lora, file, matches)
        for lora, file, (matches, _) in zip(loras, files, matched, strict=True)
        if lora.strength
    ]
    for _, report in matched:
        if report.missed:
            log.warning(report.missed)
    clip = _beside("clip", _merged("clip", text.clip, uses), uses)
    t5 = _beside("t5", _merged("t5", text.t5, uses), uses)
    same = clip is text.clip and t5 is text.t5
    return Attached(
        stages=_stages(transformer, uses),
        text=text if same else text.with_encoders(t5, clip),
        reports=tuple(report for _, report in matched),
        files=files,
    )


def replace_modules(module: _Model, replaced: Mapping[str, nn.Module]) -> _Model:
    """The same modules with others in some places; all that is not on the way there is shared.

    Args:
        replaced: by name, as in `named_modules`.
    """
    if not replaced:
        return module
    inside: dict[str, dict[str, nn.Module]] = {}
    for name, other in replaced.items():
        first, _, rest = name.partition(".")
        inside.setdefault(first, {})[rest] = other
    view = copy.copy(module)  # its parameters, buffers and hooks are the very same dictionaries
    view._modules = dict(module._modules)  # pyright: ignore[reportPrivateUsage]
    for name, below in inside.items():
        child = module.get_submodule(name)
        view._modules[name] = below[""] if "" in below else replace_modules(child, below)  # pyright: ignore[reportPrivateUsage]
    return view


@dataclass(frozen=True, eq=False)
class _Use:
    lora: Lora
    file: LoraFile
    matches: Matches


def _names(transformer: Transformer, text: TextEncoders) -> Names:
    config = transformer.config
    own, clip, t5 = (_changeable(model) for model in (transformer, text.clip, text.t5))
    names = make_names(config.depth, config.depth_single_blocks, config.hidden_size, clip, t5)
    return names.without(lambda target: target.part == "transformer" and target.layer not in own)


def _changeable(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if is_linear(module) or is_norm(module)]


def _stages(transformer: Transformer, uses: Sequence[_Use]) -> Stages:
    """Views by the share of the steps where each begins; one view where the same LoRAs act."""
    below = _merged("transformer", transformer, uses)
    beside = [use for use in uses if not use.lora.merged]
    begins = sorted({0.0, *(use.lora.start for use in beside), *(use.lora.end for use in beside)} - {1.0})
    views: dict[tuple[_Use, ...], Transformer] = {}
    stages: list[tuple[float, Transformer]] = []
    for begin in begins:
        acting = tuple(use for use in beside if use.lora.start <= begin < use.lora.end)
        if acting not in views:
            views[acting] = _beside("transformer", below, acting)
        if not stages or stages[-1][1] is not views[acting]:
            stages.append((begin, views[acting]))
            share_lock(views[acting], transformer)
    return tuple(stages)


def _merged(part: str, model: _Model, uses: Sequence[_Use]) -> _Model:
    """A view with the LoRAs in it that are to be merged."""
    linears, norms = _changes(part, model, [use for use in uses if use.lora.merged])
    replaced: dict[str, nn.Module] = {}
    for layer, changes in linears.items():
        base = model.get_submodule(layer)
        if hasattr(base, "dequantise") and any(change.delta is not None for change in changes):
            raise ValueError(
                f"{layer} holds packed weights ({type(base).__name__}), into which nothing can be merged: let the LoRA run "
                "beside them, or load the model with plain weights"
            )
        replaced[layer] = merged(base, changes)
    return replace_modules(model, replaced | _changed_norms(model, norms))


def _beside(part: str, model: _Model, uses: Sequence[_Use]) -> _Model:
    """A view with the others beside the weights; of norms, which are small, in copies."""
    linears, norms = _changes(part, model, [use for use in uses if not use.lora.merged])
    replaced = {layer: LoraLinear(model.get_submodule(layer), own) for layer, own in linears.items()}
    return replace_modules(model, replaced | _changed_norms(model, norms))


def _changed_norms(model: nn.Module, changes: Mapping[str, Sequence[NormChange]]) -> dict[str, nn.Module]:
    return {layer: changed_norm(model.get_submodule(layer), own) for layer, own in changes.items()}


@torch.no_grad()
def _changes(
    part: str, model: nn.Module, uses: Sequence[_Use]
) -> tuple[dict[str, list[BoundDelta]], dict[str, list[NormChange]]]:
    """Of linears and of norms, by layer, in the order of the LoRAs."""
    linears: dict[str, list[BoundDelta]] = {}
    norms: dict[str, list[NormChange]] = {}
    for use in uses:
        for module, hit in use.matches.items():
            target = hit.target
            if target.part != part:
                continue
            where = cast("torch.dtype", model.dtype), cast("torch.device", model.device)
            layer = model.get_submodule(target.layer)
            if is_linear(layer):
                linears.setdefault(target.layer, []).extend(_of_linear(use, module, target, layer, where))
            else:
                norms.setdefault(target.layer, []).append(_of_norm(use, module, layer, where[1]))
    return linears, norms


def _of_linear(
    use: _Use, module: str, target: Target, layer: nn.Module, where: tuple[torch.dtype, torch.device]
) -> list[BoundDelta]:
    """What a module of a file changes: a weight by factors, its bias, and a weight by a whole difference."""
    width = cast("int", layer.in_features)
    rows = target.rows(width, cast("int", layer.out_features))
    out = sum(stop - start for start, stop in rows)
    delta = use.file.delta(module, (out, width), *where)
    scale = 1.0 if delta is None else use.file.scale(module, delta)
    magnitude = use.file.magnitude(module, (out, width), *where)
    bias = _bias(use.file, module, layer, rows, scale)
    changes: list[BoundDelta] = []
    if delta is not None or bias is not None:
        bias = None if bias is None else bias.to(dtype=where[0], device=where[1])
        changes.append(BoundDelta(layer, rows, use.lora.strength, delta, scale, magnitude, bias))
    difference = use.file.difference(module, (out, width), *where)
    if difference is not None:
        changes.append(BoundDelta(layer, rows, use.lora.strength, difference))
    return changes


def _bias(file: LoraFile, module: str, layer: nn.Module, rows: Rows, scale: float) -> Tensor | None:
    """What a module adds to a bias, in float32.

    PEFT's is scaled as the factors are, others are added as they are, a whole one takes the layer's place.
    """
    own = cast("Tensor | None", layer.bias)
    if own is not None:
        own = torch.cat([own.detach()[start:stop].float() for start, stop in rows])
    size = sum(stop - start for start, stop in rows)
    device = torch.device("cpu") if own is None else own.device
    parts = [
        (file.vector(module, "up_bias", size, device), scale),
        (file.vector(module, "diff_bias", size, device), 1.0),
    ]
    whole = file.vector(module, "bias", size, device)
    if whole is not None:
        parts.append((whole if own is None else whole - own, 1.0))
    added = [factor * part for part, factor in parts if part is not None]
    return torch.stack(added).sum(dim=0) if added else None


def _of_norm(use: _Use, module: str, layer: nn.Module, device: torch.device) -> NormChange:
    scale, own = scale_of(layer), cast("Tensor | None", getattr(layer, "bias", None))
    assert scale is not None
    use.file.check_norm(module, has_bias=own is not None)
    change, bias, whole = (
        use.file.vector(module, role, scale.numel(), device) for role in ("diff", "diff_bias", "bias")
    )
    if whole is not None and own is not None:
        bias = whole - own.detach().float().to(device) + (0 if bias is None else bias)
    return NormChange(change, bias, use.lora.strength)
