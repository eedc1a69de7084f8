"""FLUX.1 Kontext in plain PyTorch. Nothing here knows of ComfyUI."""
