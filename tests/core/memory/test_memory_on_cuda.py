"""The plan on a card with limited memory: an edit at the published sizes stays within it."""

from collections.abc import Iterator

import pytest
import torch

from kontext_core.config import KONTEXT_DEV
from kontext_core.memory.block_streaming import StreamedTransformer
from kontext_core.memory.offload_plan import GIB, plan_offload
from kontext_core.memory.staging import Staging
from kontext_core.memory.tensor_data import tensors_of
from kontext_core.model.latents import noise
from kontext_core.model.transformer import Transformer
from kontext_core.sampling.denoise import denoise
from kontext_core.sampling.schedule import sigmas

CARD = torch.device("cuda", 0)

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def published() -> Transformer:
    """The published sizes in bfloat16 in the host's memory, all weights alike: what is
    computed does not matter here.
    """
    with torch.device("meta"):
        model = Transformer(KONTEXT_DEV).to(torch.bfloat16).eval().requires_grad_(False)
    for tensor in (model := model.to_empty(device="cpu")).parameters():
        tensor.fill_(0.001)
    return model


@pytest.fixture
def fraction() -> Iterator[None]:
    yield
    torch.cuda.set_per_process_memory_fraction(1.0, CARD)
    torch.cuda.empty_cache()


@pytest.mark.parametrize("from_file", [False, True])
@pytest.mark.parametrize("gib", [4, 6, 8, 12, 16, 24])
def test_an_edit_stays_within(published: Transformer, fraction: None, gib: int, from_file: bool) -> None:
    """1024 x 1024 px with two references of that size, as planned."""
    whole = torch.cuda.get_device_properties(CARD).total_memory
    if whole < gib * GIB:
        pytest.skip(f"the card has {whole / GIB:.1f} GiB")
    where = plan_offload(published, gib * GIB)
    torch.cuda.set_per_process_memory_fraction(gib * GIB / whole, CARD)
    torch.cuda.reset_peak_memory_stats(CARD)
    staging = Staging(CARD) if from_file else None
    streaming = StreamedTransformer(
        published, CARD, blocks=where.blocks, modulation=where.modulation, staging=staging
    )
    words = torch.zeros(1, 512, KONTEXT_DEV.context_in_dim), torch.zeros(1, KONTEXT_DEV.vec_in_dim)
    references = [torch.zeros(1, 16, 128, 128)] * 2
    try:
        made = denoise(published, noise(1, 128, 128, 0), *words, sigmas(2, 4096), references=references)
        assert made.isfinite().all()
        assert torch.cuda.max_memory_reserved(CARD) <= gib * GIB
    finally:
        streaming.stop()
        for tensor in tensors_of(published):
            tensor.data = tensor.data.cpu()
