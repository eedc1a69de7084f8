"""Set-up tooling: a Python environment, a ComfyUI to run the pack in, and a browser to look at it."""
