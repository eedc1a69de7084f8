"""Inputs that several nodes share, and the settings of an edit that they define."""

import math
from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

from ..kontext_core.config import FITS, KEEP_OUTSIDE, LAYOUTS, RESULT_SIZES, SOLVERS
from ..kontext_core.edit_settings import ALLOWED, EditSettings
from ._api import io

MAX_SEED = int(ALLOWED["seed"].high)
FEATHER_PX = 16
APPROXIMATIONS = ("teacache",)  # as in `step_cache.METHODS`


def limits(setting: str, kind: type[int] | type[float] = int) -> dict[str, Any]:
    """Give the range of a setting as the options of a widget.

    Args:
        setting: a name of `ALLOWED`.
        kind: of the numbers that the widget takes.
    """
    allowed = ALLOWED[setting]
    return {"min": kind(allowed.low or 0), "max": kind(allowed.high)}


def instruction(name: str) -> Any:
    """Make the input for the words; an empty box shows examples."""
    return io.String.Input(
        name,
        multiline=True,
        dynamic_prompts=True,
        default="",
        placeholder="make the red circle blue\nremove the green star\nmake the background sand",
        tooltip="What to change ('make the circle red'). If empty, the model gets no instruction.",
    )


def fit(default: str) -> Any:
    """Make the input for how a picture reaches a size that the model prefers."""
    return io.Combo.Input(
        "fit",
        options=list(FITS),
        default=default,
        tooltip="How the picture is brought to a size the model was trained on. crop: fill that size and "
        "cut off the rest. pad: keep the whole picture and repeat its edges around it; this is cut "
        "off again in the result. stretch: change the proportions. none: keep every pixel; sides "
        "are padded to multiples of 16.",
    )


def seed() -> Any:
    """Make the input for the number that the noise is drawn from."""
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=MAX_SEED,
        control_after_generate=True,
        tooltip="A different seed gives a different picture; the same seed gives the same picture on every "
        "device.",
    )


def steps() -> Any:
    """Make the input for the number of steps."""
    return io.Int.Input(
        "steps",
        default=28,
        **limits("steps"),
        tooltip="More steps take longer and give finer results; 20 to 30 are usual.",
    )


def guidance() -> Any:
    """Make the input for the distilled guidance."""
    return io.Float.Input(
        "guidance",
        default=2.5,
        **limits("guidance", float),
        step=0.1,
        tooltip="How closely the model follows the words; 2.5 is usual for Kontext. Models without this "
        "input ignore it.",
    )


def layout() -> Any:
    """Make the input for where references stand."""
    return io.Combo.Input(
        "layout",
        options=["auto", *LAYOUTS],
        default="auto",
        tooltip="How several references are positioned for the model. auto: as the model was trained. "
        "offset: side by side on one plane (published weights). index: each on its own plane. "
        "diagonal: beyond the result's corner.",
    )


def mask(**options: Any) -> Any:
    """Make the input for where an edit may change the picture."""
    return io.Mask.Input(
        "mask",
        optional=True,
        tooltip="Where the picture may change (white); elsewhere every pixel stays as it is.",
        **options,
    )


def feather() -> Any:
    """Make the input for how softly a mask ends."""
    return io.Int.Input(
        "feather",
        optional=True,
        default=FEATHER_PX,
        **limits("feather_px"),
        tooltip="How many pixels beyond the mask's edge the change fades out over. 0: a hard edge. No effect "
        "without a mask.",
    )


def approximate() -> Any:
    """Make the input for whether steps skip what changes little, and how."""
    return io.Combo.Input(
        "approximate",
        optional=True,
        options=["off", *APPROXIMATIONS],
        default="off",
        tooltip="Skips work that changes little: faster, but not quite the same picture. off: every step is "
        "computed. teacache: a step before which little has changed adds what the last computed "
        "step added.",
    )


def approximate_number() -> Any:
    """Make the input for how much change is skipped."""
    return io.Float.Input(
        "approximate_number",
        optional=True,
        default=0.0,
        min=0.0,
        max=1.0,
        step=0.01,
        tooltip="How much change is skipped: higher is faster and further from the exact picture. 0: the "
        "method's usual value. No effect when approximate is off.",
    )


def negative() -> Any:
    """Make the input for what to steer away from."""
    return io.String.Input(
        "negative",
        optional=True,
        dynamic_prompts=True,
        default="",
        tooltip="What to steer away from. Used only when nag or cfg is not 1, and may be empty even then.",
    )


def cfg(*, optional: bool = False) -> Any:
    """Make the input for the classifier-free guidance."""
    return io.Float.Input(
        "cfg",
        optional=optional,
        default=1.0,
        **limits("cfg_scale", float),
        step=0.1,
        tooltip="Any value other than 1 steers away from the negative text and takes twice as long.",
    )


def solver() -> Any:
    """Make the input for how a step is computed."""
    return io.Combo.Input(
        "solver",
        optional=True,
        options=list(SOLVERS),
        default="euler",
        tooltip="How each step is computed. euler: as in the paper. heun: runs the network twice per step "
        "and is finer for the same number of steps. dpmpp_2m: runs it once per step and also uses "
        "the previous step.",
    )


def shift(*, optional: bool = False) -> Any:
    """Make the input for how long the steps stay noisy."""
    return io.Float.Input(
        "shift",
        optional=optional,
        default=0.0,
        min=0.0,
        max=100.0,
        step=0.01,
        tooltip="How long the steps stay noisy. 0: as in the paper, by the picture's size. 1: evenly "
        "spaced. Higher: more steps for the composition, fewer for detail.",
    )


