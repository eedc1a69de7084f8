"""Which set of kernels a step uses: the one place that chooses.

Fused kernels are for CUDA alone and know no gradients, so training and compiled blocks keep the plain form.
"""

import logging
from functools import cache
from importlib import import_module
from typing import Any, cast

import torch
from torch import Tensor

from . import cpu, reference
from .interface import Kernels
from .options import compute_options
from .self_check import difference

log = logging.getLogger(__name__)


def kernels_for(x: Tensor) -> Kernels:
    """The form for a step's tensors, by those of one of them."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return reference
    form = compute_options().kernels
    if form == "fused" or (form == "auto" and x.is_cuda and runs_fused(x.device, x.dtype)):
        return _fused()
    if form == "auto" and x.device.type == "cpu" and x.dtype == torch.float32:
        return cpu
    return reference


@cache
def runs_fused(device: torch.device, dtype: torch.dtype = torch.bfloat16) -> bool:
    """Tell whether Triton compiles for this device and gives what plain torch gives in these numbers.

    Looked at once for each.
    """
    try:
        error = difference(_fused(), device, dtype)
    except Exception as reason:  # a compiler can fail in its own ways, and the plain form needs none
        log.info("no fused kernels on %s in %s, plain torch is used instead: %s", device, dtype, reason)
        return False
    if not error < 0.01:
        log.warning(
            "fused kernels on %s in %s are off by %.1e: plain torch is used instead", device, dtype, error
        )
        return False
    return True


def _fused() -> Kernels:
    return cast("Any", import_module(".triton_blocks", __package__))
