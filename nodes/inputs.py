"""Inputs that several nodes have."""

from typing import Any

from ..kontext_core.config import LAYOUTS
from ..kontext_core.images.fitting import FITS
from ._api import io

MAX_SEED = 0xFFFFFFFFFFFFFFFF
FEATHER_PX = 16
APPROXIMATIONS = ("teacache",)  # as in `step_cache.METHODS`


def instruction(name: str) -> Any:
    """The words; an empty box shows what one may write."""
    return io.String.Input(
        name,
        multiline=True,
        dynamic_prompts=True,
        default="",
        placeholder="make the red circle blue\nremove the green star\nmake the background sand",
        tooltip="What to change ('make the circle red'). Left empty, the model gets no instruction.",
    )


def fit(default: str) -> Any:
    """How a picture reaches a size that the model likes."""
    return io.Combo.Input(
        "fit",
        options=list(FITS),
        default=default,
        tooltip="How the picture reaches a size the model was trained on. crop: fill it and cut what is over. "
        "pad: show all, edges repeated around; cut off again in the result. stretch: change the shape. "
        "none: keep every pixel; sides are filled up to multiples of 16.",
    )


def seed() -> Any:
    """The number the noise is drawn from."""
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=MAX_SEED,
        control_after_generate=True,
        tooltip="Another seed, another picture; the same seed, the same picture on every device.",
    )


def steps() -> Any:
    """How often the network is asked."""
    return io.Int.Input(
        "steps",
        default=28,
        min=1,
        max=1000,
        tooltip="More steps take longer and are finer; 20 to 30 are usual.",
    )


def guidance() -> Any:
    """The distilled guidance."""
    return io.Float.Input(
        "guidance",
        default=2.5,
        min=0.0,
        max=100.0,
        step=0.1,
        tooltip="How closely the words are followed; 2.5 is usual for Kontext. Models without this input ignore it.",
    )


def layout() -> Any:
    """Where references stand."""
    return io.Combo.Input(
        "layout",
        options=["auto", *LAYOUTS],
        default="auto",
        tooltip="Where several references stand for the model. auto: as the model was trained. offset: side by side on "
        "one plane (published weights). index: each on a plane of its own. diagonal: beyond the target's corner.",
    )


def mask(**options: Any) -> Any:
    """Where an edit may change the picture."""
    return io.Mask.Input(
        "mask",
        optional=True,
        tooltip="Where the picture may change (white); elsewhere every pixel stays as it is.",
        **options,
    )


def feather() -> Any:
    """How softly a mask ends."""
    return io.Int.Input(
        "feather",
        optional=True,
        default=FEATHER_PX,
        min=0,
        max=1024,
        tooltip="How many pixels outside the mask's edge the change fades out over. 0: a hard edge. Nothing without a mask.",
    )


def approximate() -> Any:
    """Whether steps skip what changes little, and how."""
    return io.Combo.Input(
        "approximate",
        optional=True,
        options=["off", *APPROXIMATIONS],
        default="off",
        tooltip="Skips work that changes little: faster, and not quite the same picture. off: all is computed. teacache: a "
        "step before which little has changed adds what the last one did.",
    )


def approximate_number() -> Any:
    """How much of that."""
    return io.Float.Input(
        "approximate_number",
        optional=True,
        default=0.0,
        min=0.0,
        max=1.0,
        step=0.01,
        tooltip="How much change is passed over: higher is faster and further from the exact picture. 0: what is usual for "
        "the way. Nothing where approximate is off.",
    )


def way(approximate: str, number: float) -> str | None:
    """As `denoise.denoise` takes it."""
    if approximate == "off":
        return None
    return f"{approximate}:{number:g}" if number else approximate
