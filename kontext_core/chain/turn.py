"""One turn of a chain: a picture, and how it came to be."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from torch import Tensor

from ..images.fitting import Placement
from ..images.marks import Mark
from ..images.outside import OutsideReport
from ..images.put_back import Patch
from ..model.latents import size_px
from ..sampling.edits import Edit, Reference, UsedLora

Settings = Mapping[str, str | int | float | bool | None]


@dataclass(frozen=True, eq=False)
class Turn:
    """One picture. The first turn of a chain is the picture that it began with: it has no instruction.

    Args:
        image: (1, H, W, 3) in [0, 1].
        latents: (1, 16, h, w) of the whole canvas; None where only the picture is known.
        placement: where the picture lies on that canvas; None where it is the canvas.
        settings: everything else that the result depends on, as JSON can hold it.
        references: pictures (1, H, W, 3) that were looked at besides the turn before.
        marks: what was drawn upon the picture of the turn before, for this turn to see; with the areas of it
            that alone could change.
        loras: what was upon the model.
        blend: (1, H, W) in [0, 1], how much of each pixel of the picture this turn made; None: all of it, or
            not known.
        patch: what it changed in the picture that the chain began with, at that one's own size; None where
            that was not asked for.
        report: on what it changed; None where nothing was to be kept.
    """

    image: Tensor
    latents: Tensor | None = None
    placement: Placement | None = None
    instruction: str = ""
    seed: int = 0
    settings: Settings = field(default_factory=lambda: MappingProxyType({}))
    references: tuple[Tensor, ...] = ()
    marks: tuple[Mark, ...] = ()
    loras: tuple[UsedLora, ...] = ()
    blend: Tensor | None = None
    patch: Patch | None = None
    report: OutsideReport | None = None

    def __post_init__(self) -> None:
        if self.image.ndim != 4 or self.image.shape[0] != 1 or self.image.shape[-1] != 3:
            raise ValueError(
                f"a turn holds one picture, (1, height, width, 3), but this is {tuple(self.image.shape)}"
            )
        if self.latents is not None and self.placement is not None:
            canvas = size_px(self.latents)
            if canvas != self.placement.canvas:
                raise ValueError(f"latents of {canvas} px do not lie on the canvas {self.placement.canvas}")

    def as_reference(self) -> Reference:
        """What the next turn looks at: the latents, which lose nothing, or else the picture."""
        if self.latents is None:
            return self.image
        return Edit(self.image, self.latents, self.seed, placement=self.placement)


def lacking_loras(turn: Turn, there: Container[str]) -> str:
    """In words, the LoRAs of a turn that are not among `there`, with their strengths; "" if all are."""
    lacking = [f"{lora.name} at {lora.strength:g}" for lora in turn.loras if lora.name not in there]
    return f"the LoRA{'s' * (len(lacking) > 1)} {', '.join(lacking)}" if lacking else ""
