"""Edit chains: turns on a picture, branches of them, and the PNG that keeps how a picture came to be."""

from .animation import save_animation
from .compare import Comparison, compare
from .file import load_chain, save_chain
from .latents_file import latents_path
from .sheet import Tile, chain_sheet, chain_sheets, contact_sheet
from .turns import Chain, Turn

__all__ = [
    "Chain",
    "Comparison",
    "Tile",
    "Turn",
    "chain_sheet",
    "chain_sheets",
    "compare",
    "contact_sheet",
    "latents_path",
    "load_chain",
    "save_animation",
    "save_chain",
]
