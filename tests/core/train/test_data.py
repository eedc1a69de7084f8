import random
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

from kontext_core.pipeline import Pipeline
from kontext_core.train import data as module
from kontext_core.train.autoencoder import odd_pictures
from kontext_core.train.config import MIX
from kontext_core.train.data import Pool, groups
from kontext_core.world import Scene
from kontext_core.world.edits import KINDS, sample
from kontext_core.world.labels import FIELDS, cell_labels


def test_groups_by_number_of_references() -> None:
    found = groups({"recolour": 1.0, "text_to_image": 2.0, "character": 1.0, "remove": 1.0, "move": 0.0})
    assert found == {1: ["recolour", "remove"], 0: ["text_to_image"], 2: ["character"]}


def test_every_kind_has_its_group() -> None:
    found = groups(dict.fromkeys(KINDS, 1.0))
    assert sorted(kind for kinds in found.values() for kind in kinds) == sorted(KINDS)
    assert set(MIX) <= set(KINDS)


def test_unknown_kinds_are_named() -> None:
    with pytest.raises(ValueError, match="unknown kinds in the mix: dance, fly; known are "):
        groups({"recolour": 1.0, "dance": 1.0, "fly": 0.0})


class Drawn:
    """In place of the autoencoder: latents that number the pictures, so that each can be found again."""

    def __init__(self) -> None:
        self.count = 0

    def encode(self, image: Tensor) -> Tensor:
        numbers = torch.arange(self.count, self.count + len(image), dtype=torch.float32)
        self.count += len(image)
        return numbers[:, None, None, None].expand(-1, 16, 16, 16)


@pytest.fixture
def make_pool(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`make_pool(mix, **options)`, which spends no time on drawing."""
    monkeypatch.setattr(module, "draw", lambda scenes, device: torch.zeros(len(scenes), 3, 1, 1))

    def make(mix: dict[str, float], **options: Any) -> Pool:
        given = {"size": 1000, "reuse": 4, "device": "cpu"} | options
        return Pool(Drawn(), pipeline.text, mix, **given)

    return make


def numbers(latents: Tensor) -> list[int]:
    """Which targets a batch holds."""
    return [int(number) for number in latents[:, 0, 0, 0, 0]]


@pytest.mark.parametrize(("kind", "references"), [("text_to_image", 0), ("recolour", 1), ("character", 2)])
def test_batch_fills_the_tokens(make_pool: Any, kind: str, references: int) -> None:
    pool = make_pool({kind: 1.0}, reuse=4)
    per_sample = 32 + (1 + references) * 64
    batch = pool.batch(random.Random(0), 8 * per_sample, 64)
    assert batch.latents.shape == (8, 1 + references, 16, 16, 16)
    assert batch.labels.shape == (8, 1 + references, 16, len(FIELDS))
    assert batch.txt.shape == (8, 32, 128)
    assert batch.pooled.shape == (8, 128)
    assert len(batch) == 8


def test_target_comes_first_and_each_sample_keeps_its_own(
    make_pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, drawn, sampled = make_pool({"character": 1.0}, reuse=1), [], []

    def watched_draw(scenes: list[Scene], device: str) -> Tensor:
        drawn.extend(scenes)
        return torch.zeros(len(scenes), 3, 1, 1)

    def watched_sample(kind: str, rng: random.Random) -> Any:
        sampled.append(sample(kind, rng))
        return sampled[-1]

    monkeypatch.setattr(module, "draw", watched_draw)
    monkeypatch.setattr(module, "sample", watched_sample)
    batch = pool.batch(random.Random(0), 8 * 224, 64)
    assert drawn == [scene for one in sampled for scene in (one.target, *one.references)]
    assert batch.latents[:, :, 0, 0, 0].tolist() == [[3.0 * i, 3.0 * i + 1, 3.0 * i + 2] for i in range(8)]
    assert torch.equal(batch.labels.flatten(0, 1), cell_labels(drawn))
    txt, pooled = pool.text.encode([one.instruction for one in sampled])
    torch.testing.assert_close(batch.txt, txt)
    torch.testing.assert_close(batch.pooled, pooled)


def test_samples_are_reused_but_not_for_ever(make_pool: Any) -> None:
    """Each about `reuse` times; every batch brings some that were never seen."""
    pool, rng = make_pool({"text_to_image": 1.0}, reuse=4, size=64), random.Random(0)
    seen: Counter[int] = Counter()
    for _ in range(150):
        batch = numbers(pool.batch(rng, 8 * 96, 64).latents)
        assert len(set(batch) - set(seen)) == 2
        seen.update(batch)
    settled = [seen[number] for number in range(60, 200)]
    assert sum(settled) / len(settled) == pytest.approx(4, rel=0.15)
    assert len(pool.kept[0]) * 2 <= 64
    recent = [number for number in batch if number > pool.vae.count - 100]
    assert len(recent) >= 4, "old ones leave"


def test_nothing_is_kept_without_reuse(make_pool: Any) -> None:
    pool, rng = make_pool({"text_to_image": 1.0}, reuse=1), random.Random(0)
    batches = [numbers(pool.batch(rng, 4 * 96, 64).latents) for _ in range(5)]
    assert [number for batch in batches for number in batch] == list(range(20))
    assert pool.kept == {0: []}


def test_kinds_come_as_often_as_the_mix_says(make_pool: Any) -> None:
    pool, rng = make_pool({"recolour": 3.0, "text_to_image": 1.0, "remove": 0.0}, reuse=1), random.Random(0)
    references = Counter(pool.batch(rng, 1, 64).latents.shape[1] - 1 for _ in range(200))
    assert set(references) == {0, 1}
    assert references[1] / 200 == pytest.approx(0.75, abs=0.1)


def test_one_seed_one_batch(make_pool: Any) -> None:
    first, second = (make_pool(dict(MIX)).batch(random.Random(7), 2000, 64) for _ in range(2))
    assert torch.equal(first.latents, second.latents)
    assert torch.equal(first.txt, second.txt)


def test_real_pictures_and_words(pipeline: Pipeline) -> None:
    """Without anything in place of the world and the autoencoder."""
    pool = Pool(pipeline.vae, pipeline.text, {"recolour": 1.0}, size=100, reuse=1, device="cpu")
    batch = pool.batch(random.Random(0), 2 * 160, 64)
    assert batch.latents.shape == (2, 2, 16, 16, 16)
    assert batch.latents.isfinite().all()
    assert not batch.latents.requires_grad
    assert not torch.allclose(batch.latents[:, 0], batch.latents[:, 1])


def test_odd_pictures_are_often_grey() -> None:
    images = odd_pictures(random.Random(0), 60)
    assert images.shape == (60, 3, 128, 128)
    assert images.min() >= 0
    assert images.max() <= 1
    spread = (images.amax(1) - images.amin(1)).flatten(1).amax(1)  # over R, G, B; the night is a little blue
    grey = int((spread < 0.11).sum())
    assert 0.3 < grey / 60 < 0.7  # those asked for, and one in four of the others
