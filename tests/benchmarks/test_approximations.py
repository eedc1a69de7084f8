"""Step caches that are measured but not shipped: exact if nothing is skipped, and the measurement itself."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import approximations
from benchmarks.approximate import added
from benchmarks.approximate.standing_tokens import Region
from benchmarks.speed.cases import CONFIGURATIONS, Case
from benchmarks.speed.models import question, random_transformer
from kontext_core.model.latents import noise
from kontext_core.model.transformer import Transformer
from kontext_core.sampling.denoise import denoise
from kontext_core.sampling.schedule import sigmas
from kontext_core.sampling.step_cache import METHODS

STEPS = 8
CPU = torch.device("cpu")
CONFIG = CONFIGURATIONS["least"].transformer
LEVELS = sigmas(STEPS, 4)

Run = Callable[[str | None], Tensor]


@pytest.fixture(scope="module")
def network() -> Transformer:
    return random_transformer(CONFIG, CPU, torch.float32).requires_grad_(False)


@pytest.fixture
def run(network: Transformer) -> Run:
    """One edit of 4 tokens with a reference of that size and 8 tokens of text."""
    asked = question(CONFIG, Case(32, 1), CPU, torch.float32)

    def denoised(way: str | None) -> Tensor:
        with added(asked.references[0], LEVELS):
            given = (network, noise(1, 4, 4, 0), asked.txt, asked.pooled, LEVELS)
            return denoise(*given, references=asked.references, approximate=way)

    return denoised


def test_nothing_is_left_in_what_is_shipped(run: Run) -> None:
    run("references")
    assert list(METHODS) == ["teacache"]


@pytest.mark.parametrize("way", ["first_block:0", "references:1"])
def test_where_nothing_is_skipped_the_bits_are_the_same(run: Run, way: str) -> None:
    assert torch.equal(run(way), run(None))


@pytest.mark.parametrize(
    ("way", "last"),
    [
        ("first_block:1", [16, 16]),
        ("references:3", [16, 12, 12, 16, 12, 12, 16, 12]),
        ("region:10", [16, 16, 16, 16]),  # nothing moves: the first two steps, five later, the last
        ("region:0", [16, 16, 12, 12, 12, 12, 16, 16]),  # all of the target moves
    ],
)
def test_with_how_many_tokens_the_last_block_runs(
    run: Run, network: Transformer, way: str, last: list[int]
) -> None:
    seen: list[int] = []
    hook = network.single_blocks[-1].register_forward_pre_hook(
        lambda _, given: seen.append(given[0].shape[1])
    )
    result = run(way)
    hook.remove()
    assert seen == last
    assert not torch.equal(result, run(None))


def test_a_token_changes_with_its_neighbours_in_any_picture() -> None:
    clean = torch.zeros(2, 30, 64)
    clean[0, 0], clean[1, 29] = 0.3, 0.3
    clean[1, 17] = 0.1
    expected = torch.zeros(5, 6, dtype=torch.bool)
    expected[:2, :2] = expected[3:, 4:] = True
    region = Region(torch.zeros(1, 16, 10, 12), LEVELS)
    assert torch.equal(region.changed(clean, 0.2).view(5, 6), expected)


def test_all_ways_are_measured_with_one_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: numbers[1:2] for name, numbers in approximations.WAYS.items() if name != "fewer steps"}
    monkeypatch.setattr(approximations, "WAYS", few | {"fewer steps": (3,)})
    threads = torch.get_num_threads()
    given = ["--count", "1", "--steps", "6", "--ways", ",".join(approximations.WAYS)]
    approximations.main([*given, "--output", str(tmp_path)])
    torch.set_num_threads(threads)
    rows = json.loads((tmp_path / "approximations.json").read_text())["ways"]
    assert {way.partition(":")[0] for way in rows} == {"exact", *approximations.WAYS}
    assert rows["fewer steps:3"]["multiplications_saved"] == 0.5
    assert all(row["psnr"] > 20 for row in rows.values())
    assert (tmp_path / "approximations.png").stat().st_size
