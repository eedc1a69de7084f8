"""A chain in one PNG: the last picture, and in its text how it came to be.

The lineage is JSON in an iTXt chunk. Earlier turns are in it as thumbnails; with their latents, which lie in
a safetensors file of the same name beside the picture, a loaded chain continues bit for bit from where it was
saved.
"""

import secrets
from collections.abc import Mapping
from pathlib import Path

from PIL import PngImagePlugin

from ..disk import whole
from ..images.picture_files import check_size, from_png, to_pil, write_png
from ..images.png_chunks import Png
from .latents_file import KEY, check_latents, latents_path, read_latents, write_latents
from .limits import MOST_FILE_BYTES, MOST_PICTURE_PIXELS, MOST_READ_TEXT_BYTES, MOST_TEXT_BYTES
from .record import make_chain, read_record, record_text
from .turns import Chain


def save_chain(
    chain: Chain, path: str | Path, *, latents: bool = True, texts: Mapping[str, str] | None = None
) -> None:
    """Write the last picture and the lineage; with `latents` also those of all turns, beside it.

    Each file is complete or, when writing fails, what it was before; two that do not belong together are
    refused.

    Args:
        texts: what else the PNG is to say of itself, by keyword.
    Raises: ValueError in one sentence, before anything is written, if the chain could not be read again;
        OSError if its files cannot be written.
    """
    path = Path(path)
    beside = latents_path(path)
    tensors = {str(i): turn.latents for i, turn in enumerate(chain.turns) if turn.latents is not None}
    if not latents:
        tensors.clear()
    id = secrets.token_hex(8)  # tells the two files of a chain from those of another
    info, room = PngImagePlugin.PngInfo(), MOST_TEXT_BYTES
    for keyword, text in (texts or {}).items():
        info.add_text(keyword, text)
        room -= len(text.encode())
    fault = f"the chain cannot be saved as {path.name}"
    picture = chain.picture
    height, width = picture.shape[1:3]
    check_size(height, width, MOST_PICTURE_PIXELS, f"{fault}: its last picture")
    try:
        check_latents({name: tuple(tensor.shape) for name, tensor in tensors.items()}, len(chain.turns))
    except ValueError as error:
        raise ValueError(f"{fault}: it {error}") from error
    info.add_itxt(KEY, record_text(chain, id, max(room, 0), fault))
    with whole(*((path, beside) if tensors else (path,))) as (partial, *latents_too):
        write_png(to_pil(picture), partial, info)
        for partial_latents in latents_too:
            write_latents(tensors, partial_latents, id, picture)
            partial_latents.chmod(partial.stat().st_mode)  # for the same people as the picture
    if not tensors:
        beside.unlink(missing_ok=True)  # of another chain


def load_chain(path: str | Path) -> Chain:
    """The chain in a PNG.

    Without the latents beside it, earlier turns are thumbnails and the last is the picture.

    Raises: ValueError in one sentence if there is none, or if it is not to be used.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > MOST_FILE_BYTES:
        raise ValueError(
            f"{path.name} is {size / 2**20:.0f} MiB; pictures with a chain may have at most "
            f"{MOST_FILE_BYTES // 2**20} MiB"
        )
    try:
        return _read(path)
    except MemoryError as error:
        raise ValueError(f"the edit chain in {path.name} does not fit into memory") from error


def _read(path: Path) -> Chain:
    try:
        png = Png(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path.name} is not a whole PNG file: {error}") from error
    try:
        text = png.text(KEY, MOST_READ_TEXT_BYTES)
    except ValueError as error:
        raise ValueError(f"the edit chain in {path.name} cannot be read: {error}") from error
    if text is None:
        raise ValueError(
            f"{path.name} holds no edit chain: it was not saved by Kontext Save Chain, or another program "
            "has rewritten it; use it as a plain picture"
        )
    check_size(*png.size_px, MOST_PICTURE_PIXELS, path.name)
    records, id = read_record(text, path.name)
    image = from_png(png, path.name)
    latents = read_latents(latents_path(path), id, image, len(records))
    return make_chain(records, image, latents, path.name)
