"""Which form of the published weights fits into how much memory, computed on models without memory."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import T5Config, T5EncoderModel

from kontext_core.config import FLUX_VAE, KONTEXT_DEV
from kontext_core.errors import TooLittleMemoryError
from kontext_core.loading import choose_weights as choosing
from kontext_core.loading.choose_weights import BY_ERROR, Found, choose_weights
from kontext_core.loading.load_parts import PART_KINDS
from kontext_core.loading.locate import locate_part
from kontext_core.loading.recognise import FileReport
from kontext_core.loading.tensors import LazyTensor
from kontext_core.memory.offload_plan import GIB, other_weights, plan_offload
from kontext_core.memory.tensor_data import tensors_of
from kontext_core.model.transformer import Transformer
from kontext_core.model_spec import AUTO
from kontext_core.pipeline import Pipeline

FORMATS = Path(__file__).parents[3] / "benchmarks" / "results" / "formats.json"
T5_XXL = T5Config(
    vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64,
    feed_forward_proj="gated-gelu", is_encoder_decoder=False, use_cache=False,
)  # fmt: skip


def found(kind: str, model: nn.Module, config: object) -> Found:
    """A report on an imaginary bfloat16 file."""
    weights = {
        key: LazyTensor(
            tuple(tensor.shape), torch.bfloat16, partial(torch.empty, tensor.shape, device="meta")
        )
        for key, tensor in model.state_dict().items()
        if key != "encoder.embed_tokens.weight"
    }
    numbers = sum(one.numel for one in weights.values())
    report = FileReport(Path(f"{kind}.safetensors"), kind, kind, "", config, {}, numbers, 2 * numbers)
    return report, weights


@pytest.fixture(autouse=True, scope="module")
def remembered() -> Iterator[None]:
    """Outlines of the published sizes are made once for each form."""
    made: dict[str | None, Any] = {}
    outlined = choosing.outlined

    def once(parts: dict[str, Found], dtype: torch.dtype, form: str | None) -> Any:
        if parts["transformer"][0].config is not KONTEXT_DEV:
            return outlined(parts, dtype, form)
        if form not in made:
            made[form] = outlined(parts, dtype, form)
        return made[form]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choosing, "outlined", once)
        yield


@pytest.fixture(scope="module")
def published() -> dict[str, Found]:
    with torch.device("meta"):
        transformer, t5 = Transformer(KONTEXT_DEV), T5EncoderModel(T5_XXL)
    small = {"vae": 83_819_683, "clip": 123_060_480}  # parameters
    beside = {
        kind: (FileReport(Path(kind), kind, kind, "", FLUX_VAE, {}, numbers, 2 * numbers), {})
        for kind, numbers in small.items()
    }
    return {
        "transformer": found("transformer", transformer, KONTEXT_DEV),
        "t5": found("t5", t5, T5_XXL),
        **beside,
    }


@pytest.mark.parametrize(
    ("gib", "form", "visitors"),
    [
        (4, "nf4", "some blocks"),
        (6, "nf4", "some blocks"),
        (8, "nf4", "no blocks"),
        (12, "int8", "no blocks"),
        (16, "int8", "no blocks"),
        (24, None, "no blocks"),
        (48, None, "none"),
    ],
)
def test_the_form_with_the_least_error_whose_blocks_stay(
    published: dict[str, Found], gib: float, form: str | None, visitors: str
) -> None:
    made = choose_weights(published, torch.bfloat16, AUTO, gib)
    assert made.quantise == form
    assert made.where.needed_bytes <= gib * GIB
    expected = {
        "some blocks": made.where.blocks > 0,
        "no blocks": made.where.blocks == 0 and made.where.modulation,
    }
    assert expected.get(visitors, made.where.visiting_bytes == 0)
    assert made.reason.startswith(f"weights {form or 'as stored'}, ")
    assert "\n" not in made.reason
    better = BY_ERROR[: BY_ERROR.index(form)]
    for other in better:
        try:
            assert choose_weights(published, torch.bfloat16, other, gib).where.blocks > 0
        except TooLittleMemoryError:
            continue


def test_sizes_of_the_published_weights(published: dict[str, Found]) -> None:
    """By hand: 11.9 and 4.76 billion parameters; without modulation 16.1 GiB, in 8 bits with
    scales 8.3, in 4 bits 4.3.
    """
    whole = choose_weights(published, torch.bfloat16, None, 200).where.resident_bytes / GIB
    assert whole == pytest.approx(22.17 + 8.87 + 0.39, abs=0.1)
    for form, bits in ((None, 16), ("int8", 8.25), ("fp8", 8), ("nf4", 4.25)):
        where = choose_weights(published, torch.bfloat16, form, 24).where
        blocks = 16.1 * bits / 16
        rest = 0.25 + 0.39 + 0.2  # T5's embedding, autoencoder and CLIP, embedders
        if where.t5_offloaded and where.modulation:
            assert where.resident_bytes / GIB == pytest.approx(blocks + rest, abs=0.3), form


def test_too_little_even_for_the_fewest_bits(published: dict[str, Found]) -> None:
    with pytest.raises(TooLittleMemoryError, match="allow more"):
        choose_weights(published, torch.bfloat16, AUTO, 1)
    assert choose_weights(published, torch.bfloat16, AUTO, "least").quantise == "nf4"


def test_the_order_is_that_of_measured_errors() -> None:
    rows = json.loads(FORMATS.read_text(encoding="utf-8"))["formats"]
    errors = [rows[f"{form} on loading"]["velocity"] for form in BY_ERROR if form]
    assert errors == sorted(errors)
    assert rows["nf4 on loading"]["velocity"] <= rows["int4 on loading"]["velocity"]


@pytest.mark.parametrize("quantise", [None, "full", "int8", "nf4"])
def test_what_is_planned_is_what_is_loaded(quantise: str | None) -> None:
    loaded = Pipeline.load("tiny", device="cpu", quantise=quantise)
    root = Path(__file__).parents[3] / "kontext_core" / "tiny"
    parts = {kind: locate_part(root, kind) for kind in PART_KINDS.values()}
    planned = choose_weights(parts, torch.float32, quantise, 64).where
    beside = other_weights(loaded.vae, loaded.text.clip, loaded.text.t5)
    real = plan_offload(loaded.transformer, 64 * GIB, beside=beside)
    assert planned.working_bytes == real.working_bytes
    assert planned.resident_bytes == pytest.approx(real.resident_bytes, rel=1e-4)  # CLIP counts positions


def test_auto_loads_what_it_chose() -> None:
    roomy = Pipeline.load("tiny", device="cpu", quantise=AUTO, memory_gib=64)
    assert "weights as stored, the first of as stored, int8, fp8, nf4 whose blocks stay within 64.0 GiB" in (
        roomy.describe_memory()
    )
    tight = Pipeline.load("tiny", device="cpu", quantise=AUTO, memory_gib="least")
    assert tight.describe_memory().startswith("weights nf4, of the fewest bits")
    assert tight.residency is not None
    assert tight.residency.blocks > 0
    packed = sum(t.nbytes for t in tensors_of(tight.transformer))
    assert packed < 0.6 * sum(t.nbytes for t in tensors_of(roomy.transformer))
