"""Weights kept in their mapped files: the same pictures, no copy in the host's memory, and how this is
decided.
"""

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.written import write
from kontext_core.config import KONTEXT_DEV
from kontext_core.loading import load_parts, load_transformer
from kontext_core.lora import Lora
from kontext_core.memory.block_streaming import StreamedTransformer
from kontext_core.memory.free_memory import free_host_bytes
from kontext_core.memory.offload_plan import GIB, Host, OffloadPlan, host_storage, plan_offload
from kontext_core.memory.staging import Staging
from kontext_core.memory.tensor_data import tensors_of
from kontext_core.model.transformer import Transformer
from kontext_core.pipeline import Pipeline
from tests.core.memory.test_block_streaming import run
from tests.core.memory.test_offload_plan import WORDS, lora_file, picture

CPU = torch.device("cpu")
PIECE = 1000  # bytes: less than most matrices here, and no multiple of their rows


def addresses(transformer: Transformer) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors_of(transformer)]


@pytest.fixture
def load(make_transformer: Callable[..., Transformer], tmp_path: Path) -> Callable[[str], Transformer]:
    """`load(form)`: a transformer from a file of that form, as it is stored."""

    def load(form: str) -> Transformer:
        path = write(form, make_transformer(depth=1, depth_single_blocks=3), tmp_path / "some")
        dtype = torch.bfloat16 if form == "bfloat16" else torch.float32
        return load_transformer(path, dtype=dtype)

    return load


@pytest.mark.parametrize("form", ["bfloat16", "fp8_scaled", "GGUF Q8_0"])
def test_the_same_from_the_file_to_the_last_bit(load: Callable[[str], Transformer], form: str) -> None:
    transformer = load(form)
    wanted, before = run(transformer), addresses(transformer)
    staging = Staging(CPU, PIECE)
    few = StreamedTransformer(transformer, CPU, blocks=2, staging=staging)
    assert torch.equal(run(transformer), wanted)
    streaming = StreamedTransformer(transformer, CPU, blocks=4, before=few, staging=staging)
    assert torch.equal(run(transformer), wanted)
    assert addresses(transformer) == before, "weights stay where they were loaded, in the file"
    assert all(packet.host is None for packet in streaming.packets)
    assert [buffer.nbytes for buffer in staging.buffers] == [PIECE] * 2
    streaming.release()
    assert torch.equal(run(transformer), wanted), "after its memory was given back"
    streaming.stop()
    assert torch.equal(run(transformer), wanted), "resident again"


