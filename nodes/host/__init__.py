"""The boundary to ComfyUI: everything in the pack that talks to it, one topic per file."""
