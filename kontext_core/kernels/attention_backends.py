"""The one choice of what computes attention: by card, packages, dtype, a head's width and wishes.

Source: torch.nn.attention, sdpa_kernel; Dao-AILab/flash-attention (FlashAttention 3 and 4); arXiv:2410.02367
(SageAttention).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from .options import compute_options

log = logging.getLogger(__name__)

Capability = tuple[int, int]  # of a CUDA card

# cuDNN before it reads beyond its inputs where queries or keys are no whole tiles, and knows no heads wider
# than 128. Source: pytorch/pytorch, pull requests 167101 and 171627; sdp_utils.cpp,
# check_cudnn_tensor_shapes.
_TILE, _ANY_LENGTH, _ANY_WIDTH = 128, 91501, 92201
_compiled_for = _ANY_WIDTH  # the version that `prepare_compile` found


@dataclass(frozen=True)
class Backend:
    """What a backend can do.

    Args:
        fits: whether it knows a card and a head's width.
        package: module that must be importable; None: torch's own.
        exact: whether it is attention to the last rounding; what is not is taken only where it is asked for.
    """

    fits: Callable[[Capability, int], bool]
    package: str | None = None
    exact: bool = True


# The best first, for cards that several know.
BACKENDS = {
    "flash4": Backend(lambda card, dim: card[0] == 10 and dim in (64, 96, 128), "flash_attn.cute"),
    "flash3": Backend(lambda card, dim: card[0] == 9 and dim % 8 == 0 and dim <= 256, "flash_attn_interface"),
    "cudnn": Backend(lambda card, dim: card[0] in (9, 10) and dim % 8 == 0 and dim <= 256),
    "flash2": Backend(lambda card, dim: card >= (8, 0) and dim % 8 == 0 and dim <= 256),
    "flash3_fp8": Backend(
        lambda card, dim: card[0] == 9 and dim in (64, 128, 256), "flash_attn_interface", exact=False
    ),
    "sage": Backend(lambda card, dim: card >= (8, 0) and dim in (64, 96, 128), "sageattention", exact=False),
    "torch": Backend(lambda card, dim: True),
}
COMPILED_ATTENTION = ("auto", "torch", "cudnn", "flash2")  # wishes that compiled blocks do not go against
_PACKAGES = frozenset(backend.package for backend in BACKENDS.values() if backend.package is not None)
_HALF = (torch.bfloat16, torch.float16)

# Torch's own ways, in the order in which they are tried: where the first cannot, the next does.
_IN_TORCH = {
    "cudnn": [
        SDPBackend.CUDNN_ATTENTION,
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.MATH,
    ],
    "flash2": [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH],
}


def choose(
    card: Capability | None,
    installed: frozenset[str],
    dtype: torch.dtype,
    head_dim: int,
    wish: str = "auto",
    cudnn: bool = True,
) -> str:
    """The name of one of `BACKENDS`.

    Args:
        card: None is no CUDA card.
        installed: packages that can be imported.
        wish: such a name, or "auto".
        cudnn: whether it may be taken unasked, see `cudnn_fits`.
    Raises: ValueError if what is wished is not known, or cannot be had here.
    """
    if wish != "auto" and wish not in BACKENDS:
        raise ValueError(f"attention {wish!r} is not known; choose auto, {', '.join(BACKENDS)}")
    if wish == "torch" or (wish == "auto" and (card is None or dtype not in _HALF)):
        return "torch"
    if wish == "auto":
        return next(
            name
            for name in BACKENDS
            if BACKENDS[name].exact
            and _fits(name, card, installed, dtype, head_dim)
            and (name != "cudnn" or cudnn)
        )
    if not _fits(wish, card, installed, dtype, head_dim):
        package = BACKENDS[wish].package
        needs = f" and the package {package.partition('.')[0]}" if package else ""
        raise ValueError(
            f"attention {wish!r} is not available here: it needs bfloat16 or float16, a card{needs} that "
            f"know heads of {head_dim}; choose auto"
        )
    return wish


def attention_backend_for(q: Tensor, k: Tensor | None = None, added: int = 0) -> str:
    """Choose a backend. Where gradients are wanted, or blocks compiled, it is torch's own.

    Where keys have weights, a wish counts only for what is exact and knows heads with their channels: what is
    coarse would not see the weights, and they are part of the picture.

    Args:
        q: queries (B, L_q, H, D).
        k: keys (B, L, H, D); None: as many as queries.
        added: how many of the D channels are those of weights on keys.
    """
    dim, lengths = q.shape[-1], (q.shape[1], (q if k is None else k).shape[1])
    if torch.compiler.is_compiling():
        if not q.is_cuda:
            return "torch"
        # whatever the card: torch goes on to the next in order
        return "cudnn" if cudnn_fits(_compiled_for, dim, *lengths) else "flash2"
    wish = compute_options().attention
    if torch.is_grad_enabled() or not (q.is_cuda or wish != "auto"):
        return "torch"
    cudnn = cudnn_fits(_version_of_cudnn(), dim, *lengths)
    if not added:
        return _chosen(q.device, q.dtype, dim, wish, cudnn)
    name = _chosen(q.device, q.dtype, dim - added, wish, cudnn)
    if BACKENDS[name].exact:
        try:
            return _chosen(q.device, q.dtype, dim, wish, cudnn)
        except ValueError:  # it knows the model's own heads, and not these
            pass
    exact = _chosen(q.device, q.dtype, dim, "auto", cudnn)
    _say_other(name, exact)
    return exact


def cudnn_fits(version: int, head_dim: int, *lengths: int) -> bool:
    """Tell whether this cuDNN attends soundly.

    Args:
        version: as torch says it, 91501 for 9.15.1.
        head_dim: channels of a head.
        lengths: of queries and of keys.
    """
    if head_dim > 128 and version < _ANY_WIDTH:
        return False
    return version >= _ANY_LENGTH or all(length % _TILE == 0 for length in lengths)


def prepare_compile() -> None:
    """Before blocks are compiled, which cannot ask for a version."""
    global _compiled_for
    _compiled_for = _version_of_cudnn()


def call(backend: str, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Compute attention with a backend.

    Args:
        q: (B, L_q, H, D).
        k: (B, L, H, D); scale of the products. Returns: (B, L_q, H, D).
        v: likewise.
    """
    if backend in ("flash3", "flash4"):
        out = _function(backend)(q, k, v, softmax_scale=scale)
        return out[0] if isinstance(out, tuple) else out  # some versions return the sums of exponentials too
    if backend == "flash3_fp8":
        packed, factors = zip(*(_in_float8(x) for x in (q, k, v)), strict=True)
        named = dict(zip(("q_descale", "k_descale", "v_descale"), factors, strict=True))
        return _function(backend)(*packed, softmax_scale=scale, **named).to(q.dtype)
    if backend == "sage":
        return _function(backend)(q, k, v, tensor_layout="NHD", is_causal=False, sm_scale=scale)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if backend == "torch":
        return F.scaled_dot_product_attention(q, k, v, scale=scale).transpose(1, 2)
    with sdpa_kernel(_IN_TORCH[backend], set_priority=True):
        return F.scaled_dot_product_attention(q, k, v, scale=scale).transpose(1, 2)


