"""The types of this pack's connections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ._api import io

if TYPE_CHECKING:
    from ..kontext_core.editor import Editor
    from ..kontext_core.sampling.inputs import Text

Model = io.Custom("KONTEXT_MODEL")  # a kontext_core.editor.Editor
PromptSocket = io.Custom("KONTEXT_PROMPT")  # a Prompt or an EncodedPrompt
ReferencesSocket = io.Custom("KONTEXT_REFERENCES")  # a tuple of Reference
ChainSocket = io.Custom("KONTEXT_CHAIN")  # a kontext_core.chain.Chain

Latent = dict[str, Any]  # ComfyUI's LATENT
CATEGORY = "Kontext"


@dataclass(frozen=True)
class Prompt:
    """The words. The model that samples encodes them and remembers what it encoded last."""

    text: str
    negative: str = ""

    def encoded(self, model: Editor) -> Text:
        """Encode the words."""
        return model.encode_prompt(self.text)

    def encoded_negative(self, model: Editor) -> Text:
        """Encode what to steer away from."""
        return model.encode_prompt(self.negative)


@dataclass(frozen=True, eq=False, repr=False)
class ReferenceInput:
    """One reference: a picture (B, H, W, 3) in [0, 1] with the way it is fitted, or a LATENT.

    Args:
        strength: weight of its keys; 0 leaves it out.
        most_tokens: a picture is scaled down to this many; None: no limit.
        region: MASK (B or 1, H, W); only what it marks is used.
        place: (index, row, column); None: by the layout.
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


@dataclass(frozen=True, eq=False, repr=False)
class EncodedPrompt:
    """Words that other text encoders have read already, and what came with them.

    Args:
        negative: None is that of no words, as the sampling model reads them.
        guidance: used instead of the sampler's unless None.
        layout: used instead of the sampler's unless None.
        references: before the sampler's.
    """

    text: Text
    negative: Text | None = None
    guidance: float | None = None
    references: tuple[ReferenceInput, ...] = ()
    layout: str | None = None

    def __repr__(self) -> str:
        return f"EncodedPrompt({self.text[0].shape[1]} tokens, {len(self.references)} references)"

    def encoded(self, model: Editor) -> Text:
        return self.text

    def encoded_negative(self, model: Editor) -> Text:
        return model.encode_prompt("") if self.negative is None else self.negative


def wires_fit(schema: Any, received: Mapping[str, str]) -> bool | str:
    """Answer ComfyUI about connections: a chain may also be a picture, connected past turns that are off.

    Args:
        schema: that of the node.
        received: names of types by the names of the inputs that they arrive at.
    """
    for entry in schema.inputs:
        expected = str(entry.get_io_type())
        kinds = {expected, "IMAGE"} if expected == ChainSocket.io_type else {expected}
        kind = received.get(entry.id, expected)
        if kind != expected and not kinds & {part.strip() for part in kind.split(",")}:
            return f"{entry.id} is wired to {kind}; it takes {' or '.join(sorted(kinds, reverse=True))}"
    return True


def one_of(image: Tensor | None, latent: Latent | None, what: str) -> None:
    """Raise ValueError unless exactly one of the two is connected."""
    if image is None and latent is None:
        raise ValueError(
            f"{what} needs a picture: connect 'image', or 'latent' with the latent of an earlier result"
        )
    if image is not None and latent is not None:
        raise ValueError(
            f"{what} takes one picture, but 'image' and 'latent' are both connected: disconnect one"
        )


def outside_outputs() -> list[Any]:
    """Make the outputs that say what an edit changed."""
    return [
        io.Mask.Output("MASK", display_name="mask", tooltip="Where the picture changed (white)."),
        io.String.Output(
            "STRING",
            display_name="report",
            tooltip="What changed and what was kept, in words. Empty if keep_outside is off.",
        ),
    ]
