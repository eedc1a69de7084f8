"""What users and their files hold on to, as it was: compared with JSON in tests/data/snapshots.

Where a change is meant, KONTEXT_WRITE_SNAPSHOTS=1 writes them anew, and the commit shows what changed.
"""

import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "data" / "snapshots"


def check_snapshot(name: str, value: Any) -> None:
    """Compare with the snapshot of this name, after a way through JSON."""
    path = FOLDER / f"{name}.json"
    if os.environ.get("KONTEXT_WRITE_SNAPSHOTS"):
        path.write_text(
            json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8"
        )
    assert json.loads(json.dumps(value)) == read_snapshot(name)


def read_snapshot(name: str) -> Any:
    """The snapshot of this name."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
