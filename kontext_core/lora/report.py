"""What of a LoRA file is used, in words."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..config import KONTEXT_DEV
from ..errors import CheckpointError
from ..loading.checkpoint import first_few
from .file import LoraFile, open_lora
from .keys import FORMATS, PARTS, UNUSABLE, Format, Tables, Target, find, published_tables
from .others import looks_like

Matches = Mapping[str, tuple[Format, Target]]

_IMAGE_INPUT, _TOKEN = "img_in", KONTEXT_DEV.in_channels


@dataclass(frozen=True)
class LoraReport:
    """What a file is and what of it is used.

    Args:
        formats: how its names are written. kinds, ranks, parts: how many modules of each.
        unmatched: modules that no layer is there for. unusable: how many tensors of each kind that is of no use here.
    """

    path: Path
    size: int  # bytes on disk
    formats: tuple[str, ...]
    kinds: Mapping[str, int]
    ranks: Mapping[int, int]
    parts: Mapping[str, int]
    unmatched: tuple[str, ...] = ()
    unusable: Mapping[str, int] | None = None
    notes: tuple[str, ...] = ()

    @property
    def matched(self) -> int:
        """Modules that are used."""
        return sum(self.parts.values())

    @property
    def missed(self) -> str:
        """One sentence of what is not used; "" if all is."""
        said: list[str] = []
        if self.unmatched:
            total = self.matched + len(self.unmatched)
            said.append(
                f"{len(self.unmatched)} of {total} modules fit no layer here ({first_few(self.unmatched)})"
            )
        said += [f"left out: {count} x {what}" for what, count in (self.unusable or {}).items()]
        return f"{self.path.name} is used in part: {'; '.join(said)}" if said else ""

    def describe(self) -> str:
        """A few lines for people."""
        kinds = ", ".join(f"{count} x {kind}" for kind, count in self.kinds.items())
        low, high = min(self.ranks, default=0), max(self.ranks, default=0)
        rank = f", rank {low}" if low == high else f", ranks {low} to {high}"
        parts = ", ".join(f"{count} of {PARTS[part]}" for part, count in self.parts.items())
        lines = [
            f"{self.path.name}: a LoRA in {' and '.join(self.formats)}, {self.size / 2**20:.2f} MiB",
            f"{kinds}{rank if self.ranks else ''}; modules: {parts}",
        ]
        return "\n".join([*lines, *filter(None, (self.missed,)), *self.notes])


def match(file: LoraFile, tables: Tables) -> tuple[Matches, LoraReport]:
    """Which module of a file belongs where.

    Raises: CheckpointError if it is for another model, or nothing of it fits.
    """
    found: dict[str, tuple[Format, Target]] = {}
    taken: dict[tuple[str, str, object], str] = {}
    notes: list[str] = []
    for module in file.modules:
        hit = find(module, tables)
        if hit is None:
            continue
        place = (hit[1].part, hit[1].layer, hit[1].pieces)
        if place in taken:
            notes.append(module)
            continue
        taken[place] = module
        found[module] = hit
    _check_control(file, found)
    unmatched = tuple(name for name in file.modules if name not in found and name not in notes)
    other = looks_like({name: file.modules[name] for name in unmatched})
    if other:
        raise CheckpointError(f"{file.path} is a LoRA for {other}, and FLUX.1 Kontext cannot use it")
    if not found:
        raise CheckpointError(f"{file.path} {_nothing(file)}")
    places = Counter(target.part for _, target in found.values())
    report = LoraReport(
        path=file.path,
        size=file.size,
        formats=tuple(one.title for one in FORMATS if any(one is other for other, _ in found.values())),
        kinds=dict(Counter(file.kind(module) for module in found).most_common()),
        ranks=Counter(rank for module in found if (rank := file.rank(module)) is not None),
        parts={part: count for part in PARTS if (count := places[part])},
        unmatched=unmatched,
        unusable=Counter(UNUSABLE.get(end) or "tensors of an unknown kind" for end in file.unusable.values()),
        notes=(f"{len(notes)} modules are there twice and count once ({first_few(notes)})",) if notes else (),
    )
    return found, report


def inspect_lora(path: str | Path) -> LoraReport:
    """What a file is, by FLUX.1's names, without a model. Raises: CheckpointError as `match`."""
    return match(open_lora(path), published_tables())[1]


def _check_control(file: LoraFile, found: Matches) -> None:
    """Raises: CheckpointError about the LoRAs of FLUX.1 Depth and Canny, whose image input is twice as wide."""
    for module, (_, target) in found.items():
        tensor = file.modules[module].get("down")
        if target.layer == _IMAGE_INPUT and tensor is not None and len(tensor.shape) == 2:
            _, width = tensor.shape
            if width > _TOKEN and width % _TOKEN == 0:
                raise CheckpointError(
                    f"{file.path} is a control LoRA of FLUX.1 (depth or canny): it widens the image input from {_TOKEN} to "
                    f"{width} numbers a token, which Kontext does not have"
                )


def _nothing(file: LoraFile) -> str:
    kinds = sorted({UNUSABLE[end] for end in file.unusable.values() if end})
    if not file.modules and kinds:
        return f"holds only what is of no use here: {', '.join(kinds)}"
    if not file.modules:
        return f"is no LoRA: it holds {len(file.unusable)} tensors, such as {first_few(file.unusable, 2)}"
    return (
        f"is a LoRA for a model that is not known here: none of its {len(file.modules)} modules has a name of FLUX.1's "
        f"({first_few(file.modules, 2)})"
    )
