"""`python3 -m tools.start NAME ...` runs `tools.NAME`, and Ctrl+C ends its imports without a word of Python.

Those of the demo take seconds. Standard library only.
"""

from __future__ import annotations

import signal
import sys

from .console import leave


def main() -> None:
    """Import and run a tool; `console.run` gives Ctrl+C its usual meaning back."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)
    import runpy

    del sys.argv[0]
    runpy.run_module(f"tools.{sys.argv[0]}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