def test_the_next_block_is_read_by_another_thread(
    load: Callable[[str], Transformer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The modulation is read where it is asked, blocks by the reader, each once a step and one ahead."""
    transformer = load("bfloat16")
    staging = Staging(CPU)
    streaming = StreamedTransformer(transformer, CPU, blocks=4, staging=staging)
    assert streaming.streamer is not None
    numbers = {id(packet): number for number, packet in enumerate(streaming.streamer.packets)}
    readers: list[tuple[bool, int]] = []
    for packet in streaming.packets:

        def watched(memory: Tensor, packet: Any = packet, send: Callable[..., None] = packet.send) -> None:
            main = threading.current_thread() is threading.main_thread()
            readers.append((main, numbers.get(id(packet), -1)))
            send(memory)

        monkeypatch.setattr(packet, "send", watched)
    run(transformer)
    streaming.release()
    assert readers[: len(streaming.visitors)] == [(True, -1)] * len(streaming.visitors)
    assert readers[len(streaming.visitors) :] == [(False, number) for number in [*range(4)] * 3 + [0]]


def test_a_file_that_cannot_be_read_is_told_to_who_asks(
    load: Callable[[str], Transformer], monkeypatch: pytest.MonkeyPatch
) -> None:
    transformer = load("bfloat16")
    wanted = run(transformer)
    staging = Staging(CPU)
    streaming = StreamedTransformer(transformer, CPU, blocks=4, modulation=False, staging=staging)
    streamer = streaming.streamer
    assert streamer is not None

    def fail(memory: Tensor) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as broken:
        broken.setattr(streamer.packets[2], "send", fail)
        with pytest.raises(OSError, match="the disk is gone"):
            run(transformer)
    assert torch.equal(run(transformer), wanted)


def test_no_buffer_is_filled_before_it_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU a copy from a buffer goes on while the program does: events in the place of real ones."""
    said: list[tuple[str, int]] = []

    class Event:
        def synchronize(self) -> None:
            said.append(("awaited", id(self)))

        def record(self, stream: object) -> None:
            said.append(("recorded", id(self)))

    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: None)
    staging = Staging(CPU, 16)
    staging._take()
    staging._sent = [Event(), Event()]
    first, second = map(id, staging._sent)
    stored, memory = torch.arange(70, dtype=torch.uint8), torch.zeros(100, dtype=torch.uint8)
    staging.send([(0, stored[:40]), (64, stored[40:])], memory)
    assert torch.equal(memory[:40], stored[:40])
    assert torch.equal(memory[64:94], stored[40:])
    turns = [first, second] * 2 + [first]  # 16 + 16 + 8, 16 + 14
    assert said == [(what, one) for one in turns for what in ("awaited", "recorded")]


def made(pipeline: Pipeline) -> Tensor:
    return pipeline.edit(WORDS, [picture()], steps=1).image


def visiting(gib: float) -> OffloadPlan:
    return OffloadPlan(10, True, 4 * GIB, int(gib * GIB), GIB)


@pytest.mark.parametrize(
    ("free", "made", "waits", "in_file", "note"),
    [
        (None, 0, "auto", False, ""),
        (32, 0, "auto", False, ""),
        (13, 0, "auto", True, ""),
        (13, 9, "auto", True, r"9\.0 GiB of that stay in the host's memory nevertheless"),
        (13, 12, "auto", False, r"12\.0 GiB of weights are needed in the host's memory, which has 11\.0 GiB for them: use weights as"),
        (13, 0, "memory", False, r"12\.0 GiB .* which has 11\.0 GiB for them: keep them in their files"),
        (64, 0, "file", True, ""),
        (8, 9, "file", True, r"9\.0 GiB of weights are needed in the host's memory, which has 6\.0 GiB"),
        (1, 0, "auto", True, ""),
    ],
)  # fmt: skip
def test_where_12_gib_wait(free: int | None, made: int, waits: Any, in_file: bool, note: str) -> None:
    """2 GiB of the host's memory are left to others."""
    host = Host(None if free is None else free * GIB, waits=waits)
    found = host_storage(visiting(12), made * GIB, host)
    assert found.in_file == in_file
    assert re.search(note, found.note) if note else not found.note
    line = replace(visiting(12), waiting=found).describe()
    assert (
        f"12.0 GiB come from the {'files' if in_file else 'host' + chr(39) + 's memory'}: 10 blocks" in line
    )
    assert line.endswith(found.note)


def test_a_host_that_computes_holds_what_stays_too() -> None:
    assert not host_storage(visiting(12), 0, Host(15 * GIB)).in_file
    assert host_storage(visiting(12), 0, Host(15 * GIB, computes=True)).in_file
    assert not host_storage(visiting(0), 0, Host(0, waits="file")).in_file, "nobody visits"


def test_the_published_weights_beside_little_memory() -> None:
    """bfloat16 on a card of 8 GiB: 14 GiB or more visit, for which 16 GiB of the host are
    too little and 32 are not.
    """
    with torch.device("meta"):
        published = Transformer(KONTEXT_DEV).to(torch.bfloat16)
    where = plan_offload(published, 8 * GIB)
    assert 14 < where.visiting_bytes / GIB < 22
    assert [host_storage(where, 0, Host(gib * GIB)).in_file for gib in (8, 16, 32)] == [True, True, False]
    every = plan_offload(published, None)
    gathered = 19 * 2**29 + 38 * (2**28 + 2**27 + 2**26)  # pieces of 453, 227, 113 and 57 MB, rounded up
    assert (every.blocks, every.pinned_bytes) == (57, gathered)
    largest = max(sum(tensor.nbytes for tensor in tensors_of(block)) for block in published.double_blocks)
    assert 2 * Staging(CPU).piece < largest < 2 * GIB


@pytest.fixture
def small_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_parts, "free_host_bytes", lambda: 2 * GIB)


def test_a_whole_model_from_its_files(small_host: None, tmp_path: Path) -> None:
    """By itself, where the host is small: T5, modulation and blocks; with a LoRA upon them too."""
    resident = Pipeline.load("tiny", device="cpu", dtype=torch.bfloat16)
    guest = Pipeline.load("tiny", device="cpu", dtype=torch.bfloat16, memory_gib="least")
    where = guest.residency
    assert where is not None
    assert where.t5_offloaded
    assert where.waiting.in_file
    assert "come from the files: " in guest.describe_memory()
    assert guest.weights._offloaded is not None
    assert all(packet.host is None for packet in guest.weights._offloaded.packets)
    assert torch.equal(made(guest), made(resident))
    loras = [Lora(lora_file(resident, 8, tmp_path), 0.7)]
    assert torch.equal(made(guest.with_loras(loras)), made(resident.with_loras(loras)))


def test_what_is_converted_waits_in_memory(small_host: None) -> None:
    """The tiny model's files are in bfloat16: in float32 nothing of it could be read from them as it is."""
    guest = Pipeline.load("tiny", device="cpu", memory_gib="least")
    assert guest.residency is not None
    assert not guest.residency.waiting.in_file
    assert (
        "use weights as stored, in files whose number format is the one computed with"
        in guest.describe_memory()
    )


def test_no_place_to_wait() -> None:
    with pytest.raises(ValueError, match="wait in 'cloud'; choose one of auto, memory, file"):
        Pipeline.load("tiny", device="cpu", memory_gib="least", waits="cloud")  # type: ignore[arg-type]


def test_what_the_host_has_left(tmp_path: Path) -> None:
    system, group = tmp_path / "meminfo", tmp_path / "group"
    system.write_text("MemTotal:       8000000 kB\nMemAvailable:    4000000 kB\nHugePages_Total:       0\n")
    assert free_host_bytes(system, group) == 4_000_000 * 1024
    group.mkdir()
    for name, text in (("max", "max\n"), ("current", "1000\n"), ("stat", "anon 900\n")):
        (group / f"memory.{name}").write_text(text)
    assert free_host_bytes(system, group) == 4_000_000 * 1024, "a group without a limit"
    (group / "memory.max").write_text("5000\n")
    (group / "memory.stat").write_text("anon 600\ninactive_file 150\nactive_file 250\n")
    assert free_host_bytes(system, group) == 5000 - 1000 + 400
    assert (free_host_bytes() or 0) > 0
