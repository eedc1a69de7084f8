"""The included weights score what the README says."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from kontext_core.eval.score import run, score_kind
from kontext_core.loading import load_vae, save_model
from kontext_core.loading.locate import TINY_FOLDER
from kontext_core.model.transformer import Transformer
from kontext_core.pipeline import Pipeline
from kontext_core.sampling.references import ReferenceLatents
from kontext_core.train.autoencoder import pictures, reconstruction_psnr
from kontext_core.train.config import REFINING, FlowTraining
from kontext_core.train.state import EMA, STATE_FILE, save_state
from kontext_core.train.tiny import recorded_training, train_tiny, training_record
from kontext_core.world import draw, sample
from tools.paths import ROOT

SCENES = 12


@pytest.fixture(scope="module")
def tiny() -> Pipeline:
    return Pipeline.load("tiny", device="cpu")


def test_the_autoencoder_keeps_pictures_it_never_saw() -> None:
    assert reconstruction_psnr(load_vae(TINY_FOLDER, dtype=torch.float32), count=64) > 36.0


@pytest.mark.parametrize("kind", ["recolour", "remove", "add", "background", "move", "text_to_image"])
def test_the_flow_is_worth_its_committed_scores(tiny: Pipeline, kind: str) -> None:
    """On the first of the scored scenes, as many results are right, less 3 points."""
    scores = json.loads((ROOT / "benchmarks" / "results" / "tiny" / "scores.json").read_text())
    committed = scores["right"][kind][:SCENES]
    found = score_kind(tiny, kind, SCENES, steps=scores["steps"])
    assert found.flags.count("1") >= committed.count("1") - 0.03 * SCENES, (found.flags, committed)


def test_references_are_told_apart_in_both_layouts() -> None:
    """Which thing comes from which of three pictures, as `kontext score` measured it on these weights."""
    rates = json.loads((ROOT / "benchmarks" / "results" / "tiny" / "scores.json").read_text())["rates"]
    assert min(rates["three"], rates["three/offset"]) >= 0.8, rates


@torch.no_grad()
def test_a_stronger_reference_is_seen_more(tiny: Pipeline) -> None:
    """How far the first velocity is from that without the second picture, on average over
    scenes; strength 0 is without.
    """
    samples = [sample("character", random.Random(f"strength/{i}")) for i in range(4)]
    first, second = (
        tiny.encode(draw([one.references[i] for one in samples]).permute(0, 2, 3, 1)) for i in range(2)
    )

    def seen(*references: torch.Tensor | ReferenceLatents) -> torch.Tensor:
        return run(tiny, [one.instruction for one in samples], references, seed=7, steps=1)[0]

    without = seen(first)
    assert torch.equal(seen(first, ReferenceLatents(second, strength=0.0)), without)
    away = [
        (seen(first, ReferenceLatents(second, strength=strength)) - without).flatten(1).norm(dim=1).mean()
        for strength in (0.05, 0.5, 1.0, 1.5, 2.0)
    ]
    assert all(weaker < stronger for weaker, stronger in pairwise(away)), away


def test_weights_know_what_training_they_have_behind_them(
    tmp_path: Path, make_transformer: Callable[..., Transformer]
) -> None:
    """What the weights had that a run began from counts too."""
    module = nn.Linear(1, 1)
    progress = {"samples": 300, "step": 10, "elapsed": 130.0}
    save_state(tmp_path / STATE_FILE, module, EMA(module, 0.9), [], progress)
    first = training_record(tmp_path, seed=3)
    assert first == {"samples": 300, "steps": 10, "minutes": 2, "seeds": [3]}
    save_model(tmp_path / "model", transformer=make_transformer(), training=first)
    assert recorded_training(tmp_path / "model") == first
    second = training_record(tmp_path, recorded_training(tmp_path / "model"), seed=4)
    assert second == {"samples": 600, "steps": 20, "minutes": 4, "seeds": [3, 4]}
    save_model(tmp_path / "other", transformer=make_transformer())
    assert recorded_training(tmp_path / "other") == recorded_training(tmp_path) == {}


def test_training_goes_on_from_a_model(tmp_path: Path) -> None:
    """A moment of each part: other scenes than the runs before, an autoencoder whose
    latents are nearly the same.
    """
    moment = 1 / 600
    made = train_tiny(
        tmp_path,
        autoencoder=replace(REFINING, minutes=moment, batch_size=8),
        flow=FlowTraining(minutes=moment, tokens_per_step=320, pool=4),
        start=TINY_FOLDER,
    )
    before, after = recorded_training(TINY_FOLDER), recorded_training(made)
    assert after["seeds"] == [*before["seeds"], len(before["seeds"])]
    assert after["samples"] > before["samples"]
    old, new = (load_vae(folder, dtype=torch.float32) for folder in (TINY_FOLDER, made))
    assert any(not torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))
    image = pictures(random.Random(0), 4) * 2 - 1
    torch.testing.assert_close(new.encode(image), old.encode(image), rtol=0, atol=0.5)
    Pipeline.load(made, device="cpu")
