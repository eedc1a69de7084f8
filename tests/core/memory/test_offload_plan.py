"""What visits when memory is short: T5 first, then the modulation, then blocks; LoRAs and packed weights
count too.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kontext_core.errors import TooLittleMemoryError
from kontext_core.lora import Lora
from kontext_core.memory.block_streaming import StreamedTransformer
from kontext_core.memory.offload_plan import (
    GIB,
    OffloadPlan,
    OtherWeights,
    budget_bytes,
    other_weights,
    plan_offload,
    usual_working_bytes,
)
from kontext_core.memory.tensor_data import tensors_of
from kontext_core.model.blocks import Modulation
from kontext_core.model.transformer import Transformer
from kontext_core.pipeline import Pipeline

CPU = torch.device("cpu")
WORDS = "make the red circle blue"


@pytest.fixture(scope="module")
def resident() -> Pipeline:
    return Pipeline.load("tiny", device="cpu")


@pytest.fixture(scope="module")
def lora(resident: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lora_file(resident, 64, tmp_path_factory.mktemp("lora"))


def lora_file(resident: Pipeline, rank: int, folder: Path) -> Path:
    """On a linear of every single block and of T5, with DoRA's magnitudes on one; at
    rank 64 1.1 MiB in float32.
    """
    generator = torch.Generator().manual_seed(0)
    width = resident.transformer.config.hidden_size
    t5 = resident.text.t5.config.d_model
    tensors: dict[str, Tensor] = {}
    for number in range(len(resident.transformer.single_blocks)):
        layer = f"lora_unet_single_blocks_{number}_linear2"
        tensors[f"{layer}.lora_down.weight"] = torch.randn(rank, 5 * width, generator=generator) * 0.05
        tensors[f"{layer}.lora_up.weight"] = torch.randn(width, rank, generator=generator) * 0.05
    tensors[f"{layer}.dora_scale"] = torch.rand(width, 1, generator=generator) + 1
    layer = "lora_te2_encoder_block_0_layer_0_SelfAttention_o"
    inner = resident.text.t5.config.num_heads * resident.text.t5.config.d_kv
    tensors[f"{layer}.lora_down.weight"] = torch.randn(8, inner, generator=generator)
    tensors[f"{layer}.lora_up.weight"] = torch.randn(t5, 8, generator=generator)
    file = folder / "some.safetensors"
    save_file(tensors, file)
    return file


def picture() -> Tensor:
    return torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(2))


def made(pipeline: Pipeline) -> Tensor:
    return pipeline.edit(WORDS, [picture()], steps=2).image


def gib_at(pipeline: Pipeline, blocks: int) -> float:
    """The most of memory with which so many blocks visit."""
    beside = other_weights(pipeline.vae, pipeline.text.clip, pipeline.text.t5)
    whole = plan_offload(pipeline.transformer, 10**10, beside=beside).needed_bytes
    budgets = (whole * (200 - number) // 200 for number in range(200))
    found = (
        one for one in budgets if plan_offload(pipeline.transformer, one, beside=beside).blocks >= blocks
    )
    return next(found) / GIB


def parts(pipeline: Pipeline) -> tuple[nn.Module, nn.Module, nn.Module]:
    return pipeline.vae, pipeline.text.clip, pipeline.text.t5


def test_t5_leaves_first_then_the_modulation_then_blocks(
    make_transformer: Callable[..., Transformer],
) -> None:
    transformer = make_transformer(depth=2, depth_single_blocks=4)
    beside = OtherWeights(resident=1000, words=(5000,) * 20)
    whole = plan_offload(transformer, 10**9, working_bytes=0, beside=beside).needed_bytes
    budget, seen = whole, []
    while True:
        try:
            found = plan_offload(transformer, budget, working_bytes=0, beside=beside)
        except TooLittleMemoryError:
            break
        assert found.needed_bytes <= budget
        if not seen or seen[-1] != found.visitors:
            seen.append(found.visitors)
        budget -= whole // 100
    assert seen[:3] == [(0, False, False), (0, False, True), (0, True, True)]
    assert [blocks for blocks, *_ in seen[3:]] == sorted({blocks for blocks, *_ in seen[3:]})
    assert all(modulation and words for _, modulation, words in seen[3:])
    least = plan_offload(transformer, None, working_bytes=0, beside=beside)
    assert least.needed_bytes <= budget + whole // 100
    kept = plan_offload(transformer, whole, working_bytes=0, beside=beside, least=least)
    assert kept.visitors == least.visitors, "who visits goes on doing so"


def test_the_plan_counts_what_visits_take(resident: Pipeline) -> None:
    """Two buffers of the largest block that visits, for one computes while the next comes; or the
    largest modulation alone.
    """
    transformer = resident.transformer
    every = sum(tensor.nbytes for tensor in tensors_of(transformer))
    blocks = [*transformer.double_blocks, *transformer.single_blocks]
    sizes = [sum(tensor.nbytes for tensor in tensors_of(block, Modulation)) for block in blocks]
    rare = [
        sum(one.nbytes for one in tensors_of(m)) for m in transformer.modules() if isinstance(m, Modulation)
    ]
    plans = {where.blocks: where for where in plans_of(transformer, every)}
    assert set(plans) >= {0, 2, len(blocks)}
    for count, where in plans.items():
        if not where.modulation:
            continue
        leaving = sizes[len(sizes) - count :]
        buffers = max(2 * max(leaving, default=0), max(rare))
        assert where.resident_bytes == every - sum(rare) - sum(leaving) + buffers
    streamer = StreamedTransformer(copy.deepcopy(transformer), CPU, blocks=2).streamer
    assert streamer is not None
    slots = [streamer._slot() for _ in range(2)]
    aligned = 256 * len(tensors_of(blocks[-1]))
    assert sum(slot.memory.nbytes for slot in slots) <= 2 * max(sizes[-2:]) + 2 * aligned


def plans_of(transformer: Transformer, every: int) -> Iterator[OffloadPlan]:
    """From all resident to all visiting."""
    for percent in range(100, 0, -1):
        try:
            yield plan_offload(transformer, int(1.05 * every * percent / 100), working_bytes=0)
        except TooLittleMemoryError:
            return


def test_all_stays_where_there_is_room(resident: Pipeline) -> None:
    roomy = Pipeline.load("tiny", device="cpu", memory_gib=64)
    where = roomy.residency
    assert where is not None
    assert where.visitors == (0, False, False)
    every = [t for part in (roomy.transformer, roomy.vae, roomy.text) for t in tensors_of(part)]
    assert where.resident_bytes == sum(tensor.nbytes for tensor in every)
    assert roomy.describe_memory() == where.describe()
    assert resident.describe_memory() == ""
    assert torch.equal(made(roomy), made(resident))


@pytest.mark.parametrize(("quantise", "rank"), [(None, 64), ("nf4", 16)])
def test_loras_upon_guests_are_those_upon_residents(
    resident: Pipeline, quantise: str | None, rank: int, tmp_path: Path
) -> None:
    """Plain and packed weights, beside the weights with DoRA, and two of them; to the last bit."""
    lora = lora_file(resident, rank, tmp_path)
    whole = Pipeline.load("tiny", device="cpu", quantise=quantise)
    guest = Pipeline.load("tiny", device="cpu", quantise=quantise, memory_gib=gib_at(whole, 2))
    assert guest.residency is not None
    assert guest.residency.t5_offloaded
    before = guest.residency.blocks
    assert before > 0
    loras = [Lora(lora, 0.7), Lora(lora, -0.3, start=0.5)]
    bare, changed = made(whole), made(whole.with_loras(loras))
    assert not torch.equal(bare, changed)
    assert torch.equal(made(guest), bare)
    view = guest.with_loras(loras)
    assert guest.residency.blocks > before, "what a LoRA takes is taken from the blocks"
    assert torch.equal(made(view), changed)
    assert torch.equal(made(guest), bare)
    after = guest.residency
    assert torch.equal(made(guest.with_loras(loras)), changed)
    more = guest.residency.resident_bytes - after.resident_bytes
    assert 0 <= more < 5000, "the same factors again take nothing more, but for the norms of DoRA"


def test_merged_loras_take_their_room_too(resident: Pipeline, lora: Path) -> None:
    guest = Pipeline.load("tiny", device="cpu", memory_gib=gib_at(resident, 2))
    merged = [Lora(lora, merged=True)]
    wanted = made(resident.with_loras(merged))
    before = guest.residency
    assert torch.equal(made(guest.with_loras(merged)), wanted)
    assert before is not None
    assert guest.residency is not None
    assert guest.residency.visitors > before.visitors


def test_a_lora_for_which_there_is_no_room(resident: Pipeline, lora: Path) -> None:
    guest = Pipeline.load("tiny", device="cpu", memory_gib="least")
    where = guest.residency
    assert where is not None
    guest = Pipeline.load("tiny", device="cpu", memory_gib=(where.needed_bytes + 2000) / GIB)
    with pytest.raises(TooLittleMemoryError, match="even when all blocks visit"):
        guest.with_loras([Lora(lora)])
    assert torch.equal(made(guest), made(resident)), "as if nothing had been"


def test_who_visits_is_who_is_planned_to_and_leaves_no_memory_behind(resident: Pipeline, lora: Path) -> None:
    """Before and after a LoRA came upon the model; buffers are there while something is
    computed and not between.
    """
    guest = Pipeline.load("tiny", device="cpu", memory_gib=gib_at(resident, 2))
    seen: list[int] = []
    counts: list[int] = []

    def slots() -> int:
        assert guest.weights._offloaded is not None
        streamed = [
            guest.weights._offloaded._words,
            guest.weights._offloaded._steps and guest.weights._offloaded._steps.streamer,
        ]
        return sum(len(streamer.slots) for streamer in streamed if streamer)

    for loras in ([], [Lora(lora)]):
        view = guest.with_loras(loras)
        view.edit(WORDS, [picture()], steps=1, callback=lambda *_: seen.append(slots()))
        assert slots() == 0
        view.encode_prompt(f"other words {len(seen)}")
        assert slots() == 0
        where, offloaded = guest.residency, guest.weights._offloaded
        assert where is not None
        assert offloaded is not None
        assert offloaded._steps is not None
        assert offloaded._steps.streamer is not None
        counts.append(len(offloaded._steps.streamer.packets))
        visiting = sum(tensor.nbytes for packet in offloaded.packets for tensor in packet.tensors)
        assert visiting == where.visiting_bytes
    assert seen == [2, 2]
    assert counts[1] > counts[0], "what a LoRA takes is taken from the blocks"
    assert guest.residency is not None
    assert counts[1] == guest.residency.blocks


def test_t5_s_visits_are_over_before_an_edit_begins(resident: Pipeline) -> None:
    """So the room to work is the greater of both."""
    transformer = resident.transformer
    for words, room in (((100,) * 3, 5000), ((4000,) * 3, 8000)):
        where = plan_offload(
            transformer,
            10**12,
            5000,
            OtherWeights(0, words),
            least=replace(plan_offload(transformer, 10**12), t5_offloaded=True),
        )
        assert where.t5_offloaded
        assert where.working_bytes == room


def test_streaming_goes_on_with_its_packets(make_transformer: Callable[..., Transformer]) -> None:
    """Weights that are in the host's memory already are not copied there again."""
    transformer = make_transformer(depth=2, depth_single_blocks=3)
    first = StreamedTransformer(transformer, CPU, blocks=2)
    packets = {packet.host.data_ptr() for packet in first.packets}
    more = StreamedTransformer(transformer, CPU, blocks=4, before=first)
    assert packets < {packet.host.data_ptr() for packet in more.packets}
    assert len(more.packets) == len(first.packets) + 2
    assert all(len(block._forward_pre_hooks) == 1 for block in transformer.single_blocks)