def _in_float8(x: Tensor) -> tuple[Tensor, Tensor]:
    """(B, L, H, D) with a factor for each head of each sample: float8, and (B, H), float32."""
    largest = torch.finfo(torch.float8_e4m3fn).max
    factors = (x.abs().amax((1, 3), keepdim=True).float() / largest).clamp(min=1e-12)
    stored = (x / factors).clamp(-largest, largest).to(torch.float8_e4m3fn)
    return stored, factors[:, 0, :, 0].contiguous()


@cache
def _version_of_cudnn() -> int:
    return torch.backends.cudnn.version() or 0


def _fits(
    name: str, card: Capability | None, installed: frozenset[str], dtype: torch.dtype, head_dim: int
) -> bool:
    backend = BACKENDS[name]
    there = backend.package is None or backend.package in installed
    if name == "torch":
        return True
    return there and card is not None and dtype in _HALF and backend.fits(card, head_dim)


@cache
def _chosen(device: torch.device, dtype: torch.dtype, head_dim: int, wish: str, cudnn: bool) -> str:
    card = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    name = choose(card, _installed(), dtype, head_dim, wish, cudnn)
    log.info("attention on %s, %s, heads of %d: %s", device, dtype, head_dim, name)
    return name


@cache
def _say_other(wish: str, name: str) -> None:
    """Log it once, and not at each step."""
    log.warning(
        "a reference has a strength other than 1, which attention %r does not compute exactly: %s does, in edits with one",
        wish,
        name,
    )


@cache
def _installed() -> frozenset[str]:
    packages: set[str] = set()
    for package in _PACKAGES:
        try:
            import_module(package)
        except (ImportError, OSError, RuntimeError) as reason:  # built for another torch or card
            log.debug("%s is not used: %s", package, reason)
        else:
            packages.add(package)
    return frozenset(packages)


def _function(backend: str) -> Callable[..., Any]:
    name = "sageattn" if backend == "sage" else "flash_attn_func"
    return getattr(import_module(BACKENDS[backend].package or ""), name)
