"""The latents of a chain's turns: a safetensors file beside its picture, which belongs to no other."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..images.picture_files import to_pil
from ..model.latents import LATENT_PX
from .limits import MOST_CANVAS_PIXELS, MOST_LATENT_BYTES

KEY = "kontext_chain"  # of the chain's id, in the picture's text and in the metadata of the latents
PICTURE = "kontext_picture"  # of the picture's digest there; files of before have none
_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # bytes a number
_ALONE = "delete it to continue from the picture alone"


def latents_path(path: Path) -> Path:
    """Where the latents of a chain's PNG lie: a name that no file of weights has."""
    return path.with_suffix(".kontext.safetensors")


def check_latents(shapes: Mapping[str, tuple[int, ...]], count: int, number_bytes: int = 4) -> None:
    """Whether these are latents of a chain's turns, by their headers.

    Args:
        shapes: by the turn's number.
        count: how many turns there are.
        number_bytes: of the widest of their numbers.
    Raises: ValueError in words that go behind the name of what holds them.
    """
    turns = {str(i) for i in range(count)}
    bad = [
        name
        for name, shape in shapes.items()
        if name not in turns
        or len(shape) != 4
        or shape[0] != 1
        or min(shape) < 1
        or shape[2] % 2 + shape[3] % 2  # of which no tokens of 2 x 2 can be made
        or shape[2] * shape[3] * LATENT_PX**2 > MOST_CANVAS_PIXELS
    ]
    if bad:
        raise ValueError(f"does not hold latents of {count} turns: {', '.join(bad[:4])}")
    size = sum(shape[1] * shape[2] * shape[3] * number_bytes for shape in shapes.values())
    if size > MOST_LATENT_BYTES:
        raise ValueError(
            f"holds latents of {size / 2**30:.0f} GiB, but {MOST_LATENT_BYTES // 2**30} GiB is the maximum"
        )


def write_latents(latents: Mapping[str, Tensor], path: Path, id: str, image: Tensor) -> None:
    """Write latents by the turn's number.

    Args:
        id: of the chain.
        image: of its last turn.
    """
    tensors = {name: tensor.float().cpu().contiguous() for name, tensor in latents.items()}
    save_file(tensors, path, {"format": "pt", KEY: id, PICTURE: _digest(image)})


def read_latents(path: Path, id: object, image: Tensor, count: int) -> dict[str, Tensor]:
    """Latents by the turn's number; none where there is no such file.

    Args:
        id: of the chain.
        image: of its last turn.
        count: of its turns.
    Raises: ValueError in one sentence if the file is damaged, or belongs to another chain or picture.
    """
    if not path.is_file():
        return {}
    name = f"{path.name} next to the picture"
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if not isinstance(id, str) or metadata.get(KEY) != id:
                raise ValueError(f"{name} belongs to another chain; {_ALONE}")
            if metadata.get(PICTURE) not in (None, _digest(image)):
                raise ValueError(f"{name} does not belong to this picture, which was changed since; {_ALONE}")
            keys: list[str] = list(file.keys())
            slices = {key: file.get_slice(key) for key in keys}
            if alien := [key for key in keys if slices[key].get_dtype() not in _FLOATS]:
                raise ValueError(f"{name} does not hold latents: {', '.join(alien[:4])}; {_ALONE}")
            try:
                widest = max((_FLOATS[part.get_dtype()] for part in slices.values()), default=4)
                check_latents({key: tuple(part.get_shape()) for key, part in slices.items()}, count, widest)
            except ValueError as error:
                raise ValueError(f"{name} {error}; {_ALONE}") from error
            latents: dict[str, Tensor] = {key: file.get_tensor(key) for key in keys}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{name} is damaged: {error}; {_ALONE}") from error
    if wrong := [key for key, tensor in latents.items() if not bool(tensor.isfinite().all())]:
        raise ValueError(f"{name} holds numbers that are not finite: {', '.join(wrong[:4])}; {_ALONE}")
    return latents


def _digest(image: Tensor) -> str:
    """Of the pixels, as a PNG holds them, and the size."""
    picture = to_pil(image)
    return hashlib.blake2b(
        picture.tobytes(), digest_size=16, person=f"{picture.width}x{picture.height}".encode()
    ).hexdigest()
