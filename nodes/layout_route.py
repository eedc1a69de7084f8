"""The page's requests for the layout picture: where references stand and what they cost, from sizes alone.

Nothing is loaded; only the header of the model's file is read, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..kontext_core.checks.ranges import REFERENCE_STRENGTH
from ..kontext_core.config import KONTEXT_DEV, LAYOUTS
from ..kontext_core.edit_settings import ALLOWED
from ..kontext_core.images.fitting import FITS, legal_size, stitched_size
from ..kontext_core.model.latents import TOKEN_PX
from ..kontext_core.sampling.cost import PlannedReference, picture_size, plan
from . import files, values
from .host import routes
from .host.memory import device_for, dtype_for
from .load import DEVICES, DTYPES
from .reference import MOST_TOKENS, place_of

if TYPE_CHECKING:
    from ..kontext_core.config import TransformerConfig
    from ..kontext_core.model.positions import HeightWidth
    from ..kontext_core.sampling.cost import PlannedPicture

PATH = "/kontext/plan"
MOST_REFERENCES = 64
MOST_PX = int(ALLOWED["width_px"].high)

_Json = Mapping[str, Any]


def serve() -> None:
    """Register the route for the page."""
    routes.serve(PATH, answer)


def answer(question: Any) -> dict[str, Any]:
    """Plan the layout that the page describes.

    Args:
        question: {"model": {"name", "dtype", "device"} as chosen in the loader, or null for the published
            one; "layout": "auto" or one of `LAYOUTS`; "target": [height, width] in px, 0 for the first
            reference's, or a picture like those of the references, whose size it has; "references":
            [{"sizes": [[height, width], ...] in px, several being stitched into one, or null if not known,
            "fit", "max_tokens", "strength", "place", "region": whether there is one}, ...]}.
    Returns: places, sizes and tokens of all, their sums, time and memory. If a size is not known, the model's
    first preferred size is used; a region counts as a whole picture.
    Raises: ValueError in one sentence.
    """
    request = _object(question, "the question")
    model = None if request.get("model") is None else _object(request["model"], "the model")
    config = KONTEXT_DEV if model is None else files.transformer_config(_text(model, "name", "the model"))
    numbers = _numbers({} if model is None else model)
    layout = values.choice(request.get("layout", "auto"), "layout", ("auto", *LAYOUTS))
    entries = request.get("references", [])
    if not isinstance(entries, list) or len(entries) > MOST_REFERENCES:
        raise ValueError(f"references must be a list of at most {MOST_REFERENCES}")
    references = [_reference(entry, f"picture {i}", config) for i, entry in enumerate(entries, start=1)]
    target, target_known = _target(request.get("target", [0, 0]), references, config)
    planned = plan(
        config,
        target,
        [reference.planned for reference in references],
        None if layout == "auto" else layout,
        dtype=numbers,
    )
    return {
        "layout": config.layout if layout == "auto" else layout,
        "published": model is None,
        "target": _picture(planned.target) | {"known": target_known},
        "references": [
            None
            if picture is None
            else _picture(picture) | {"known": reference.known, "region": reference.region}
            for picture, reference in zip(planned.references, references, strict=True)
        ],
        "text_tokens": planned.n_text,
        "tokens": planned.n_tokens,
        "time_factor": planned.time_factor,
        "step_flop": planned.step_flop,
        "memory": planned.activation_bytes,
    }


@dataclass(frozen=True)
class _Reference:
    planned: PlannedReference
    known: bool
    region: bool


def _reference(value: Any, what: str, config: TransformerConfig) -> _Reference:
    entry = _object(value, what)
    sizes = entry.get("sizes")
    fit = values.choice(entry.get("fit", "crop"), f"fit of {what}", FITS)
    strength = values.number(entry.get("strength", 1.0), f"strength of {what}", 0, REFERENCE_STRENGTH.high)
    most = values.whole(entry.get("max_tokens", 0), f"max_tokens of {what}", 0, MOST_TOKENS)
    height, width = config.preferred_sizes[0] if sizes is None else _stitched(sizes, what)
    size = picture_size(height, width, config.preferred_sizes, fit, most or None)
    planned = PlannedReference(size, strength, place_of(_text(entry, "place", what, "")))
    return _Reference(planned, sizes is not None, bool(entry.get("region", False)))


def _stitched(sizes: Any, what: str) -> tuple[int, int]:
    """Return the one size of several pictures side by side."""
    if not isinstance(sizes, list) or not 0 < len(sizes) <= MOST_REFERENCES:
        raise ValueError(f"sizes of {what} must be a list of 1 to {MOST_REFERENCES} pairs, or null")
    pairs = [_pair(pair, f"a size of {what}", 1) for pair in sizes]
    height, widths = stitched_size(pairs)
    return height, sum(widths)


def _target(
    value: Any, references: Sequence[_Reference], config: TransformerConfig
) -> tuple[HeightWidth, bool]:
    """Return a size in tokens, and whether it is known; 0 is the first reference's or the model's."""
    if isinstance(value, dict):
        like = _reference(value, "target", config)
        return like.planned.size, like.known
    sides = _pair(value, "target", 0)
    height, width = (side // TOKEN_PX for side in config.preferred_sizes[0])
    known = True
    if references:
        height, width = references[0].planned.size
        known = references[0].known or all(sides)
    high, wide = legal_size(sides[0] or height * TOKEN_PX, sides[1] or width * TOKEN_PX)
    return (high // TOKEN_PX, wide // TOKEN_PX), known


def _picture(picture: PlannedPicture) -> dict[str, Any]:
    return {"corner": picture.corner, "size": picture.size, "tokens": picture.n_tokens}


def _numbers(model: _Json) -> Any:
    """Return the dtype that the loader would choose."""
    device = device_for(values.choice(model.get("device", "auto"), "device", DEVICES))
    return dtype_for(values.choice(model.get("dtype", "auto"), "dtype", DTYPES), device)


def _object(value: Any, what: str) -> _Json:
    if not isinstance(value, dict):
        raise values.wrong(value, what, "an object")
    return value


def _text(value: Any, name: str, what: str, default: str | None = None) -> str:
    return values.text(_object(value, what).get(name, default), f"{name} of {what}")


def _pair(value: Any, what: str, least: int) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise values.wrong(value, what, "a pair of height and width in pixels")
    height, width = (values.whole(side, what, least, MOST_PX) for side in value)
    return height, width
