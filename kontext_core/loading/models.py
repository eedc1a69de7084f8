"""The transformer and the autoencoder from their files.

Weights are made outside of inference mode, whatever mode loads them: those that are made in it can be used
nowhere else.
"""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..model.preview_decoder import PreviewDecoder
from ..model.transformer import Transformer
from ..model.vae import VAE
from ..model_spec import FULL
from ..quant.float8 import FLOAT8_DTYPES
from ..quant.layer import PackedLinear, PackedWeight, packed_bytes
from ..quant.schemes import checked, fits, pack
from .empty_weights import empty_weights
from .locate import locate_part
from .report import FileReport
from .tensors import LazyTensor, Weights, first_few

log = logging.getLogger(__name__)

_Model = TypeVar("_Model", bound=nn.Module)


# Modules whose linears may stay packed, by the beginnings of their names; and those among them that are never
# quantised when they are loaded: they are small, or computed with once, and much depends on them.
QUANTISED_PREFIXES = ("double_blocks.", "single_blocks.")
T5_BLOCKS = ("encoder.block.",)
_HIGH_PRECISION = ("img_mod", "txt_mod", "modulation")


@torch.inference_mode(False)
def load_transformer(
    path: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    quantise: str | None = None,
    pack_on: torch.device | str | None = None,
) -> Transformer:
    """Load a transformer.

    Args:
        path: a safetensors or GGUF file, or a folder laid out as the published one.
        dtype: to compute with. None is the file's own; bfloat16 where it is packed in fewer bits.
        quantise: None leaves the weights of the blocks packed as they are stored, "full" multiplies them out;
            one of `quant.schemes.SCHEMES` packs them.
        pack_on: where that is computed, if not on `device`.
    Raises: CheckpointError, which says what the file is, or which keys are missing, unexpected or misshapen.
    """
    checked(quantise)
    report, weights = locate_part(path, "transformer")
    with empty_weights():
        model = Transformer(report.config)
    return fill_model(
        model,
        report,
        weights,
        dtype,
        device,
        stays_packed=QUANTISED_PREFIXES,
        quantise=quantise,
        pack_on=pack_on,
    )


@torch.inference_mode(False)
def load_vae(
    path: str | Path, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> VAE:
    """As `load_transformer`, for the autoencoder."""
    report, weights = locate_part(path, "vae")
    return fill_model(empty_vae(report), report, weights, dtype, device)


def empty_vae(report: FileReport) -> VAE:
    """An autoencoder without memory."""
    with empty_weights():
        return VAE(report.config)


@torch.inference_mode(False)
def load_preview(
    path: str | Path, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> PreviewDecoder:
    """As `load_vae`, for the small decoder that shows unfinished latents."""
    report, weights = locate_part(path, "preview")
    with torch.device("meta"):
        model = PreviewDecoder(report.config)
    return fill_model(model, report, weights, dtype, device)


def fill_model(
    model: _Model,
    report: FileReport,
    weights: Weights,
    dtype: torch.dtype | None,
    device: torch.device | str,
    *,
    stays_packed: tuple[str, ...] = (),
    quantise: str | None = None,
    pack_on: torch.device | str | None = None,
) -> _Model:
    """Load weights into a model that was built on the `meta` device, all keys or none; log what was loaded.

    Where neither dtype nor device changes, the parameters stay memory-mapped. One tensor at a time is read,
    so that the whole model never is there in higher precision than it is to have.

    Args:
        stays_packed: beginnings of names of linears that may.
        quantise: see `load_transformer`.
        pack_on: likewise.
    """
    start = time.perf_counter()
    assign_weights(model, report, weights, dtype, device, stays_packed, quantise, pack_on)
    seconds = time.perf_counter() - start
    described = report.describe().replace("\n", "; ")
    packed = packed_bytes(model)
    stay = f", of which {packed / 2**20:,.0f} MiB stay packed" if packed else ""
    numbers = dtype or own_dtype(weights)
    log.info("%s; used in %s on %s%s, loaded in %.1f s", described, numbers, device, stay, seconds)
    return model.eval()


def assign_weights(
    model: nn.Module,
    report: FileReport,
    weights: Weights,
    dtype: torch.dtype | None,
    device: torch.device | str,
    stays_packed: tuple[str, ...],
    quantise: str | None,
    pack_on: torch.device | str | None = None,
) -> int:
    """`fill_model`, without a word.

    Returns: bytes of weights that are not as they lie in the file, and so take memory.
    """
    check_keys(model, report, weights)
    dtype = dtype or own_dtype(weights)
    tensors: dict[str, Tensor] = {}
    converted_bytes = 0
    for key, tensor in weights.items():
        layer = key.removesuffix(".weight")
        pieces = None
        if layer != key and layer.startswith(stays_packed or ("\0",)):
            pieces = _pieces(model.get_submodule(layer), layer, tensor, device, quantise, pack_on)
        if pieces is None:
            tensors[key] = tensor.read().to(device=device, dtype=dtype)
            converted_bytes += 0 if tensor.mapped and tensor.dtype == dtype else tensors[key].nbytes
        else:
            swapped = PackedLinear(pieces, _bias(model.get_submodule(layer)))
            model.set_submodule(layer, swapped)
            own = {f"{layer}.pieces.{name}": buffer for name, buffer in swapped.pieces.state_dict().items()}
            converted_bytes += 0 if quantise is None else sum(buffer.nbytes for buffer in own.values())
            tensors |= own
    model.load_state_dict(tensors, assign=True)
    return converted_bytes


def _pieces(
    module: nn.Module,
    layer: str,
    tensor: LazyTensor,
    device: torch.device | str,
    quantise: str | None,
    pack_on: torch.device | str | None,
) -> Sequence[PackedWeight] | None:
    """A linear's weight as it stays in memory; None if it is multiplied out."""
    if type(module) is not nn.Linear or quantise == FULL:
        return None
    if quantise is None:
        if tensor.packed is None or torch.device(device).type == "mps":  # which has no 8-bit floats
            return None
        return [piece.to(device) for piece in tensor.packed()]
    if not fits(tensor.shape) or any(part in _HIGH_PRECISION for part in layer.split(".")):
        return None
    return [pack(tensor.read().to(pack_on or device), quantise).to(device)]


def _bias(module: nn.Module) -> nn.Parameter | None:
    bias = module.bias
    return bias if isinstance(bias, nn.Parameter) else None


def check_keys(model: nn.Module, report: FileReport, weights: Weights) -> None:
    """Raises: CheckpointError with the first few names of what is missing, unexpected or misshapen."""
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    misshapen = [
        f"{key} {weights[key].shape} in place of {shape}"
        for key, shape in shapes.items()
        if key in weights and weights[key].shape != shape
    ]
    findings = {
        "missing": shapes.keys() - weights.keys(),
        "unexpected": weights.keys() - shapes.keys(),
        "of a wrong shape": misshapen,
    }
    faults = [f"{len(names)} {what} ({first_few(names)})" for what, names in findings.items() if names]
    if faults:
        raise CheckpointError(
            f"{report.path} is {report.title}, but its tensors do not fit: {'; '.join(faults)}"
        )


def own_dtype(weights: Weights) -> torch.dtype:
    """The dtype that holds most of the numbers; bfloat16 in place of what is packed in fewer bits."""
    numbers: Counter[torch.dtype] = Counter()
    for tensor in weights.values():
        packed = tensor.packed is not None or tensor.dtype in FLOAT8_DTYPES
        numbers[torch.bfloat16 if packed else tensor.dtype] += tensor.numel
    return numbers.most_common(1)[0][0]
