"""What PEFT says of a LoRA beside its tensors: alpha and rank, of all modules and of some by patterns.

It lies in adapter_config.json, or, by diffusers, in the header of the file.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checks.shorten import short
from ..checks.strict_json import parse_object, read_object
from ..errors import CheckpointError
from .patterns import NamePattern

_METADATA = "lora_adapter_metadata"  # source: diffusers loaders/lora_base.py, LORA_ADAPTER_METADATA_KEY
CONFIG_FILE = "adapter_config.json"  # source: PEFT's PeftModel.save_pretrained
_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."  # of most keys beside it

_MOST_PATTERNS = 4_096
_MOST_EXPRESSIONS = 256  # patterns that are more than a name
_MOST_ALPHA = 1e6

# Ways to begin that change the model's own weights too, which a LoRA's file does not hold. Source: PEFT
# tuners/lora/layer.py, update_layer.
_CHANGES_WEIGHTS = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True, eq=False)
class PeftConfig:
    """PEFT's configuration of one part of a model.

    Args:
        prefix: of the keys that it is for.
        values: its fields.
        alphas: alpha of the modules that a pattern fits; the first counts.
        ranks: the rank of such modules.
    """

    where: str
    prefix: str
    values: Mapping[str, Any]
    alphas: tuple[tuple[NamePattern, float], ...]
    ranks: tuple[tuple[NamePattern, float], ...]

    def scale(self, module: str, rank: int | None) -> float:
        """alpha / rank of a module; 1 where nothing says alpha, or the rank.

        Args:
            module: its whole name in the file.
            rank: of its tensors; None where they do not show it.
        Source: PEFT tuners/lora/model.py, _create_and_replace; LoKr's and LoHa's likewise.
        """
        name = module.removeprefix(self.prefix).removeprefix(_PREFIX)
        default = self.values.get("lora_alpha", self.values.get("alpha"))
        alpha = _first(self.alphas, name, default)
        own = rank or _first(self.ranks, name, self.values.get("r"))
        if alpha is None or own is None:
            return 1.0
        alpha, own = _number(alpha, "alpha", self.where), _number(own, "rank", self.where)
        if own < 1:
            raise CheckpointError(f"{self.where} says rank {own:g}; it must be at least 1")
        return alpha / (math.sqrt(own) if self.values.get("use_rslora") else own)


def read_configs(path: Path, metadata: Mapping[str, str]) -> tuple[PeftConfig, ...]:
    """Read all that is said of a file, the longest prefix first.

    Args:
        path: of the file, or of its folder.
        metadata: the header's strings.
    Raises:
        CheckpointError: in one sentence if it cannot be understood.
    """
    parts: dict[str, tuple[str, dict[str, Any]]] = {}
    beside = (path if path.is_dir() else path.parent) / CONFIG_FILE
    if beside.is_file() and (path.is_dir() or path.name == _WEIGHTS):
        parts[""] = (str(beside), read_object(beside))
    if _METADATA in metadata:
        where = f"{_METADATA!r} in the header of {path}"
        for name, value in parse_object(metadata[_METADATA], where).items():
            prefix, dot, inner = name.rpartition(".")
            parts.setdefault(prefix + dot, (where, {}))[1][inner] = value
    longest_first = sorted(parts.items(), key=lambda part: -len(part[0]))
    return tuple(_config(where, prefix, values) for prefix, (where, values) in longest_first)


def _config(where: str, prefix: str, values: dict[str, Any]) -> PeftConfig:
    begin = values.get("init_lora_weights")
    if isinstance(begin, str) and begin.lower().startswith(_CHANGES_WEIGHTS):
        raise CheckpointError(
            f"{where} says init_lora_weights {short(begin)}, which changes the model's own weights too, and "
            "those are not in the file: save it with PEFT's path_initial_model_for_weight_conversion, which "
            "makes a plain LoRA of it"
        )
    patterns = (_patterns(where, name, values.get(name)) for name in ("alpha_pattern", "rank_pattern"))
    return PeftConfig(where, prefix, values, *patterns)


def _patterns(where: str, field: str, values: Any) -> tuple[tuple[NamePattern, float], ...]:
    if values is None:
        return ()
    if not isinstance(values, dict) or len(values) > _MOST_PATTERNS:
        raise CheckpointError(f"{where}: {field} must be an object of up to {_MOST_PATTERNS:,} patterns")
    patterns: list[tuple[NamePattern, float]] = []
    expressions = 0
    for text, value in values.items():
        try:
            pattern = NamePattern(text)
        except ValueError as error:
            raise CheckpointError(f"{where}: {field} has the pattern {short(text)}, and {error}") from error
        expressions += not pattern.is_plain
        if expressions > _MOST_EXPRESSIONS:
            raise CheckpointError(f"{where}: {field} has more than {_MOST_EXPRESSIONS} regular expressions")
        patterns.append((pattern, _number(value, f"{field} of {short(text)}", where)))
    return tuple(patterns)


def _first(patterns: tuple[tuple[NamePattern, float], ...], name: str, default: Any) -> Any:
    return next((value for pattern, value in patterns if pattern.fits(name)), default)


def _number(value: Any, what: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MOST_ALPHA:
        raise CheckpointError(
            f"{where} says {what} {short(value)}; a number up to {_MOST_ALPHA:,.0f} is needed"
        )
    return float(value)