def test_packed_weights_are_multiplied_out_within_the_work(resident: Pipeline) -> None:
    packed = Pipeline.load("tiny", device="cpu", quantise="nf4").transformer
    more = usual_working_bytes(packed) - usual_working_bytes(resident.transformer)
    largest = max(weight.numel() for weight in resident.transformer.single_blocks.parameters())
    assert more >= 4 * largest


def test_auto_is_all_of_the_cpu(resident: Pipeline) -> None:
    assert Pipeline.load("tiny", device="cpu", memory_gib="auto").residency is None
    with pytest.raises(ValueError, match="on cpu that is not known: give memory_gib too"):
        Pipeline.load("tiny", device="cpu", quantise="auto")


def test_auto_on_cuda_is_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    from kontext_core.loading import load_parts

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3 * GIB, 8 * GIB))
    assert load_parts._free_gib(torch.device("cuda"), needed=True) == 3


def test_words_alone(resident: Pipeline) -> None:
    where = plan_offload(resident.transformer, None, beside=OtherWeights(0, (10,)))
    assert replace(where, blocks=0, modulation=False).describe().endswith(": T5 once a prompt")


@pytest.mark.parametrize("memory_gib", [0, -1.0, float("nan"), float("inf"), 1e300])
def test_what_is_no_amount_of_memory(memory_gib: float) -> None:
    with pytest.raises(ValueError, match=r"^a model may take .* GiB; give an amount above 0"):
        budget_bytes(memory_gib)
