"""The text encoders and every file format on transformers' other supported major
version, in a process of its own.
"""

import os
import subprocess
import sys

from tools import transformers5
from tools.paths import ROOT

_VERSION = "import transformers; print(transformers.__version__)"


def test_text_and_files_on_transformers_5() -> None:
    folder = transformers5.folder()
    assert (folder / "installed.txt").is_file(), (
        f"there is no transformers 5 in {folder}: run 'make test', or 'python3 -m tools.setup_env --chromium'"
    )
    environment = {**os.environ, "PYTHONPATH": str(folder), "KONTEXT_FUZZ_SECONDS": "5"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600
        )

    assert run("-c", _VERSION).stdout.startswith("5.")
    found = run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/core/model/test_text.py", "tests/core/loading"
    )
    assert found.returncode == 0, found.stdout[-4000:]
