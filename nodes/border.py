"""The border of the nodes: inputs match the schema, or they are refused in one sentence.

ComfyUI checks the values of widgets only in part. Of a value that arrives through a connection it knows only
the name of the type, and nodes with outputs of any type pass on anything. So `checked` runs before `execute`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

import torch
from torch import Tensor

from . import values
from .types import EncodedPrompt, Prompt, ReferenceInput
from .values import FileNames

_Check = Callable[[Any, str], Any]

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def checked(node: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Check the inputs of a node before its `execute` takes them.

    Names of files are only known to be text here: the node itself knows where they may be.

    Args:
        node: its class.
        inputs: by name; an optional socket may pass None, which counts as not connected.
    Returns: the same inputs, with numbers as Python's and masks with three axes.
    Raises: ValueError in one sentence that names the input, the value and what is allowed.
    """
    schema = node.SCHEMA or node.define_schema()
    values = dict(inputs)
    for entry in schema.inputs:
        if entry.id not in values:
            continue
        name, value, info = entry.id, values[entry.id], entry.as_dict()
        if info.get("rawLink") and _is_link(value):
            continue
        kind = str(entry.get_io_type())
        check, may_be_open = _check_of(kind, info), bool(entry.optional) and kind in SOCKETS
        parts = value if schema.is_input_list and isinstance(value, list) else [value]
        if may_be_open and all(part is None for part in parts):
            values[name] = None
        elif not parts:
            raise ValueError(f"{name} is an empty list; pass at least one")
        else:
            parts = [check(part, name) for part in parts]
            values[name] = parts if schema.is_input_list else parts[0]
    return values


def mask(value: object, name: str) -> Tensor:
    """Take a MASK as (B, H, W): it may lack the first axis; ComfyUI's noise_mask has one for channels.

    Raises: ValueError in one sentence.
    """
    if not _holds_numbers(value, whole=True):
        raise values.wrong(value, name, "a MASK, numbers (batch, height, width)")
    title = f"the {name if name.endswith('mask') else f'{name} mask'} {tuple(value.shape)}"
    flat = value[:, 0] if value.ndim == 4 and value.shape[1] == 1 else value
    flat = flat[None] if flat.ndim == 2 else flat
    if flat.ndim != 3 or flat.numel() == 0:
        raise ValueError(f"{title} must be (batch, height, width), none of them 0")
    if not bool(torch.isfinite(flat).all()):
        raise ValueError(f"{title} holds numbers that are not finite (NaN or infinity)")
    return flat


def latent(value: object, name: str) -> dict[str, Any]:
    """Check that a value is a LATENT with four axes. Raises: ValueError in one sentence."""
    samples = value.get("samples") if isinstance(value, dict) else None
    if not _holds_numbers(samples) or samples.ndim != 4:
        raise values.wrong(value, name, _LATENT)
    return value  # pyright: ignore[reportReturnType]


def _holds_numbers(value: object, *, whole: bool = False) -> TypeGuard[Tensor]:
    """Tell whether a value is a tensor to compute with: not of 8-bit floats, not sparse, not without memory.

    Args:
        value: the value of the input.
        whole: whether integers and booleans are allowed too.
    """
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta or value.is_quantized:
        return False
    return value.dtype in _FLOATS or (whole and not value.is_floating_point() and not value.is_complex())


def _image(value: object, name: str) -> Tensor:
    if _holds_numbers(value) and value.ndim == 4 and value.shape[-1] <= 4:
        return value
    raise values.wrong(value, name, _IMAGE)


def _conditioning(value: object, name: str) -> Any:
    pairs = value if isinstance(value, list | tuple) else [None]
    if not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[1], dict) for pair in pairs
    ):
        raise values.wrong(value, name, "CONDITIONING, from a node that encodes words for FLUX.1")
    return value


def _references(value: object, name: str) -> Any:
    if not isinstance(value, tuple) or not all(isinstance(entry, ReferenceInput) for entry in value):
        raise values.wrong(value, name, "references from Kontext Reference or Kontext Reference Grid")
    return value


def _is_editor(value: object) -> bool:
    from ..kontext_core.editor import Editor

    return isinstance(value, Editor)


def _chain(value: object, name: str) -> object:
    """Take a chain, or start one from a single picture, which the page connects past turns that are off."""
    from ..kontext_core.chain import Chain, Turn
    from .convert import picture  # which takes masks by what is checked here

    if _holds_numbers(value) and value.ndim == 4 and value.shape[-1] <= 4:
        single = picture(value)
        if single.shape[0] != 1:
            raise ValueError(
                f"{name} is a batch of {single.shape[0]} pictures, but a chain has one picture: take one out "
                "with ImageFromBatch"
            )
        return Chain((Turn(single),))
    if not isinstance(value, Chain):
        raise values.wrong(value, name, "a chain from Kontext Turn, Kontext Script or Kontext Load Chain")
    return value


def _where(test: Callable[[object], bool], allowed: str) -> _Check:
    """Make a check that returns a value unchanged."""

    def check(value: object, name: str) -> object:
        if not test(value):
            raise values.wrong(value, name, allowed)
        return value

    return check


def _having(*attributes: str) -> Callable[[object], bool]:
    """Make a test for one of ComfyUI's types, for which other packs have their own classes."""
    return lambda value: all(hasattr(value, attribute) for attribute in attributes)


_IMAGE = "an IMAGE, numbers (batch, height, width, 1 to 4 channels)"
_LATENT = "a LATENT, whose 'samples' are numbers (batch, channels, height, width)"

# What travels along a wire, by the name of its type.
SOCKETS: dict[str, _Check] = {
    "IMAGE": _image,
    "MASK": mask,
    "LATENT": latent,
    "CONDITIONING": _conditioning,
    "MODEL": _where(_having("model"), "a MODEL from a loader of ComfyUI"),
    "CLIP": _where(_having("tokenize", "encode_from_tokens_scheduled"), "a CLIP from DualCLIPLoader"),
    "VAE": _where(
        lambda value: hasattr(value, "encode") and hasattr(value, "decode") and not _is_editor(value),
        "a VAE from Load VAE",
    ),
    "KONTEXT_MODEL": _where(_is_editor, "a model from Kontext Load Model or Kontext From ComfyUI"),
    "KONTEXT_PROMPT": _where(
        lambda value: isinstance(value, Prompt | EncodedPrompt),
        "a prompt from Kontext Prompt or Kontext From Conditioning",
    ),
    "KONTEXT_REFERENCES": _references,
    "KONTEXT_CHAIN": _chain,
}


def _check_of(kind: str, info: Mapping[str, Any]) -> _Check:
    """Choose the check of an input.

    Args:
        kind: the name of its type.
        info: what the schema says about it.
    """
    least, most, options = info.get("min"), info.get("max"), info.get("options", ())
    widgets: dict[str, _Check] = {
        "INT": lambda value, name: values.whole(value, name, least, most),
        "FLOAT": lambda value, name: values.number(value, name, least, most),
        "STRING": values.text,
        "BOOLEAN": values.switch,
        "COMBO": values.text
        if isinstance(options, FileNames)
        else lambda value, name: values.choice(value, name, options),
    }
    return (widgets | SOCKETS)[kind]


def _is_link(value: object) -> bool:
    """Tell whether a value is an unresolved link: the id of a node, and the number of its output."""
    return isinstance(value, list) and [type(part) for part in value] == [str, int]
