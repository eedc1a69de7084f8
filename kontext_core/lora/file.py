"""A LoRA file: its modules, their tensors and scales. Known by its keys and shapes, never by its name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..loading.checkpoint import open_checkpoint
from ..loading.foreign import packed_as
from ..loading.tensors import LazyTensor
from .deltas import Delta, Hadamard, Kronecker, LowRank, WholeDifference
from .peft_config import CONFIG_FILE, PeftConfig, read_configs
from .roles import BESIDE, split_key

# Roles of a module's tensors, by kind; of LoKr's sides, each is there whole or as a product.
_HADAMARD = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
_SIDES = (("lokr_w1", "lokr_w1_a", "lokr_w1_b"), ("lokr_w2", "lokr_w2_a", "lokr_w2_b"))
_BIASES = {"up_bias", "diff_bias", "bias"}
_OF_FACTORS = {"alpha", "magnitude"}
_NO_FACTORS = BESIDE | {"diff", "diff_bias"}
_OF_ADAPTERS = {"down", "up", "up_bias", *_HADAMARD, *(role for side in _SIDES for role in side)}

_MOST_SCALE = 1e6  # beyond, training has failed

_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)

_CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class LoraFile:
    """What a file holds.

    Args:
        path: where it lies.
        size: bytes on disk.
        modules: tensors by module and role, see `roles`.
        unusable: other keys, and the ends that say what they are.
        configs: what PEFT says of each part.
        adapters: names of all adapters in it, the one first whose tensors `modules` has.
    """

    path: Path
    size: int
    modules: Mapping[str, Mapping[str, LazyTensor]]
    unusable: Mapping[str, str]
    configs: tuple[PeftConfig, ...] = ()
    adapters: tuple[str, ...] = ("",)
    _read: dict[object, Any] = field(default_factory=dict[object, Any])

    def delta(
        self, module: str, shape: tuple[int, int], dtype: torch.dtype, device: torch.device
    ) -> Delta | None:
        """Read a module's change in factors, once for each dtype and device.

        Args:
            module: its name in the file.
            shape: (out, in) of what it changes.
            dtype: of the factors.
            device: of the factors.
        Returns: None where it changes a bias alone, or is a whole difference.
        Raises:
            CheckpointError: in one sentence if it does not fit.
        """
        if not self._has_factors(module):
            return None
        return self._once((module, dtype, device), lambda: self._build(module, shape, dtype, device))

    def difference(
        self, module: str, shape: tuple[int, int], dtype: torch.dtype, device: torch.device
    ) -> Delta | None:
        """Read the whole difference of a weight, which is added as it is.

        Arguments are those of `delta`.

        Returns: None where there is none.
        Raises:
            CheckpointError: in one sentence if it does not fit.
        """
        tensor = self.modules[module].get("diff")
        if tensor is None:
            return None
        if _matrix(tensor.shape) != shape:
            raise CheckpointError(
                f"{self.path}: the difference of {module} has the shape {tensor.shape}, but the layer here "
                f"has {shape}: this LoRA belongs to another model"
            )
        key = (module, "diff", dtype, device)
        return self._once(
            key, lambda: WholeDifference(self._tensor(module, "diff", dtype, device).flatten(1))
        )

    def vector(self, module: str, role: str, size: int, device: torch.device) -> Tensor | None:
        """Read what changes a bias or a norm, in float32.

        Args:
            module: its name in the file.
            role: "up_bias", "diff_bias", "bias", or of a norm "diff".
            size: how many numbers the layer has.
            device: of the result.
        Returns: (size,), or None where there is none.
        Raises:
            CheckpointError: in one sentence if it does not fit.
        """
        tensor = self.modules[module].get(role)
        if tensor is None:
            return None
        if tensor.numel != size or max(tensor.shape, default=0) != size:
            raise CheckpointError(
                f"{self.path}: '{role}' of {module} has the shape {tensor.shape}, but the layer here has "
                f"({size},): this LoRA belongs to another model"
            )
        return self._tensor(module, role, torch.float32, device).flatten()

    def check_norm(self, module: str, *, has_bias: bool) -> None:
        """Raises: CheckpointError if a norm is to change in a way that it cannot."""
        possible = {"diff", *({"diff_bias", "bias"} if has_bias else ())}
        for role in self.modules[module]:
            if role not in possible:
                raise CheckpointError(
                    f"{self.path}: {module} is a norm here, which has no '{role}': this LoRA belongs to "
                    "another model"
                )

    def magnitude(
        self, module: str, shape: tuple[int, int], dtype: torch.dtype, device: torch.device
    ) -> Tensor | None:
        """Read DoRA's magnitude of rows (out,) or (out, 1), or of columns (1, in).

        Arguments are those of `delta`.

        Raises:
            CheckpointError: in one sentence if it does not fit.
        """
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
        elif not self._has_factors(module):
            kind = WholeDifference.kind if "diff" in roles else "bias"
        if "magnitude" in roles and self._has_factors(module):
            kind = "DoRA" if kind == LowRank.kind else f"{kind} with DoRA"
        return f"{kind} with bias" if kind != "bias" and roles & _BIASES else kind

    def rank(self, module: str) -> int | None:
        """From the header alone; None where nothing says it."""
        tensors = self.modules[module]
        for role in ("down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b"):
            if role in tensors and tensors[role].shape:
                return tensors[role].shape[0]
        return None

    def scale(self, module: str, delta: Delta) -> float:
        """alpha / rank.

        Alpha is a tensor of the module; else PEFT's configuration says it; else it is the rank.

        Raises:
            CheckpointError: if it is no number to compute with.
        """
        scale = self._scale(module, delta)
        if not abs(scale) <= _MOST_SCALE:
            raise CheckpointError(f"{self.path}: alpha of {module} makes it {scale:g} times as strong")
        return scale

    def _scale(self, module: str, delta: Delta) -> float:
        if "alpha" in self.modules[module]:
            lazy = self.modules[module]["alpha"]
            if lazy.numel != 1:
                raise CheckpointError(
                    f"{self.path}: alpha of {module} is {lazy.numel} numbers and must be one"
                )
            if lazy.dtype in _WHOLE:  # some trainers keep the number that they were given
                return int(lazy.read().item()) / delta.rank if delta.rank else 1.0
            tensor = self._tensor(module, "alpha", torch.float32, _CPU)
            return tensor.item() / delta.rank if delta.rank else 1.0
        for config in self.configs:
            if module.startswith(config.prefix):
                return config.scale(module, delta.rank)
        return 1.0

    def _has_factors(self, module: str) -> bool:
        return any(role not in _NO_FACTORS for role in self.modules[module])

    def _once(self, key: object, read: Callable[[], Delta]) -> Delta:
        if key not in self._read:
            self._read[key] = read()
        return self._read[key]

    def _build(self, module: str, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Delta:
        kind = self.kind(module).split()[0]
        if kind == Kronecker.kind:
            sides = [self._side(module, *roles) for roles in _SIDES]
            self._check_kronecker(module, sides, shape)
            left, right = (
                tuple(self._tensor(module, role, dtype, device).flatten(1) for role in side) for side in sides
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
                there = other if other in tensors else next(iter(tensors))
                raise CheckpointError(
                    f"{self.path}: {module} has a tensor '{there}' and no '{role}' that belongs to it: the "
                    "file is incomplete, download it again"
                )
        inner, outer = _matrix(tensors[down].shape), _matrix(tensors[up].shape)
        pair = f"{self.path}: {module} is ({down} {tensors[down].shape}, {up} {tensors[up].shape})"
        if inner is None or outer is None or inner[0] != outer[1]:
            raise CheckpointError(f"{pair}, whose ranks differ: the file is damaged, download it again")
        if not inner[0]:
            raise CheckpointError(
                f"{pair}, of rank 0, which changes nothing: train it with a rank of 1 or more"
            )
        if (outer[0], inner[1]) != shape:
            raise CheckpointError(
                f"{pair}, for a layer of {inner[1]} inputs and {outer[0]} outputs, and here it has {shape[1]} and "
                f"{shape[0]}: this LoRA belongs to another model"
            )
        if inner[0] > max(shape):
            raise CheckpointError(
                f"{pair}, of rank {inner[0]}, which is more than the layer's {max(shape)}: it is larger than what it changes "
                "and is not read"
            )

    def _side(self, module: str, whole: str, first: str, second: str) -> tuple[str, ...]:
        tensors = self.modules[module]
        if whole in tensors:
            return (whole,)
        for role in (first, second):
            if role not in tensors:
                raise CheckpointError(
                    f"{self.path}: {module} has neither '{whole}' nor '{role}': the file is incomplete, "
                    "download it again"
                )
        return first, second

    def _check_kronecker(self, module: str, sides: list[tuple[str, ...]], shape: tuple[int, int]) -> None:
        tensors = self.modules[module]
        shapes = [_matrix(tensors[role].shape) for side in sides for role in side]
        listing = ", ".join(f"{role} {tensors[role].shape}" for side in sides for role in side)
        matrices: list[tuple[int, int]] = []
        for side in sides:
            first, last = _matrix(tensors[side[0]].shape), _matrix(tensors[side[-1]].shape)
            if first is None or last is None or (len(side) > 1 and not 0 < first[1] == last[0] <= max(shape)):
                raise CheckpointError(
                    f"{self.path}: {module} is ({listing}), whose ranks are 0, or differ, or are more than the layer is wide"
                )
            matrices.append((first[0], last[1]))
        if None in shapes or (matrices[0][0] * matrices[1][0], matrices[0][1] * matrices[1][1]) != shape:
            raise CheckpointError(
                f"{self.path}: {module} is ({listing}), which does not multiply to the {shape[1]} inputs and {shape[0]} "
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
                f"{self.path}: '{role}' of {module} holds numbers that are not finite (NaN or infinite): its "
                "training failed, use an earlier file"
            )
        return tensor.to(device=device, dtype=dtype)


_opened: WeakValueDictionary[tuple[object, ...], LoraFile] = WeakValueDictionary()


def open_lora(path: str | Path) -> LoraFile:
    """Read the header of a file, or of a folder that PEFT or diffusers wrote.

    A file that is in use is opened once.

    Raises:
        CheckpointError: if it cannot be read, or holds nothing that belongs to a LoRA.
    """
    path = Path(path)
    state = (str(path), *_stamp(path), *_stamp(path.with_name(CONFIG_FILE)))
    file = _opened.get(state)
    if file is None:
        file = _open(path)
        if path.is_file():
            _opened[state] = file
    return file


def _stamp(path: Path) -> tuple[int, int]:
    return (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else (0, 0)


def _open(path: Path) -> LoraFile:
    checkpoint = open_checkpoint(path)
    if form := packed_as(checkpoint.weights):
        raise CheckpointError(f"{path} is not a LoRA: it holds weights that are packed as {form}")
    parts = {key: split_key(key) for key in checkpoint.weights}
    adapters = _in_order({part.adapter for part in parts.values() if part.role in _OF_ADAPTERS})
    modules: dict[str, dict[str, LazyTensor]] = {}
    unusable: dict[str, str] = {}
    for key, part in parts.items():
        if part.role and part.adapter in ("", adapters[0]):
            modules.setdefault(part.module, {})[part.role] = checkpoint.weights[key]
        elif not part.role:
            unusable[key] = part.end
    changes = any(tensors.keys() - BESIDE for tensors in modules.values())
    for module, tensors in list(modules.items()):
        if tensors.keys() <= (_OF_FACTORS if changes else BESIDE):
            unusable |= {f"{module}.{role}": "" for role in modules.pop(module)}
    configs = read_configs(path, checkpoint.metadata)
    return LoraFile(path, checkpoint.size, modules, unusable, configs, adapters)


def _in_order(adapters: set[str]) -> tuple[str, ...]:
    """The one that acts first: PEFT lets one act at a time, and calls the one made first "default"."""
    return tuple(sorted(adapters, key=lambda name: (name != "", name != "default", name))) or ("",)


def _matrix(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """A matrix's shape, also of a 1 x 1 convolution."""
    return (shape[0], shape[1]) if len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1)) else None
