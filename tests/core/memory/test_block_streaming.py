"""Weights that visit the device, against the same weights resident. On a CPU, visits are copies too."""

import copy
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from kontext_core.config import KONTEXT_DEV
from kontext_core.errors import TooLittleMemoryError
from kontext_core.lora import Lora
from kontext_core.memory import block_streaming as streaming
from kontext_core.memory.block_streaming import DeviceBuffer, StreamedTransformer
from kontext_core.memory.offload_plan import GIB, plan_offload, usual_working_bytes
from kontext_core.memory.staging import Staging
from kontext_core.memory.tensor_data import tensors_of
from kontext_core.model.blocks import Modulation
from kontext_core.model.latents import noise
from kontext_core.model.transformer import Transformer
from kontext_core.pipeline import Pipeline
from kontext_core.sampling.denoise import denoise
from kontext_core.sampling.schedule import sigmas

CPU = torch.device("cpu")


@pytest.fixture
def transformer(make_transformer: Callable[..., Transformer]) -> Transformer:
    return make_transformer(depth=2, depth_single_blocks=3)


def run(transformer: Transformer) -> Tensor:
    """Latents of a short edit."""
    config = transformer.config
    generator = torch.Generator().manual_seed(5)
    txt = torch.randn(1, 6, config.context_in_dim, generator=generator)
    pooled = torch.randn(1, config.vec_in_dim, generator=generator)
    reference = torch.randn(1, 16, 4, 6, generator=generator)
    with torch.no_grad():
        return denoise(transformer, noise(1, 4, 4, 0), txt, pooled, sigmas(3, 4), references=[reference])


@pytest.mark.parametrize("modulation", [False, True])
@pytest.mark.parametrize("blocks", [0, 1, 2, 3, 5])
def test_the_same_to_the_last_bit(transformer: Transformer, blocks: int, modulation: bool) -> None:
    wanted, before = run(transformer), copy.deepcopy(transformer.state_dict())
    streaming = StreamedTransformer(transformer, CPU, blocks=blocks, modulation=modulation)
    assert torch.equal(run(transformer), wanted)
    assert torch.equal(run(transformer), wanted), "a second edit"
    streaming.release()
    assert torch.equal(run(transformer), wanted), "after its memory was given back"
    for key, tensor in transformer.state_dict().items():
        assert torch.equal(tensor, before[key]), key
    streaming.stop()
    assert torch.equal(run(transformer), wanted), "resident again"


