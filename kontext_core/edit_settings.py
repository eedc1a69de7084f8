"""What an edit depends on besides pictures, instruction and model: values with ranges, checked once."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from typing import Any, Self, TypedDict

from .checks.fields import changed_fields, check_names
from .checks.ranges import Allowed
from .checks.shorten import short
from .config import FITS, KEEP_OUTSIDE, LAYOUTS, RESULT_SIZES, SOLVERS

log = logging.getLogger(__name__)


def _setting(default: Any, allowed: Allowed) -> Any:
    return field(default=default, metadata={"allowed": allowed})


@dataclass(frozen=True, kw_only=True)
class EditSettings:
    """What an edit depends on besides pictures, instruction and model, as JSON scalars.

    Args:
        steps: of the sampler.
        mu: shift of the noise levels; None: by the picture's size, see `schedule.shift_mu`.
        seed: of the noise.
        batch: pictures that are made at once.
        width_px: of the picture, rounded to a multiple of 16; None: as the first reference.
        height_px: likewise.
        guidance: the distilled scale; ignored where the model has no such input.
        cfg_scale: classifier-free scale; 1 is none.
        strength: share of the steps that is run upon a start, which for an edit is its first reference; 1:
            from pure noise.
        solver: one of `config.SOLVERS`.
        layout: where references stand, one of `config.LAYOUTS`; None: the model's own.
        approximate: NAME or NAME:NUMBER of a way to skip steps, see `step_cache.METHODS`; None: exact.
        fit: how pictures reach a size the model likes, one of `config.FITS`; None: "crop".
        negative_prompt: what to steer away from, where cfg_scale or nag_scale is not 1.
        feather_px: width of the soft rim around a mask.
        keep_outside: one of `config.KEEP_OUTSIDE`, what of the picture before stays as it is, bit for bit:
            what the edit did not change (auto), what is beside the mask (mask; auto where there is one),
            or nothing (off). None: mask where there is one, else off.
        size: one of `config.RESULT_SIZES`: the model's, or that of the picture as it came, in which only what
            was changed is new.
        detail: with size "original", the strength of one more pass over what was changed, at the size of the
            picture, see `sampling.detail`; 0: none.
        nag_scale: how far attention is steered away from the negative prompt in the first quarter of the
            steps, see `model.negative`; 1 is not at all.
        cfg_to: share of the steps, from the first on, in which cfg_scale acts.
    Raises: ValueError in one sentence that names the field, what it is and what it may be.
    """

    steps: int = _setting(28, Allowed(1, 1000, whole=True))
    mu: float | None = _setting(None, Allowed(-20, 20, optional=True))
    seed: int = _setting(0, Allowed(-(2**63), 2**64 - 1, whole=True))
    batch: int = _setting(1, Allowed(1, 64, whole=True))
    width_px: int | None = _setting(None, Allowed(1, 65_536, whole=True, optional=True))
    height_px: int | None = _setting(None, Allowed(1, 65_536, whole=True, optional=True))
    guidance: float = _setting(2.5, Allowed(0, 100))
    cfg_scale: float = _setting(1.0, Allowed(0, 100))
    strength: float = _setting(1.0, Allowed(0, 1))
    solver: str = _setting("euler", Allowed(choices=SOLVERS))
    layout: str | None = _setting(None, Allowed(choices=LAYOUTS, optional=True))
    approximate: str | None = _setting(None, Allowed(optional=True))
    fit: str | None = _setting(None, Allowed(choices=FITS, optional=True))
    negative_prompt: str | None = _setting(None, Allowed(optional=True))
    feather_px: float = _setting(0, Allowed(0, 1024))
    keep_outside: str | None = _setting(None, Allowed(choices=KEEP_OUTSIDE, optional=True))
    size: str = _setting("model", Allowed(choices=RESULT_SIZES))
    detail: float = _setting(0.0, Allowed(0, 1))
    nag_scale: float = _setting(1.0, Allowed(1, 20))
    cfg_to: float = _setting(1.0, Allowed(0.05, 1))

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if not setting.metadata["allowed"].admits(value):
                raise ValueError(
                    f"{setting.name} is {short(value)} and must be {setting.metadata['allowed']}"
                )
            if isinstance(value, Real):  # numpy's too, which JSON does not know
                plain = int(value) if isinstance(value, Integral) else float(value)
                object.__setattr__(self, setting.name, plain)

    @property
    def steers(self) -> bool:
        """Whether the negative prompt counts."""
        return self.cfg_scale != 1 or self.nag_scale != 1

    def with_options(self, options: Mapping[str, Any], names: type | None = None) -> Self:
        """Return these settings with others in some places.

        Args:
            options: by the names of the fields.
            names: a TypedDict of those that may be among them; None: any field.
        Raises: TypeError about a name that is not known; ValueError as the constructor.
        """
        known = ALLOWED if names is None else names.__annotations__
        if unknown := [name for name in options if name not in known]:
            raise TypeError(f"{unknown[0]!r} is not an option here; the options are {', '.join(known)}")
        return replace(self, **options) if options else self

    def to_json(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as JSON can hold them."""
        return changed_fields(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_json` gives. Raises: ValueError about a name that is not known, or a value."""
        check_names(values, ALLOWED, "is not a setting of an edit")
        return cls(**values)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read a turn's settings from a chain file of any version; unknown names are passed over.

        Raises: ValueError about a value.
        """
        return cls(**{name: value for name, value in record.items() if name in ALLOWED})

    def record(self, *, masked: bool = False) -> dict[str, Any]:
        """The settings as a turn keeps them: always those that every version writes, others where they count.

        Args:
            masked: whether the edit had a mask.
        """
        always = {name: getattr(self, name) for name in _RECORDED}
        mask = {"masked": True, "feather_px": self.feather_px} if masked else {}
        others = {name: value for name, value in self.to_json().items() if name not in _NOT_RECORDED}
        return always | mask | others


_RECORDED = (
    *("negative_prompt", "height_px", "width_px", "fit"),
    *("steps", "guidance", "layout", "cfg_scale"),
)
_NOT_RECORDED = {
    *_RECORDED,
    "seed",
    "feather_px",
}  # a turn has a seed of its own, and a feather goes with a mask


class SampleOptions(TypedDict, total=False):
    """Fields of `EditSettings` that `Editor.sample` takes one by one."""

    steps: int
    mu: float | None
    seed: int
    batch: int
    width_px: int | None
    height_px: int | None
    guidance: float
    cfg_scale: float
    strength: float
    solver: str
    layout: str | None
    approximate: str | None
    nag_scale: float
    cfg_to: float


class EditOptions(SampleOptions, total=False):
    """Fields of `EditSettings` that `Editor.edit` takes one by one: all of them."""

    fit: str | None
    negative_prompt: str | None
    feather_px: float
    keep_outside: str | None
    size: str
    detail: float


# What a setting may be, by its name.
ALLOWED: dict[str, Allowed] = {setting.name: setting.metadata["allowed"] for setting in fields(EditSettings)}

# What the command line calls a setting: `kontext edit` with hyphens before it, a line of a batch as a key.
SHORT_NAMES: dict[str, str] = {
    "seed": "seed",
    "steps": "steps",
    "guidance": "guidance",
    "width_px": "width",
    "height_px": "height",
    "fit": "fit",
    "layout": "layout",
    "negative_prompt": "negative",
    "cfg_scale": "cfg",
    "strength": "strength",
    "mu": "mu",
    "solver": "solver",
    "approximate": "approximate",
    "feather_px": "feather",
    "keep_outside": "keep_outside",
    "size": "size",
    "detail": "detail",
    "nag_scale": "nag",
    "cfg_to": "cfg_to",
}

# What the help of `kontext edit` says of a setting.
HELP: dict[str, str] = {
    "steps": "denoising steps of a turn (default: 28)",
    "guidance": "distilled guidance, if the model has it (default: 2.5)",
    "width_px": (
        "width of each turn's picture in pixels, rounded to a multiple of 16 (default: that of the first "
        "picture)"
    ),
    "height_px": "its height, likewise",
    "layout": "layout of the references (default: the model's own)",
    "negative_prompt": "what to steer away from; used only when --nag or --cfg is not 1",
    "cfg_scale": (
        "classifier-free guidance: a value other than 1 steers away from --negative and takes twice as long "
        "(default: 1)"
    ),
    "strength": "share of the steps that is run: below 1 each turn starts from its picture instead of pure "
    "noise and changes less of it (default: 1)",
    "mu": "shift of the noise levels: 0 spaces them evenly, higher values stay noisy for longer, which "
    "favours composition over detail (default: by the picture's size)",
    "solver": "how each step is computed: heun runs the network twice per step, dpmpp_2m also uses the step "
    "before (default: euler)",
    "approximate": "skip work that changes little, for speed: teacache",
    "feather_px": "width in pixels of the soft edge around the mask (default: 0)",
    "keep_outside": "what stays as it is, bit for bit: all that the edit did not change (auto), all beside the "
    "mask (mask), or nothing (default: mask where there is one, else off)",
    "detail": "with --size original, the strength of one more pass over what was changed, at the picture's own "
    "size, where that is larger than the model's (default: 0, none; 0.3 is a start)",
    "size": "of each turn's picture: the model's, or that of the first picture as it came (default: model)",
    "nag_scale": "steer away from --negative, for about a tenth more time: 4 is usual, 1 is off (default: 1)",
    "cfg_to": "share of the steps, from the first on, in which --cfg acts; the others take no longer than without "
    "it (default: 1)",
}


def check_negative(values: Mapping[str, Any]) -> None:
    """Refuse a cfg or a nag that has nothing to steer away from, where settings have their short names.

    A negative without either changes nothing, which the log says.

    Args:
        values: by the names of the fields.
    Raises: ValueError.
    """
    cfg, nag = (values.get(name, 1) != 1 for name in ("cfg_scale", "nag_scale"))
    if (cfg or nag) and values.get("negative_prompt") is None:
        name = "cfg" if cfg else "nag"
        raise ValueError(f"{name} other than 1 needs a negative; give one, or leave {name} out")
    if not (cfg or nag) and values.get("negative_prompt"):
        log.warning(
            "a negative counts only with a nag or a cfg other than 1, and both are 1: the pictures are as "
            "without it"
        )
    check_nag(values)


def check_nag(values: Mapping[str, Any]) -> None:
    """Refuse a nag together with what skips steps.

    Args:
        values: by the names of the fields.
    Raises: ValueError.
    """
    if values.get("nag_scale", 1) != 1 and values.get("approximate") is not None:
        raise ValueError(
            "nag and approximate do not go together, since what is steered changes too much to be skipped: "
            "leave one of them out"
        )


def check_mask(values: Mapping[str, Any], *, masked: bool) -> None:
    """Refuse what goes with a mask where there is none.

    Args:
        values: by the names of the fields.
        masked: whether there is one.
    Raises: ValueError.
    """
    if masked:
        return
    if values.get("feather_px"):
        raise ValueError(
            "a feather softens the rim of a mask, and there is none: give a mask, or leave it out"
        )
    if values.get("keep_outside") == "mask":
        raise ValueError("keep_outside is 'mask', but there is no mask: give one, or choose auto or off")


def check_size(values: Mapping[str, Any], *, has_picture: bool) -> None:
    """Refuse the size of a picture where there is none, or another size is asked for.

    Args:
        values: by the names of the fields.
        has_picture: whether there is a picture to go back into.
    Raises: ValueError.
    """
    if values.get("size", "model") == "model":
        if values.get("detail"):
            raise ValueError(
                "the detail pass is for size 'original', and size is 'model': choose original, or leave detail "
                "at 0"
            )
        return
    if not has_picture:
        raise ValueError("size 'original' is that of the first picture, but there is none: give one")
    if values.get("width_px") is not None or values.get("height_px") is not None:
        raise ValueError("size 'original' is that of the first picture: leave width and height out")


def clean_prompt(prompt: Any) -> str:
    """Words as tokenizers take them: without white space around them, and without halves of characters.

    A text that was cut off, or that no UTF-8 stood behind, may hold a half of a surrogate pair, which no
    tokenizer and no file takes. It is left out, which the log says.

    Raises: ValueError if it is no text.
    """
    if not isinstance(prompt, str):
        raise ValueError(f"a prompt must be a text, but this one is {short(prompt)}")
    raw = prompt.encode("utf-16", "surrogatepass")
    whole = raw.decode("utf-16", "ignore")  # two halves that meet are one character
    if halves := (len(raw) - len(whole.encode("utf-16"))) // 2:
        log.warning("left out of the prompt: %d broken characters, such as half of an emoji", halves)
    return whole.strip()
