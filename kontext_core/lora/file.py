"""A LoRA file: its modules, their tensors and scales. Known by its keys and shapes, never by its name."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..loading.checkpoint import LazyTensor, open_checkpoint, read_json
from .deltas import Delta, Hadamard, Kronecker, LowRank
from .keys import split

_METADATA = "lora_adapter_metadata"  # source: diffusers loaders/lora_base.py, LORA_ADAPTER_METADATA_KEY
_BESIDE = "adapter_config.json"  # source: PEFT's PeftModel.save_pretrained
_PEFT_PREFIX = "base_model.model."

# Roles of a module's tensors, by kind; of LoKr's sides, each is there whole or as a product.
_HADAMARD = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
_SIDES = (("lokr_w1", "lokr_w1_a", "lokr_w1_b"), ("lokr_w2", "lokr_w2_a", "lokr_w2_b"))


@dataclass(frozen=True, eq=False)
class LoraFile:
    """What a file holds.

    Args:
        modules: tensors by module and role, see `keys.split`. unusable: other keys, and the ends that say what they are.
        configs: what PEFT says of each part, by the part's prefix; see `scale`.
    """

    path: Path
    size: int  # bytes on disk
    modules: Mapping[str, Mapping[str, LazyTensor]]
    unusable: Mapping[str, str]
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    _read: dict[object, Any] = field(default_factory=dict[object, Any])

    def delta(self, module: str, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Delta:
        """A module's change, read once for each dtype and device.

        Args: shape (out, in) of what it changes. Raises: CheckpointError in one sentence if it does not fit that.
        """
        key = (module, dtype, device)
        if key not in self._read:
            self._read[key] = self._build(module, shape, dtype, device)
        return self._read[key]

    def magnitude(
        self, module: str, shape: tuple[int, int], dtype: torch.dtype, device: torch.device
    ) -> Tensor | None:
        """DoRA's magnitude of rows (out,) or (out, 1), or of columns (1, in). Raises: CheckpointError."""
        tensor = self.modules[module].get("magnitude")
        if tensor is None:
            return None
        out, width = shape
        if tensor.shape not in ((out,), (out, 1), (1, out), (1, width)):
            raise CheckpointError(
                f"{self.path}: the magnitude of {module} has the shape {tensor.shape}, and a layer of {width} inputs and "
                f"{out} outputs needs ({out}, 1) or (1, {width})"
            )
        read = self._tensor(module, "magnitude", dtype, device)
        return read.flatten() if tensor.shape == (1, out) and out != width else read

    def kind(self, module: str) -> str:
        """What to call it."""
        roles = self.modules[module].keys()
        kind = LowRank.kind
        if any(role.startswith("lokr") for role in roles):
            kind = Kronecker.kind
        elif any(role.startswith("hada") for role in roles):
            kind = Hadamard.kind
        if "magnitude" not in roles:
            return kind
        return "DoRA" if kind == LowRank.kind else f"{kind} with DoRA"

    def rank(self, module: str) -> int | None:
        """From the header alone; None where nothing says it."""
        tensors = self.modules[module]
        for role in ("down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b"):
            if role in tensors and tensors[role].shape:
                return tensors[role].shape[0]
        return None

    def scale(self, module: str, delta: Delta) -> float:
        """alpha / rank. Alpha is a tensor of the module; else PEFT's configuration says it; else it is the rank.

        Source: PEFT LoraConfig (lora_alpha, alpha_pattern, use_rslora), LoKrConfig and LoHaConfig (r, alpha).
        """
        if "alpha" in self.modules[module]:
            tensor = self._tensor(module, "alpha", torch.float32, torch.device("cpu"))
            if tensor.numel() != 1:
                raise CheckpointError(
                    f"{self.path}: alpha of {module} is {tensor.numel()} numbers and must be one"
                )
            return tensor.item() / delta.rank if delta.rank else 1.0
        for prefix, config in self.configs.items():
            if module.startswith(prefix):
                return _configured_scale(config, module.removeprefix(prefix), delta.rank, str(self.path))
        return 1.0

    def _build(self, module: str, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Delta:
        kind = self.kind(module).split()[0]
        if kind == Kronecker.kind:
            sides = [self._side(module, *roles) for roles in _SIDES]
            self._check_kronecker(module, sides, shape)
            left, right = (
                tuple(self._tensor(module, role, dtype, device) for role in side) for side in sides
            )
            return Kronecker(left, right)
        pairs = [("down", "up")] if kind != Hadamard.kind else [_HADAMARD[1::-1], _HADAMARD[:1:-1]]
        for down, up in pairs:
            self._check_pair(module, down, up, shape)
        roles = ("down", "up") if kind != Hadamard.kind else _HADAMARD
        tensors = [self._tensor(module, role, dtype, device).flatten(1) for role in roles]
        return LowRank(*tensors) if kind != Hadamard.kind else Hadamard(*tensors)

    def _check_pair(self, module: str, down: str, up: str, shape: tuple[int, int]) -> None:
        tensors = self.modules[module]
        for role, other in ((down, up), (up, down)):
            if role not in tensors:
                raise CheckpointError(
                    f"{self.path}: {module} has a tensor '{other}' and no '{role}' that belongs to it: the file is not "
                    "complete, get it again"
                )
        inner, outer = _matrix(tensors[down].shape), _matrix(tensors[up].shape)
        said = f"{self.path}: {module} is ({down} {tensors[down].shape}, {up} {tensors[up].shape})"
        if inner is None or outer is None or inner[0] != outer[1]:
            raise CheckpointError(f"{said}, whose ranks differ: the file is damaged, get it again")
        if not inner[0]:
            raise CheckpointError(
                f"{said}, of rank 0, which changes nothing: train it with a rank of 1 or more"
            )
        if (outer[0], inner[1]) != shape:
            raise CheckpointError(
                f"{said}, for a layer of {inner[1]} inputs and {outer[0]} outputs, and here it has {shape[1]} and "
                f"{shape[0]}: this LoRA belongs to another model"
            )
        if inner[0] > max(shape):
            raise CheckpointError(
                f"{said}, of rank {inner[0]}, which is more than the layer's {max(shape)}: it is larger than what it changes "
                "and is not read"
            )

    def _side(self, module: str, whole: str, first: str, second: str) -> tuple[str, ...]:
        tensors = self.modules[module]
        if whole in tensors:
            return (whole,)
        for role in (first, second):
            if role not in tensors:
                raise CheckpointError(
                    f"{self.path}: {module} has neither '{whole}' nor '{role}': the file is not complete, get it again"
                )
        return first, second

    def _check_kronecker(self, module: str, sides: list[tuple[str, ...]], shape: tuple[int, int]) -> None:
        tensors = self.modules[module]
        shapes = [_matrix(tensors[role].shape) for side in sides for role in side]
        said = ", ".join(f"{role} {tensors[role].shape}" for side in sides for role in side)
        found: list[tuple[int, int]] = []
        for side in sides:
            first, last = _matrix(tensors[side[0]].shape), _matrix(tensors[side[-1]].shape)
            if first is None or last is None or (len(side) > 1 and not 0 < first[1] == last[0] <= max(shape)):
                raise CheckpointError(
                    f"{self.path}: {module} is ({said}), whose ranks are 0, or differ, or are more than the layer is wide"
                )
            found.append((first[0], last[1]))
        if None in shapes or (found[0][0] * found[1][0], found[0][1] * found[1][1]) != shape:
            raise CheckpointError(
                f"{self.path}: {module} is ({said}), which does not multiply to the {shape[1]} inputs and {shape[0]} "
                "outputs of the layer here: this LoRA belongs to another model"
            )

    def _tensor(self, module: str, role: str, dtype: torch.dtype, device: torch.device) -> Tensor:
        lazy = self.modules[module][role]
        if not lazy.dtype.is_floating_point:
            raise CheckpointError(
                f"{self.path}: '{role}' of {module} is stored as {lazy.dtype}, not as floats"
            )
        tensor = lazy.read()
        if not tensor.float().isfinite().all():
            raise CheckpointError(
                f"{self.path}: '{role}' of {module} holds numbers that are not finite (NaN or infinite): its training "
                "failed, take an earlier file"
            )
        return tensor.to(device=device, dtype=dtype)


_opened: WeakValueDictionary[tuple[str, int, int], LoraFile] = WeakValueDictionary()


def open_lora(path: str | Path) -> LoraFile:
    """Read the header of a file, or of a folder that PEFT or diffusers wrote. A file that is in use is opened once.

    Raises: CheckpointError if it cannot be read, or holds nothing that belongs to a LoRA.
    """
    path = Path(path)
    state = (str(path), 0, 0)
    if path.is_file():
        state = (str(path), path.stat().st_mtime_ns, path.stat().st_size)
    found = _opened.get(state)
    if found is None:
        found = _open(path)
        if path.is_file():
            _opened[state] = found
    return found


def _open(path: Path) -> LoraFile:
    checkpoint = open_checkpoint(path)
    modules: dict[str, dict[str, LazyTensor]] = {}
    unusable: dict[str, str] = {}
    for key, tensor in checkpoint.weights.items():
        module, role, end = split(key)
        if role:
            modules.setdefault(module, {})[role] = tensor
        else:
            unusable[key] = end
    for module in [name for name, tensors in modules.items() if tensors.keys() <= {"alpha", "magnitude"}]:
        unusable |= {f"{module}.{role}": "" for role in modules.pop(module)}
    return LoraFile(path, checkpoint.size, modules, unusable, _configs(path, checkpoint.metadata))


def _configs(path: Path, metadata: dict[str, str]) -> dict[str, dict[str, Any]]:
    """PEFT's configurations, by the prefix of the modules that they are for."""
    found: dict[str, dict[str, Any]] = {}
    beside = (path if path.is_dir() else path.parent) / _BESIDE
    if beside.is_file() and (path.is_dir() or path.name == "adapter_model.safetensors"):
        found[_PEFT_PREFIX] = read_json(beside)
    if _METADATA in metadata:
        try:
            said = json.loads(metadata[_METADATA])
        except (json.JSONDecodeError, RecursionError) as error:
            raise CheckpointError(
                f"'{_METADATA}' in the header of {path} is not valid JSON: {error}"
            ) from error
        for name, value in said.items() if isinstance(said, dict) else ():
            prefix, dot, inner = name.rpartition(".")
            found.setdefault(prefix + dot, {})[inner] = value
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


def _configured_scale(config: Mapping[str, Any], module: str, rank: int | None, path: str) -> float:
    said = _for_module(config.get("rank_pattern"), module, config.get("r"))
    alpha = _for_module(config.get("alpha_pattern"), module, config.get("lora_alpha", config.get("alpha")))
    rank = rank or said
    if alpha is None or not rank:
        return 1.0
    if not isinstance(alpha, int | float) or not isinstance(said, int | None):
        raise CheckpointError(
            f"{path}: the configuration says alpha {alpha!r} and rank {rank!r}; numbers are needed"
        )
    return alpha / (rank**0.5 if config.get("use_rslora") else rank)


def _for_module(patterns: Any, module: str, default: Any) -> Any:
    """A pattern is the end of a module's name; the longest counts."""
    if not isinstance(patterns, dict):
        return default
    fitting = [name for name in patterns if f".{module}".endswith(f".{name.removeprefix('^')}")]
    return patterns[max(fitting, key=len)] if fitting else default


def _matrix(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """A matrix's shape, also of a 1 x 1 convolution."""
    return (shape[0], shape[1]) if len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1)) else None
