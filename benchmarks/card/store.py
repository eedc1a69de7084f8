"""What was measured so far, in one file that is whole at every moment."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kontext_core.disk import whole

from ..speed.clock import written

Row = Mapping[str, Any]


class Store:
    """The file of results. One process at a time writes it.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.result: dict[str, Any] = {"sections": {}}
        if path.is_file():
            self.result = json.loads(path.read_text(encoding="utf-8"))

    def put(self, **values: Any) -> None:
        """Set values of the whole, and write."""
        self.result |= values
        self.write()

    def section(self, name: str) -> dict[str, Any]:
        return self.result["sections"].setdefault(name, {"rows": {}})

    def rows(self, name: str) -> dict[str, Any]:
        return self.section(name)["rows"]

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with whole(self.path) as (partial,):
            partial.write_text(written(self.result), encoding="utf-8")


@dataclass(frozen=True)
class Context:
    """What a section works with.

    Args:
        device: where it measures.
        rehearse: whether a CPU stands in, with small sizes.
        rows: of earlier runs, which are not measured again.
        keep: writes a row at once.
        left: seconds until this section is ended.
    """

    device: torch.device
    rehearse: bool
    rows: Mapping[str, Any]
    keep: Callable[[str, Row], None]
    left: Callable[[], float]

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32 if self.rehearse else torch.bfloat16

    def attempt(self, name: str, measure: Callable[[], Row], needs: float = 0.0) -> None:
        """Measure one row, if it is not there yet and there is time; what fails is a row that says why.

        Args:
            name: of the row.
            measure: gives it.
            needs: seconds that it takes, about.
        """
        known = self.rows.get(name)
        if known is not None and "unavailable" not in known:
            return
        if self.left() < needs:
            self.keep(name, {"unavailable": "no time was left"})
            return
        try:
            row = measure()
        except Exception as error:  # whatever a kernel or a package of others raises: the next row may do
            reason = str(error).strip().partition("\n")[0]
            row = {"unavailable": f"{type(error).__name__}: {reason}"}
        self.keep(name, row)
