"""What a closer look into files of weights shows, which reads them whole."""

import hashlib
from pathlib import Path

from .checkpoint import files_of_weights, open_checkpoint
from .recognise import recognise


def not_finite(path: str | Path) -> dict[str, tuple[int, int]]:
    """Tensors with NaN or infinity in them, under the published names: how many, of how many numbers.

    Raises: CheckpointError if it cannot be read.
    """
    checkpoint = open_checkpoint(Path(path))
    report, weights = recognise(checkpoint)
    faults: dict[str, tuple[int, int]] = {}
    for name, tensor in (weights if report.config is not None else checkpoint.weights).items():
        numbers = tensor.read()
        if numbers.is_floating_point():
            bad = numbers.numel() - int(numbers.float().isfinite().sum())
            if bad:
                faults[name] = (bad, numbers.numel())
    return faults


def sha256(path: str | Path) -> dict[str, str]:
    """The digest of each file of weights, by its name."""
    path = Path(path)
    digests: dict[str, str] = {}
    for file in files_of_weights(path) if path.is_dir() else [path]:
        with file.open("rb") as opened:
            digests[file.name] = hashlib.file_digest(opened, "sha256").hexdigest()
    return digests
