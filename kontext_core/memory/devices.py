"""Devices that can be computed on here."""

import torch


def usable_device(name: torch.device | str) -> torch.device:
    """Try a device with a number: PyTorch knows names of those that it was built without, and of none at all.

    Args:
        name: as for `torch.device`; "cuda" is the current card, with its number as tensors there will say.
    Raises: ValueError in one sentence if nothing can be computed there.
    """
    try:
        device = torch.device(name)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(f"there is no device {str(name)!r}; choose 'cpu', or 'cuda' for a GPU") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device {str(device)!r} was requested, but PyTorch {torch.__version__} finds no GPU here; "
            "choose 'cpu'"
        )
    try:
        torch.ones(1, device=device).sum().item()
    except Exception as error:  # each backend has its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].partition(". ")[0]
        raise ValueError(
            f"device {str(device)!r} was requested, but nothing can be computed on it here ({reason}); "
            "choose 'cpu', or 'cuda' for a GPU"
        ) from error
    return torch.device("cuda", torch.cuda.current_device()) if device == torch.device("cuda") else device
