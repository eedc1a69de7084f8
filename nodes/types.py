"""What travels along the wires of this pack."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ._api import io

Model = io.Custom("KONTEXT_MODEL")  # a kontext_core.editor.Editor
PromptSocket = io.Custom("KONTEXT_PROMPT")  # a Prompt
ReferencesSocket = io.Custom("KONTEXT_REFERENCES")  # a tuple of Reference
ChainSocket = io.Custom("KONTEXT_CHAIN")  # a kontext_core.chain.Chain

Latent = dict[str, Any]  # ComfyUI's LATENT
CATEGORY = "Kontext"


@dataclass(frozen=True)
class Prompt:
    """The words. They are encoded by the model that samples, which remembers what it encoded last."""

    text: str
    negative: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Reference:
    """One reference: a picture (B, H, W, 3) in [0, 1] with the way it is fitted, or a LATENT.

    Args:
        strength: weight of its keys; 0 leaves it out. most_tokens: a picture is scaled down to so many; None: no limit.
        region: MASK (B or 1, H, W); only what it marks rides along. place: (index, row, column), None by the layout.
    """

    picture: Tensor | None = None
    latent: Latent | None = None
    fit: str = "crop"
    strength: float = 1.0
    most_tokens: int | None = None
    region: Tensor | None = None
    place: tuple[int, int, int] | None = None

    def __repr__(self) -> str:  # ComfyUI prints a node's inputs when it fails
        what = self.picture if self.picture is not None else (self.latent or {}).get("samples")
        kind = "LATENT" if self.picture is None else f"picture, {self.fit}"
        return f"Reference({kind}, {tuple(what.shape) if isinstance(what, Tensor) else what})"


def one_of(image: Tensor | None, latent: Latent | None, what: str) -> None:
    """Raises: ValueError unless exactly one of the two is connected."""
    if image is None and latent is None:
        raise ValueError(
            f"{what} needs a picture: connect 'image', or 'latent' with the latent of an earlier result"
        )
    if image is not None and latent is not None:
        raise ValueError(f"{what} takes one picture: 'image' and 'latent' are both connected, disconnect one")
