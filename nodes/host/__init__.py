"""The wall to ComfyUI: what of the pack talks to it, one topic a file."""
