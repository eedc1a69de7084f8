"""What an edit depends on besides pictures, instruction and model: each value with its range, checked once."""

import logging
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any

from .checks.ranges import Allowed
from .checks.sentences import short
from .config import FITS, LAYOUTS, SOLVERS

log = logging.getLogger(__name__)


def _setting(default: Any, allowed: Allowed) -> Any:
    return field(default=default, metadata={"allowed": allowed})


@dataclass(frozen=True, kw_only=True)
class EditSettings:
    """Settings of one edit, as JSON scalars.

    Args:
        steps: of the sampler.
        mu: shift of the noise levels; None: by the picture's size, see `schedule.shift_mu`.
        seed: of the noise.
        batch: pictures that are made at once.
        width_px: of the picture, rounded to a multiple of 16; None: as the first reference.
        height_px: likewise.
        guidance: the distilled scale; ignored where the model has no such input.
        cfg_scale: classifier-free scale; 1 is none.
        strength: share of the steps that is run upon a start.
        solver: one of `config.SOLVERS`.
        layout: where references stand, one of `config.LAYOUTS`; None: the model's own.
        approximate: NAME or NAME:NUMBER of a way to skip steps, see `step_cache.METHODS`; None: exact.
        fit: how pictures reach a size the model likes, one of `config.FITS`; None: "crop".
        negative_prompt: what to steer away from, where cfg_scale is not 1.
        feather_px: width of the soft rim around a mask.
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


# What a setting may be, by its name.
ALLOWED: dict[str, Allowed] = {setting.name: setting.metadata["allowed"] for setting in fields(EditSettings)}


def clean_prompt(prompt: Any) -> str:
    """Words as tokenizers take them: without white space around them, and without halves of characters.

    A text that was cut off, or that no UTF-8 stood behind, may hold a half of a surrogate pair, which no tokenizer and no
    file takes. It is left out, which the log says.

    Raises: ValueError if it is no text.
    """
    if not isinstance(prompt, str):
        raise ValueError(f"a prompt must be a text, and this one is {short(prompt)}")
    raw = prompt.encode("utf-16", "surrogatepass")
    whole = raw.decode("utf-16", "ignore")  # two halves that meet are one character
    if halves := (len(raw) - len(whole.encode("utf-16"))) // 2:
        log.warning("left out of the prompt: %d broken characters, such as half of an emoji", halves)
    return whole.strip()
