"""The small world that the tiny model is trained on: scenes, edits with known results, drawing, scores."""

from .chains import Chain, Turn, sample_chain, untouched_cells
from .draw import draw
from .edits import KINDS, Sample, corpus, sample
from .language import vocabulary
from .parse import apply
from .scenes import Scene, Thing, Word, from_json, to_json
from .score import TOLERANCE, cell_errors, psnr, right
from .single import SINGLE_KINDS, random_scene

__all__ = [
    "KINDS",
    "SINGLE_KINDS",
    "TOLERANCE",
    "Chain",
    "Sample",
    "Scene",
    "Thing",
    "Turn",
    "Word",
    "apply",
    "cell_errors",
    "corpus",
    "draw",
    "from_json",
    "psnr",
    "random_scene",
    "right",
    "sample",
    "sample_chain",
    "to_json",
    "untouched_cells",
    "vocabulary",
]