def test_blocks_compute_from_the_buffers(transformer: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block is copied once a step, the next while one computes, and its weights lie in a buffer then."""
    streaming = StreamedTransformer(transformer, CPU, blocks=5)
    streamer = streaming.streamer
    assert streamer is not None
    fetched: list[int] = []
    fetch = streamer.fetch

    def watched(number: int, slot: DeviceBuffer) -> None:
        fetched.append(number)
        fetch(number, slot)

    monkeypatch.setattr(streamer, "fetch", watched)
    seen: list[bool] = []

    def look(module: Any, args: Any) -> None:
        memory = [(slot.memory.data_ptr(), slot.memory.nbytes) for slot in streamer.slots]
        seen.append(any(0 <= module.linear1.weight.data_ptr() - start < size for start, size in memory))

    for block in transformer.single_blocks:
        block.register_forward_pre_hook(look)
    run(transformer)
    assert seen == [True] * 9
    assert fetched == [*range(5)] * 3 + [0], "the first block comes again for a step that may follow"
    largest = max(packet.nbytes for packet in streamer.packets)
    assert [slot.memory.nbytes for slot in streamer.slots] == [largest] * 2


def test_what_visits_is_accounted_for(transformer: Transformer) -> None:
    sizes = [sum(tensor.nbytes for tensor in tensors_of(block)) for block in transformer.single_blocks]
    modulation = sum(
        tensor.nbytes
        for one in transformer.modules()
        if isinstance(one, Modulation)
        for tensor in one.parameters()
    )
    lone = StreamedTransformer(copy.deepcopy(transformer), CPU, blocks=2, modulation=False)
    assert sum(sizes[1:]) <= lone.streamed_bytes <= sum(sizes[1:]) + 2 * 256 * 16
    rare = StreamedTransformer(transformer, CPU, blocks=0, modulation=True)
    assert modulation <= rare.streamed_bytes <= modulation + 7 * 2 * 256
    assert rare.streamer is None


def test_a_block_that_fails_leaves_the_model_usable(
    transformer: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = run(transformer)
    StreamedTransformer(transformer, CPU, blocks=5)
    block = transformer.single_blocks[1]

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(block, "forward", fail)
        with pytest.raises(KeyboardInterrupt):
            run(transformer)
    assert torch.equal(run(transformer), wanted)


def test_in_inference_mode(transformer: Transformer) -> None:
    """ComfyUI runs nodes in it; what is made there must be of use outside too."""
    wanted = run(transformer)
    with torch.inference_mode():
        StreamedTransformer(transformer, CPU, blocks=4)
        assert torch.equal(run(transformer), wanted)
    assert torch.equal(run(transformer), wanted)
    assert not any(tensor.is_inference() for tensor in transformer.parameters())


def test_so_many_blocks_there_are_not(transformer: Transformer) -> None:
    with pytest.raises(ValueError, match="6 blocks cannot be streamed: the model has 5"):
        StreamedTransformer(transformer, CPU, blocks=6)


@pytest.fixture(scope="module")
def published() -> Transformer:
    """The published sizes in bfloat16, without memory."""
    with torch.device("meta"):
        return Transformer(KONTEXT_DEV).to(torch.bfloat16)


@pytest.mark.parametrize("gib", [4, 6, 8, 12, 16, 24, 80])
def test_the_least_that_must_visit_does(published: Transformer, gib: int) -> None:
    """Weights of 22.2 GiB, 16.1 without modulation: by hand, for two references of 1024 x 1024 px."""
    found = plan_offload(published, gib * GIB)
    assert found.needed_bytes <= gib * GIB
    assert (found.blocks, found.modulation) == (0, False) or found.modulation
    if gib == 80:
        assert found.visiting_bytes == 0
        assert 22.1 < found.resident_bytes / GIB < 22.3
    if gib == 24:
        assert found.blocks == 0, "the modulation alone, a quarter of the weights, leaves"
        assert 6.0 < found.visiting_bytes / GIB < 6.1
    if found.blocks > 2:
        # GB of a single block without its modulation: linears of 7 D and 5 D by D.
        block = 2 * (21 * 3072**2) * 1e-9
        assert gib - found.needed_bytes / GIB < 1.1 * block, "one block fewer would not fit"
    assert 0.5 < found.working_bytes / GIB < 2


def test_more_room_means_fewer_visits(published: Transformer) -> None:
    blocks = [plan_offload(published, gib * GIB).blocks for gib in (4, 6, 8, 12, 16)]
    assert blocks == sorted(blocks, reverse=True)
    assert len(set(blocks)) == 5


def test_too_small_a_budget_is_explained(published: Transformer) -> None:
    with pytest.raises(TooLittleMemoryError, match=r"an edit needs \d\.\d GiB even when all blocks visit"):
        plan_offload(published, GIB)


def test_a_whole_model_within_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """All parts visit as planned, and pictures, prompts and their caches stay what they were."""
    resident = Pipeline.load("tiny", device="cpu")
    sizes = {name: sum(t.nbytes for t in tensors_of(getattr(resident, name))) for name in ("vae", "text")}
    every = sum(tensor.nbytes for tensor in tensors_of(resident.transformer))
    working = usual_working_bytes(resident.transformer)
    budget = (sum(sizes.values()) + 0.6 * every + working) / GIB
    guest = Pipeline.load("tiny", device="cpu", memory_gib=budget)
    where = guest.residency
    assert resident.residency is None
    assert where is not None
    assert where.blocks
    assert "come from the host's memory" in where.describe()
    picture = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(2))
    for prompt in ("make the red circle blue", "make the red circle green"):
        wanted = resident.edit(prompt, [picture], steps=2)
        assert torch.equal(guest.edit(prompt, [picture], steps=2).image, wanted.image)

    def forget(*_: object) -> None:
        pytest.fail("a visit has changed the encoders, so what was kept is lost")

    monkeypatch.setattr(guest.text, "embed", forget)
    assert torch.equal(guest.edit(prompt, [picture], steps=2).image, wanted.image)


@pytest.mark.parametrize("gib", [0.0, -1.0, float("nan")])
def test_no_amount_of_memory(gib: float) -> None:
    with pytest.raises(ValueError, match="must be GiB above 0"):
        Pipeline.load("tiny", device="cpu", memory_gib=gib)


def test_a_model_that_cannot_fit() -> None:
    with pytest.raises(TooLittleMemoryError, match="choose weights of fewer bits"):
        Pipeline.load("tiny", device="cpu", memory_gib=0.001)


def test_packed_weights_and_loras_visit_too(tmp_path: Path) -> None:
    """Packed layers are buffers, and a view with LoRAs shares the blocks' weights and their visits."""
    loaded = Pipeline.load("tiny", device="cpu", quantise="int8")
    width = loaded.transformer.config.hidden_size
    generator = torch.Generator().manual_seed(0)
    file = tmp_path / "some.safetensors"
    layer = "lora_unet_single_blocks_5_linear2"
    save_file(
        {
            f"{layer}.lora_down.weight": torch.randn(4, 5 * width, generator=generator),
            f"{layer}.lora_up.weight": torch.randn(width, 4, generator=generator),
        },
        file,
    )
    view = loaded.with_loras([Lora(file, 0.5)])
    wanted = [run(loaded.transformer), run(view.transformer)]
    assert not torch.equal(*wanted)
    streaming = StreamedTransformer(loaded.transformer, CPU, blocks=6)
    after = loaded.with_loras([Lora(file, 0.5)])
    found = [run(one.transformer) for one in (loaded, view, after)]
    for picture, right in zip(found, [*wanted, wanted[1]], strict=True):
        assert torch.equal(picture, right)
    assert streaming.streamed_bytes < 0.6 * sum(
        p.nbytes for p in Pipeline.load("tiny").transformer.parameters()
    )


def test_copies_wait_for_what_the_memory_was_before(
    transformer: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU a buffer is memory that others gave back, whose last work may not be done: streams
    in the place of real ones.
    """
    said: list[tuple[str, int, str]] = []

    class Event:
        def record(self, stream: "Stream") -> None:
            said.append(("recorded", id(self), stream.name))

    class Stream:
        def __init__(self, name: str) -> None:
            self.name = name

        def wait_event(self, event: Event) -> None:
            said.append(("awaited", id(event), self.name))

        def synchronize(self) -> None: ...

    main = Stream("main")
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: main)
    monkeypatch.setattr(torch.cuda, "stream", lambda *_: nullcontext())
    streamer = StreamedTransformer(transformer, CPU, blocks=5).streamer
    assert streamer is not None
    streamer._stream = Stream("copies")
    run(transformer)
    copies = [number for number, one in enumerate(said) if one[0] == "recorded" and one[2] == "copies"]
    assert len(copies) == 5 * 3 + 1, "each block at each step, and one for a step that does not come"
    awaited: set[int] = set()
    for number in copies:
        event = next(one[1] for one in reversed(said[:number]) if one[0] == "awaited" and one[2] == "copies")
        last = max(i for i, one in enumerate(said[:number]) if one == ("recorded", event, "main"))
        assert last not in awaited, "the main stream said anew that the buffer is free"
        awaited.add(last)


def test_a_copy_that_fails_claims_no_block(transformer: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in its buffer then is neither the block that was there nor the one that was to come."""
    streamer = StreamedTransformer(transformer, CPU, blocks=5).streamer
    assert streamer is not None
    slots = streamer.slots = [streamer._slot() for _ in range(2)]
    streamer.fetch(0, slots[0])
    streamer.fetch(1, slots[1])
    assert [slot.holds for slot in slots] == [0, 1]

    def fail(memory: Tensor) -> None:
        memory.fill_(0xFF)  # half-way through
        raise OSError("the copy failed")

    with monkeypatch.context() as broken:
        broken.setattr(streamer.packets[2], "send", fail)
        with pytest.raises(OSError, match="the copy failed"):
            streamer.fetch(2, slots[0])
    assert [slot.holds for slot in slots] == [None, 1]


def test_a_reader_that_fails_claims_no_block(
    transformer: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another thread reads, that is known when somebody waits for the block."""
    streamer = StreamedTransformer(transformer, CPU, blocks=5, staging=Staging(CPU)).streamer
    assert streamer is not None
    slot = streamer._slot()
    streamer.slots = [slot]

    def fail(memory: Tensor) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as broken:
        broken.setattr(streamer.packets[2], "send", fail)
        streamer.fetch(2, slot)
        with pytest.raises(OSError, match="the disk is gone"):
            streamer._await(slot)
    assert (slot.holds, slot.read) == (None, None)
    streamer.fetch(2, slot)
    streamer._await(slot)
    assert slot.holds == 2
    streamer.stop()


def test_a_buffer_is_given_back_when_nothing_is_on_its_way_to_it(
    transformer: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither from the disk nor from the host's memory: streams in the place of real ones."""
    streamer = StreamedTransformer(transformer, CPU, blocks=3).streamer
    assert streamer is not None
    said: list[str] = []

    class Stream:
        def synchronize(self) -> None:
            said.append("copied" if streamer.slots else "too late")

    slot = streamer._slot()
    slot.read = Future()
    streamer.slots, streamer._stream = [slot], Stream()
    monkeypatch.setattr(streaming, "wait", lambda reads: said.append(f"{len(reads)} read"))
    streamer.release()
    assert said == ["1 read", "copied"]
    assert streamer.slots == []
