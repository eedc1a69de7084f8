"""What an edit costs before it is made: places and tokens of its pictures, arithmetic and memory.

Nothing here needs a model or a picture, only sizes. Places are those that the sampler uses, by the same
functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..config import Layout, TransformerConfig
from ..images.fitting import Size, canvas_size
from ..model.attention import ADDED_CHANNELS
from ..model.latents import TOKEN_PX
from ..model.positions import HeightWidth, Place
from .references import corners_of


@dataclass(frozen=True)
class PlannedReference:
    """A reference that is not there yet.

    Args:
        size: (height, width) in tokens.
        strength: in [0, 2]; 0 leaves it out.
        place: of its first token; None: by the layout.
        n_region: how many of its tokens are used; None: all.
    """

    size: HeightWidth
    strength: float = 1.0
    place: Place | None = None
    n_region: int | None = None


@dataclass(frozen=True)
class PlannedPicture:
    """The place of one picture.

    Args:
        corner: (index, row, column) of its first token.
        size: (height, width) in tokens.
        n_tokens: how many are used.
    """

    corner: Place
    size: HeightWidth
    n_tokens: int


@dataclass(frozen=True)
class Plan:
    """The cost of one step of an edit, for one picture.

    Args:
        target: the picture being made.
        references: in their order, None for one that is left out.
        n_text: tokens of text.
        step_flop: floating-point operations of a step.
        bare_step_flop: those of a step without references.
        activation_bytes: most that a step holds beside the weights, with attention that keeps no table of all
            pairs.
    """

    target: PlannedPicture
    references: tuple[PlannedPicture | None, ...]
    n_text: int
    step_flop: float
    bare_step_flop: float
    activation_bytes: int

    @property
    def n_image(self) -> int:
        """Count the tokens of the target and of all references."""
        return self.target.n_tokens + sum(
            reference.n_tokens for reference in self.references if reference is not None
        )

    @property
    def n_tokens(self) -> int:
        """Count the tokens of image and text."""
        return self.n_image + self.n_text

    @property
    def time_factor(self) -> float:
        """Compare the arithmetic with that of the same picture without references, as a ratio."""
        return self.step_flop / self.bare_step_flop


def plan(
    config: TransformerConfig,
    target: HeightWidth,
    references: Sequence[PlannedReference] = (),
    layout: Layout | None = None,
    *,
    n_text: int | None = None,
    dtype: torch.dtype = torch.bfloat16,
) -> Plan:
    """Plan one step.

    Args:
        config: of the model.
        target: (height, width) in tokens.
        references: in their order.
        layout: one of `config.LAYOUTS`; None: the model's own.
        n_text: tokens of text; None: the model's own.
        dtype: that the model computes in.
    """
    shown = [reference for reference in references if reference.strength > 0]
    corners = iter(
        corners_of(
            [(reference.size, reference.place) for reference in shown],
            target,
            config.layout if layout is None else layout,
        )
    )
    placed = tuple(
        PlannedPicture(next(corners), reference.size, _count(reference)) if reference.strength > 0 else None
        for reference in references
    )
    n_target, n_text = target[0] * target[1], config.text_length if n_text is None else n_text
    n_references = sum(picture.n_tokens for picture in placed if picture is not None)
    weighted = any(reference.strength != 1.0 for reference in shown)
    return Plan(
        target=PlannedPicture((0, 0, 0), target, n_target),
        references=placed,
        n_text=n_text,
        step_flop=step_flop(config, n_target, n_text + n_target + n_references, weighted=weighted),
        bare_step_flop=step_flop(config, n_target, n_text + n_target),
        activation_bytes=activation_bytes(config, n_target, n_text + n_target + n_references, dtype),
    )


def step_flop(config: TransformerConfig, n_target: int, n_tokens: int, *, weighted: bool = False) -> float:
    """Count the floating-point operations of one step for one picture.

    Embedders and the last layer are left out: below one in a thousand.

    With a width D and an MLP of 4 D, a block of either kind costs 24 D^2 N in its linears and 4 N^2 D in
    attention. The last block computes keys and values of all tokens and the rest for the target alone.

    Args:
        config: of the model.
        n_target: tokens of the target.
        n_tokens: of text, target and references.
        weighted: whether a reference's keys have a weight.
    """
    width, mlp = config.hidden_size, config.mlp_hidden_dim
    attended = width + ADDED_CHANNELS * config.num_heads if weighted else width
    blocks = config.depth + config.depth_single_blocks
    linears = 8 * width**2 + 4 * width * mlp  # of one token
    whole = linears * n_tokens + 4 * attended * n_tokens**2
    if not config.depth_single_blocks:
        return float(blocks * whole)
    qkv = 6 * width**2
    last = qkv * n_tokens + (linears - qkv) * n_target + 4 * attended * n_tokens * n_target
    return float((blocks - 1) * whole + last)


def activation_bytes(config: TransformerConfig, n_target: int, n_tokens: int, dtype: torch.dtype) -> int:
    """Count the bytes of one step at its peak, for one picture, without weights and modulation vectors.

    The peak is in a single block, before its second linear: the tokens in both forms (2), normed (1),
    queries, keys, values and MLP as they come out of the first linear (3 + m), queries and keys turned (2),
    attention's result (1), the MLP after its activation (m) and both side by side (1 + m), m being the MLP's
    width in widths of the model. The embedded text and references and the rotary table are held all through
    the step.
    """
    width, mlp = config.hidden_size, config.mlp_hidden_dim
    in_block = n_tokens * (10 * width + 3 * mlp)
    embedded = (n_tokens - n_target) * width
    rotary = n_tokens * width // config.num_heads // 2 * torch.complex64.itemsize
    return (in_block + embedded) * dtype.itemsize + rotary


def picture_size(
    height_px: int, width_px: int, sizes: Sequence[Size], fit: str = "crop", most_tokens: int | None = None
) -> HeightWidth:
    """Compute the (height, width) in tokens that `Editor.encode_picture` gives a picture."""
    height, width = canvas_size(height_px, width_px, sizes, fit, most_tokens)
    return height // TOKEN_PX, width // TOKEN_PX


def _count(reference: PlannedReference) -> int:
    return reference.size[0] * reference.size[1] if reference.n_region is None else reference.n_region
