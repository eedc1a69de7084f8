"""Pictures that were encoded, kept by their content."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor


def content_digest(tensor: Tensor) -> bytes:
    """Tell tensors apart by their numbers, whatever their shape and dtype."""
    pixels = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return hashlib.blake2b(pixels.data, digest_size=16).digest()


class EncodedPictures(OrderedDict[tuple[object, ...], Tensor]):
    """Latents by the pictures that they show, the last ones used.

    Args:
        most: that are kept, of 1 MiB each at the published sizes.
    """

    def __init__(self, most: int = 16) -> None:
        super().__init__()
        self._most = most

    def latents(
        self, picture: Tensor, state: tuple[object, ...], encode: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Latents of pictures (B, H, W, 3), encoded where they are not kept: a copy, on the CPU.

        Args:
            picture: known by every pixel of every picture of the batch.
            state: what latents depend on besides.
            encode: makes them.
        """
        key = (content_digest(picture), picture.shape, picture.dtype, *state)
        latents = self.pop(key, None)
        if latents is None:
            latents = encode(picture).cpu()  # a device that the model leaves is left by these too
        self[key] = latents
        while len(self) > self._most:
            self.popitem(last=False)
        return latents.clone()
