"""A ComfyUI that runs somewhere else, over HTTP. Nothing of ComfyUI is imported."""
