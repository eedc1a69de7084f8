"""The transformer and the autoencoder from their files."""

import logging
import time
from collections import Counter
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from ..errors import CheckpointError
from ..transformer import Transformer
from ..vae import VAE
from .checkpoint import Weights, first_few
from .folders import find
from .fp8 import FLOAT8
from .recognise import FileReport

log = logging.getLogger(__name__)

_Model = TypeVar("_Model", bound=nn.Module)


def load_transformer(
    path: str | Path, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> Transformer:
    """Args:
        path: a safetensors file, or a folder laid out as the published one.
        dtype: None is the file's own; bfloat16 for 8-bit floats, which are multiplied out.
    Raises: CheckpointError, which says what the file is, or which keys are missing, unexpected or misshapen.
    """
    report, weights = find(path, "transformer")
    with torch.device("meta"):
        model = Transformer(report.config)
    return fill(model, report, weights, dtype, device)


def load_vae(
    path: str | Path, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> VAE:
    """As `load_transformer`, for the autoencoder."""
    report, weights = find(path, "vae")
    with torch.device("meta"):
        model = VAE(report.config)
    return fill(model, report, weights, dtype, device)


def fill(
    model: _Model,
    report: FileReport,
    weights: Weights,
    dtype: torch.dtype | None,
    device: torch.device | str,
) -> _Model:
    """Load weights into a model that was built on the `meta` device, all keys or none; log what was loaded.

    Where neither dtype nor device changes, the parameters stay memory-mapped.
    """
    start = time.perf_counter()
    check_keys(model, report, weights)
    dtype = dtype or own_dtype(weights)
    tensors = {key: tensor.read().to(device=device, dtype=dtype) for key, tensor in weights.items()}
    model.load_state_dict(tensors, assign=True)
    seconds = time.perf_counter() - start
    described = report.describe().replace("\n", "; ")
    log.info("%s; used in %s on %s, loaded in %.1f s", described, dtype, device, seconds)
    return model.eval()


def check_keys(model: nn.Module, report: FileReport, weights: Weights) -> None:
    """Raises: CheckpointError with the first few names of what is missing, unexpected or misshapen."""
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    misshapen = [
        f"{key} {weights[key].shape} in place of {shape}"
        for key, shape in wanted.items()
        if key in weights and weights[key].shape != shape
    ]
    findings = {
        "missing": wanted.keys() - weights.keys(),
        "unexpected": weights.keys() - wanted.keys(),
        "of a wrong shape": misshapen,
    }
    said = [f"{len(names)} {what} ({first_few(names)})" for what, names in findings.items() if names]
    if said:
        raise CheckpointError(
            f"{report.path} is {report.title}, but its tensors do not fit: {'; '.join(said)}"
        )


def own_dtype(weights: Weights) -> torch.dtype:
    """The dtype that holds most of the numbers; bfloat16 in place of 8-bit floats."""
    numbers: Counter[torch.dtype] = Counter()
    for tensor in weights.values():
        numbers[tensor.dtype] += tensor.numel
    dtype = numbers.most_common(1)[0][0]
    return torch.bfloat16 if dtype in FLOAT8 else dtype
