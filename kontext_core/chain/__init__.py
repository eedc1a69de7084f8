"""Edit chains: turns on a picture, branches of them, and the PNG that keeps how a picture came to be."""

from .file import latents_path, load_chain, save_chain
from .turns import Chain, Turn

__all__ = ["Chain", "Turn", "latents_path", "load_chain", "save_chain"]
