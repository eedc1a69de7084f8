"""What of a LoRA file is used, in words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import KONTEXT_DEV
from ..errors import CheckpointError, printable
from ..loading.tensors import first_few
from .file import LoraFile, open_lora
from .foreign_models import looks_like, of_depth, of_shapes
from .keys import LORA_PARTS, TITLES, Hit, Names, find_target, published_names
from .roles import UNUSABLE

Matches = Mapping[str, Hit]

_IMAGE_INPUT, _TOKEN = "img_in", KONTEXT_DEV.in_channels


@dataclass(frozen=True)
class LoraReport:
    """What a file is and what of it is used.

    Args:
        formats: how its names are written.
        kinds: how many modules of each.
        ranks: likewise.
        parts: likewise.
        unmatched: modules that no layer is there for.
        unusable: how many tensors of each kind that is of no use here.
        adapters: names of all adapters in the file, the one first that is used.
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
    adapters: tuple[str, ...] = ("",)

    @property
    def matched(self) -> int:
        """Modules that are used."""
        return sum(self.parts.values())

    @property
    def missed(self) -> str:
        """One sentence of what is not used; "" if all is."""
        notes: list[str] = []
        if self.unmatched:
            total = self.matched + len(self.unmatched)
            notes.append(
                f"{len(self.unmatched)} of {total} modules fit no layer here ({first_few(self.unmatched)})"
            )
        notes += [f"left out: {count} x {what}" for what, count in (self.unusable or {}).items()]
        if len(self.adapters) > 1:
            used = f"the adapter {self.adapters[0]!r}" if self.adapters[0] else "the one without a name"
            others = first_few(map(repr, self.adapters[1:]))
            notes.append(
                f"of {len(self.adapters)} adapters in it {used} is used and not {others}, as PEFT uses one "
                "at a time"
            )
        return printable(f"{self.path.name} is used in part: {'; '.join(notes)}") if notes else ""

    def describe(self) -> str:
        """A few lines for people."""
        kinds = ", ".join(f"{count} x {kind}" for kind, count in self.kinds.items())
        low, high = min(self.ranks, default=0), max(self.ranks, default=0)
        rank = f", rank {low}" if low == high else f", ranks {low} to {high}"
        parts = ", ".join(f"{count} of {LORA_PARTS[part]}" for part, count in self.parts.items())
        lines = [
            f"{self.path.name}: a LoRA in {' and '.join(self.formats)}, {self.size / 2**20:.2f} MiB",
            f"{kinds}{rank if self.ranks else ''}; modules: {parts}",
        ]
        return "\n".join(map(printable, [*lines, *filter(None, (self.missed,)), *self.notes]))


def match(file: LoraFile, names: Names) -> tuple[Matches, LoraReport]:
    """Which module of a file belongs where.

    Raises: CheckpointError if it is for another model, or nothing of it fits.
    """
    hits = {module: hit for module in file.modules if (hit := find_target(module, names)) is not None}
    if other := _other(file, hits, names.width):
        raise CheckpointError(f"{file.path} is a LoRA for {other}, which FLUX.1 Kontext cannot use")
    unusual = {module: hit for module, hit in hits.items() if not hit.usual}
    whole = {
        (hit.kind, hit.prefix) for hit in unusual.values() if hit.numbered
    }  # prefixes that blocks are under
    for module, hit in unusual.items():
        if (hit.kind, hit.prefix) not in whole:
            del hits[module]
    matches, twice = _once(hits)
    _check_control(file, matches)
    published = published_names()
    known = [
        module for module in file.modules if module in hits or find_target(module, published) is not None
    ]
    if not matches or 2 * len(known) < len(file.modules):
        raise CheckpointError(f"{file.path} {_nothing(file, known)}")
    return matches, _report(file, matches, twice)


def _other(file: LoraFile, hits: Matches, width: int) -> str:
    """The model that a file is for, if it is none of FLUX.1's; "" if nothing says so.

    Names that FLUX.1 has too, in places where it has them, say nothing.
    """
    strange = {
        module: tensors
        for module, tensors in file.modules.items()
        if module not in hits or not hits[module].usual
    }
    return (
        looks_like(strange)
        or of_shapes({module: (hit.target, file.modules[module]) for module, hit in hits.items()}, width)
        or (of_depth(file.modules) if len(hits) < len(file.modules) else "")
    )


def _once(hits: Matches) -> tuple[Matches, list[str]]:
    """Without modules that change what another one of the file changes already, and those."""
    matches: dict[str, Hit] = {}
    places: set[object] = set()
    twice: list[str] = []
    for module, hit in hits.items():
        place = hit.target.part, hit.target.layer, hit.target.pieces
        if place in places:
            twice.append(module)
        else:
            places.add(place)
            matches[module] = hit
    return matches, twice


def _report(file: LoraFile, matches: Matches, twice: Sequence[str]) -> LoraReport:
    places = Counter(hit.target.part for hit in matches.values())
    notes = [
        f"names of {count} modules start with {prefix!r}, which no known program writes; after the prefix "
        f"they are {title}"
        for (prefix, title), count in Counter(
            (hit.prefix, hit.title) for hit in matches.values() if not hit.usual
        ).items()
    ]
    if twice:
        notes.append(f"{len(twice)} modules appear twice and are used once ({first_few(twice)})")
    return LoraReport(
        path=file.path,
        size=file.size,
        formats=tuple(sorted({hit.title for hit in matches.values()}, key=TITLES.index)),
        kinds=dict(Counter(file.kind(module) for module in matches).most_common()),
        ranks=Counter(rank for module in matches if (rank := file.rank(module)) is not None),
        parts={part: count for part in LORA_PARTS if (count := places[part])},
        unmatched=tuple(name for name in file.modules if name not in matches and name not in twice),
        unusable=Counter(UNUSABLE.get(end) or "tensors of an unknown kind" for end in file.unusable.values()),
        notes=tuple(notes),
        adapters=file.adapters,
    )


def inspect_lora(path: str | Path) -> LoraReport:
    """What a file is, by FLUX.1's names, without a model. Raises: CheckpointError as `match`."""
    return match(open_lora(path), published_names())[1]


def _check_control(file: LoraFile, matches: Matches) -> None:
    """Raises: CheckpointError about LoRAs of FLUX.1 Depth and Canny, whose image input is twice as wide."""
    for module, hit in matches.items():
        tensor = file.modules[module].get("down")
        if hit.target.layer == _IMAGE_INPUT and tensor is not None and len(tensor.shape) == 2:
            _, width = tensor.shape
            if width > _TOKEN and width % _TOKEN == 0:
                raise CheckpointError(
                    f"{file.path} is a control LoRA of FLUX.1 (depth or canny): it widens the image input from {_TOKEN} to "
                    f"{width} numbers a token, which Kontext does not have"
                )


def _nothing(file: LoraFile, known: Sequence[str]) -> str:
    kinds = sorted({UNUSABLE[end] for end in file.unusable.values() if end in UNUSABLE})
    if not file.modules and kinds:
        return f"holds only tensors that cannot be used here: {', '.join(kinds)}"
    if not file.modules:
        return f"is not a LoRA: it holds {len(file.unusable)} tensors, such as {first_few(file.unusable, 2)}"
    strange = [module for module in file.modules if module not in known]
    few = (
        f"only {len(known)} of its {len(file.modules)} modules have names"
        if known
        else (f"none of its {len(file.modules)} modules has a name")
    )
    return f"is a LoRA for a model that is not known here: {few} of FLUX.1's ({first_few(strange, 2)})"
