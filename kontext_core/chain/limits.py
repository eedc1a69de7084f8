"""Limits of a chain's files, shared by writer and reader: what is written can be read, the rest is refused.

They bound the memory that a file can ask for before any of it is taken. No artist meets them: previews of
long chains become smaller, so that thousands of turns with references fit.
"""

from collections.abc import Collection, Sequence

MOST_TURNS = 10_000
MOST_REFERENCES = 256  # of one turn
MOST_LORAS = 256  # of one turn
MOST_PICTURE_PIXELS = 2**25  # of the last picture: 5,792 px a side, 0.4 GB as a tensor
MOST_CANVAS_PIXELS = 2**26  # that latents stand for
MOST_LATENT_BYTES = 16 * 2**30

THUMBNAIL_PX = 256  # the longer side of a preview
SMALLEST_THUMBNAIL_PX = 24
MOST_THUMBNAIL_PIXELS = 2**26  # of all different previews together: 0.8 GB as tensors

# All texts of a PNG together. Pillow, and so ComfyUI's Load Image, opens no picture with more than 64 MiB.
MOST_TEXT_BYTES = 60 * 2**20
# Earlier versions wrote more than that, and could not read it themselves.
MOST_READ_TEXT_BYTES = 128 * 2**20
MOST_FILE_BYTES = 256 * 2**20  # the texts, and at worst 96 MiB of pixels that cannot be compressed
MOST_COMMAS = 4_000_000  # in the lineage: each stands for a value, about 60 bytes in Python
MOST_LETTERS = 1_000_000  # of one text: an instruction, or a setting


Size = Sequence[int]  # (height, width) in pixels


def thumbnail_side(sizes: Collection[Size]) -> int:
    """The longer side, in pixels, at which previews of all these (height, width) fit together."""
    side = THUMBNAIL_PX
    while side > SMALLEST_THUMBNAIL_PX and _pixels(sizes, side) > MOST_THUMBNAIL_PIXELS:
        side -= 8
    return side


def _pixels(sizes: Collection[Size], side: int) -> float:
    return sum(height * width * min(side / max(height, width), 1.0) ** 2 for height, width in sizes)
