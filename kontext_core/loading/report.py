"""What a file of weights is and whether it can be used, in words."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..checks.sentences import one_line
from ..checks.shorten import cut
from ..config import TransformerConfig
from ..errors import printable
from ..quant.schemes import BYTES

_MOST_SAID, _LONGEST_SAID = 24, 160  # lines and letters of the metadata

# The share of the parameters that are never quantised when they are loaded.
_HIGH_PRECISION = {"transformer": 0.28, "t5": 0.03}


@dataclass(frozen=True)
class FileReport:
    """What a file is and whether it can be used.

    Args:
        path: of the file, or of its folder.
        kind: "transformer", "vae", "clip", "t5", "preview", "lora" or "unknown".
        title: what it is, in words.
        format: whose parameter names it has, and how it is quantised.
        config: TransformerConfig, VAEConfig, CLIPTextConfig, T5Config, of "preview" the latent channels; or
            None where the sizes are not known.
        dtypes: how many tensors of each.
        parameters: how many numbers.
        size: bytes on disk.
        notes: what else to say.
        refusal: why it cannot be used, "" if it can.
        instead: what to take in its place, "" where that is not known.
        packed_parameters: numbers that can stay in fewer bits than are computed with.
        layers: how many tensors of each dtype, by the kind of layer, its numbers left out.
        metadata: the header's strings, without what it says of single tensors.
    """

    path: Path
    kind: str
    title: str
    format: str
    config: Any
    dtypes: dict[str, int]
    parameters: int
    size: int  # bytes on disk
    notes: tuple[str, ...] = ()
    refusal: str = ""
    instead: str = ""
    packed_parameters: int = 0
    layers: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    def memory(self, dtype: torch.dtype, quantise: str | None) -> int:
        """Bytes that the model takes when it is loaded, estimated; arguments as for `load_transformer`."""
        whole = self.parameters * dtype.itemsize
        high = _HIGH_PRECISION.get(self.kind, 1.0)
        if quantise is None and self.packed_parameters:
            return self.size + (self.parameters - self.packed_parameters) * dtype.itemsize
        if quantise in BYTES:
            return int(high * whole + (1 - high) * self.parameters * BYTES[quantise])
        return whole

    def describe(self) -> str:
        """A few lines for people."""
        lines = [
            f"{self.path.name}: {self.title}",
            f"{self.parameters:,} parameters, {_size(self.size)}, {self.format}, tensors: "
            f"{_counts(self.dtypes)}",
        ]
        if len({name for kinds in self.layers.values() for name in kinds}) > 1:
            lines.append(f"by layer: {'; '.join(self._groups())}")
        if isinstance(self.config, TransformerConfig):
            config = self.config
            guidance = "with" if config.guidance_embed else "without"
            lines.append(
                f"{config.depth} double and {config.depth_single_blocks} single blocks of width "
                f"{config.hidden_size}, {guidance} guidance, {config.text_length} text tokens, references by "
                f"default in layout {config.layout!r}"
            )
        lines += self.notes
        if self.refusal:
            lines.append(f"it cannot be used here: {self.refusal}")
        return "\n".join(map(printable, lines))

    def describe_closely(self) -> str:
        """Further lines: the dtype of every kind of layer, and the metadata, cut short."""
        layers = [f"{printable(name)}: {_counts(kinds)}" for name, kinds in self.layers.items()]
        entries = [
            f"{printable(name)} = {cut(printable(one_line(value)), _LONGEST_SAID)}"
            for name, value in sorted(self.metadata.items())
        ]
        more = [f"and {len(entries) - _MOST_SAID} more"] if len(entries) > _MOST_SAID else []
        return "\n".join([*layers, "metadata:", *(entries[:_MOST_SAID] or ["none"]), *more])

    def _groups(self) -> list[str]:
        groups: dict[str, Counter[str]] = {}
        for name, kinds in self.layers.items():
            first, dot, _ = name.partition(".*.")
            groups.setdefault(first if dot else "others", Counter()).update(kinds)
        return [f"{name} {_counts(dict(kinds.most_common()))}" for name, kinds in groups.items()]


def _counts(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{n} x {name}" for name, n in kinds.items())


def _size(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.2f} MiB"
