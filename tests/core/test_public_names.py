"""The public names exist, and are imported only on demand."""

import subprocess
import sys
from pathlib import Path

import kontext_core

ROOT = Path(__file__).parents[2]


def test_every_public_name_is_there() -> None:
    assert [name for name in kontext_core.__all__ if getattr(kontext_core, name, None) is None] == []
    assert set(kontext_core.__all__) == set(kontext_core._MODULE_OF)


def test_a_name_comes_when_it_is_asked_for() -> None:
    code = "import sys, kontext_core; assert 'torch' not in sys.modules; kontext_core.VAE; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
