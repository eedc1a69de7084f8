"""A run that survives a kill: weights, averages and optimiser state in one safetensors file."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..disk import whole

STATE_FILE = "state.safetensors"


class EMA:
    """Exponential moving average of a module's parameters, short at first, so that the start is forgotten."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.tensors = {name: p.detach().clone() for name, p in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, p in module.state_dict().items():
            average = self.tensors[name]
            if average.is_floating_point():
                average.lerp_(p, 1 - decay)
            else:
                average.copy_(p)


def save_state(
    path: Path,
    module: nn.Module,
    average: EMA,
    optimizers: list[torch.optim.Optimizer],
    progress: dict[str, Any],
) -> None:
    """Write everything that a run needs to go on.

    The old file stays until the new one is whole.

    Raises: OSError.
    """
    tensors: dict[str, Tensor] = {f"model.{name}": t for name, t in module.state_dict().items()}
    tensors |= {f"average.{name}": t for name, t in average.tensors.items()}
    for i, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {
                f"optimizer.{i}.{index}.{name}": torch.as_tensor(value) for name, value in state.items()
            }
    with whole(path) as (partial,):
        save_file(
            {name: t.detach().contiguous().clone() for name, t in tensors.items()},
            partial,
            {"progress": json.dumps(progress | {"average_updates": average.updates})},
        )


def load_state(
    path: Path, module: nn.Module, average: EMA, optimizers: list[torch.optim.Optimizer]
) -> dict[str, Any]:
    """Go on from `save_state`'s file. Returns the progress that was stored."""
    progress = read_progress(path)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    module.load_state_dict(
        {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    )
    for name, average_tensor in average.tensors.items():
        average_tensor.copy_(tensors[f"average.{name}"])
    average.updates = progress.pop("average_updates")
    for i, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, t in tensors.items():
            if name.startswith(f"optimizer.{i}."):
                _, _, index, key = name.split(".", 3)
                state.setdefault(int(index), {})[key] = t
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return progress


def read_progress(path: Path) -> dict[str, Any]:
    """What `save_state` was told of the run's progress, without its tensors."""
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["progress"])