class Sampling(TypedDict, total=False):
    """Values of the inputs of `sampling`, which `execute` takes together."""

    approximate: str
    approximate_number: float
    negative: str
    cfg: float
    solver: str
    shift: float


SAMPLING = tuple(Sampling.__annotations__)


def sampling() -> list[Any]:
    """Make the last inputs of a node that edits in one box, which newcomers leave as they are."""
    return [
        approximate(),
        approximate_number(),
        negative(),
        cfg(optional=True),
        solver(),
        shift(optional=True),
    ]


def keep_outside() -> Any:
    """Make the input for what of the picture before an edit stays as it is."""
    return io.Combo.Input(
        "keep_outside",
        optional=True,
        options=list(KEEP_OUTSIDE),
        default="auto",
        tooltip="What stays as it was, bit for bit. auto: everything that the edit did not change, found by "
        "comparison (with a mask: everything outside it). mask: everything outside the mask. off: nothing; every "
        "pixel comes from the model.",
    )


def size() -> Any:
    """Make the input for the size of the result."""
    return io.Combo.Input(
        "size",
        optional=True,
        options=list(RESULT_SIZES),
        default="model",
        tooltip="Size of the result. model: the size the model works at. original: the size of the connected "
        "picture; only what changed is scaled up and put into it.",
    )


def detail() -> Any:
    """Make the input for the strength of one more pass over what was changed."""
    return io.Float.Input(
        "detail",
        optional=True,
        default=0.0,
        **limits("detail", float),
        step=0.05,
        tooltip="With size original, for pictures larger than the model's size: makes what changed anew at full "
        "size, tile by tile, at this strength. 0: off, the edit is only scaled up. 0.2 to 0.4 adds detail; more "
        "lets the tiles part from the edit.",
    )


def nag() -> Any:
    """Make the input for normalised attention guidance."""
    return io.Float.Input(
        "nag",
        optional=True,
        default=1.0,
        **limits("nag_scale", float),
        step=0.5,
        tooltip="How far attention is steered away from the negative text, in the first quarter of the steps. "
        "1: off; 4 is usual. Takes about a tenth longer. Not together with approximate, nor with a model "
        "from ComfyUI's loaders.",
    )


def cfg_to() -> Any:
    """Make the input for the steps that classifier-free guidance acts on."""
    return io.Float.Input(
        "cfg_to",
        optional=True,
        default=1.0,
        **limits("cfg_to", float),
        step=0.05,
        tooltip="The share of the steps, from the first on, in which cfg acts; the others take no longer than "
        "without it. 0.25 keeps most of what the instruction asks for.",
    )


class Guiding(TypedDict, total=False):
    """Values of the inputs of `guiding`, which `execute` takes together."""

    nag: float
    cfg_to: float


GUIDING = tuple(Guiding.__annotations__)


def guiding() -> list[Any]:
    """Make the last inputs of a node that samples, for what a negative text does."""
    return [nag(), cfg_to()]


class Editing(Sampling, Guiding, total=False):
    """Values of the inputs of `editing`, which `execute` takes together."""

    keep_outside: str
    size: str
    detail: float


EDITING = tuple(Editing.__annotations__)


def editing() -> list[Any]:
    """Make the inputs after those of `sampling`: what an edit leaves alone, how it is steered away."""
    return [keep_outside(), size(), detail(), *guiding()]


class Values(Editing, total=False):
    """Values of all inputs here that are settings of an edit."""

    seed: int
    steps: int
    guidance: float
    layout: str
    feather: int
    width: int
    height: int
    batch: int
    strength: float


# Where the core has another name than the nodes.
_FIELDS = {
    "cfg": "cfg_scale",
    "nag": "nag_scale",
    "feather": "feather_px",
    "width": "width_px",
    "height": "height_px",
}


def edit_settings(**values: Unpack[Values]) -> EditSettings:
    """Build the settings of an edit from the inputs of a node.

    The negative text is a prompt if cfg or nag is not 1, even if it is empty, and is ignored otherwise.

    Args:
        values: by the names of the inputs; missing ones have the default of their widget.
    Raises: ValueError in one sentence about a value that is out of range.
    """
    others: dict[str, Any] = dict(values)
    layout, ratio, away = others.pop("layout", "auto"), others.pop("shift", 0.0), others.pop("negative", "")
    way = _way(others.pop("approximate", "off"), others.pop("approximate_number", 0.0))
    for side in ("width", "height"):
        others[side] = others.get(side) or None
    mu = math.log(ratio) if ratio else None
    if not ALLOWED["mu"].admits(mu):
        raise ValueError(
            f"shift is {ratio:g}, which leaves no noise to work on: set 0 for the paper's value, or at least "
            "0.01"
        )
    return EditSettings(
        layout=None if layout == "auto" else layout,
        mu=mu,
        approximate=way,
        negative_prompt=away if steers(others) else None,
        **{_FIELDS.get(name, name): value for name, value in others.items()},
    )


def steers(values: Mapping[str, Any]) -> bool:
    """Tell whether inputs of these values steer away from a negative text."""
    return values.get("cfg", 1.0) != 1.0 or values.get("nag", 1.0) != 1.0


def _way(approximate: str, number: float) -> str | None:
    """Write an approximation as `denoise.denoise` takes it."""
    if approximate == "off":
        return None
    return f"{approximate}:{number:g}" if number else approximate
