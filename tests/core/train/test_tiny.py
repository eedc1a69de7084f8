"""The weights that come along are worth what the README says."""

import torch

from kontext_core.loading import load_vae
from kontext_core.pipeline import TINY
from kontext_core.train.autoencoder import reconstruction_psnr


def test_the_autoencoder_keeps_pictures_it_never_saw() -> None:
    assert reconstruction_psnr(load_vae(TINY, dtype=torch.float32), count=64) > 32.0
