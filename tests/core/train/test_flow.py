import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kontext_core.model import optimise
from kontext_core.model.latents import pack
from kontext_core.model.positions import layout_ids, target_ids, text_ids
from kontext_core.model.text import TextEncoders
from kontext_core.model.transformer import Transformer
from kontext_core.pipeline import Pipeline
from kontext_core.train import flow
from kontext_core.train.config import FlowTraining
from kontext_core.train.data import Batch
from kontext_core.train.flow import FlowModel, change_weights, initialised, train_flow
from kontext_core.train.objective import training_times

LAYOUTS = ("offset", "index", "diagonal")


@pytest.fixture
def model(pipeline: Pipeline) -> Iterator[FlowModel]:
    made = FlowModel(pipeline.transformer, pipeline.text)
    yield made
    made.alignment.remove()  # the transformer is every test's


@pytest.fixture
def batch(pipeline: Pipeline) -> Batch:
    """Two samples with two references of 2 x 3 tokens each."""
    latents = torch.randn(2, 3, 16, 4, 6, generator=torch.Generator().manual_seed(0))
    ids = pipeline.text.tokenize(["make the red circle blue", "remove the small green star"])
    return Batch(latents, torch.zeros(2, 3, 16, 7, dtype=torch.long), *pipeline.text.embed(*ids))


def batch_of(latents: Tensor) -> Batch:
    """Where only the pictures matter."""
    count = len(latents)
    return Batch(latents, torch.zeros(count, 1), torch.zeros(count, 1), torch.zeros(count, 1))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_network_sees_noisy_target_clean_references_and_words(
    model: FlowModel, batch: Batch, layout: str, assert_close: Callable[..., float]
) -> None:
    """As the sampler calls it, at the same places and times; it is to say noise minus data."""
    noise, t = torch.randn(2, 16, 4, 6, generator=torch.Generator().manual_seed(1)), torch.tensor([0.2, 0.9])
    with torch.no_grad():
        predicted, velocity = model(batch, t, noise, layout)
        target, *references = (pack(latents) for latents in batch.latents.unbind(1))
        noisy = (1 - t)[:, None, None] * target + t[:, None, None] * pack(noise)
        ids = torch.cat([target_ids(2, 3), *layout_ids((2, 3), [(2, 3)] * 2, layout)], dim=1)
        img = torch.cat([noisy, *references], dim=1)
        expected = model.transformer(img, ids, batch.txt, text_ids(1, 32), t, batch.pooled)[:, :6]
    assert torch.equal(velocity, pack(noise - batch.latents[:, 0]))
    assert_close(predicted, expected, 1e-6)


def test_what_changes_counts_more() -> None:
    latents = torch.randn(2, 2, 16, 4, 4)
    latents[0, 0] = latents[0, 1]
    latents[0, 0, :, :2, :2] += 3  # the first token of four
    latents[1, 0] = latents[1, 1]
    weights = change_weights(batch_of(latents), change_weight=3.0)
    torch.testing.assert_close(weights.mean(dim=1), torch.ones(2))
    assert weights[0, 0] > 3 * weights[0, 1]
    assert torch.equal(weights[0, 1:], weights[0, 1:2].expand(3))
    torch.testing.assert_close(weights[1], torch.ones(4))


def test_without_references_all_tokens_count_alike() -> None:
    batch = batch_of(torch.randn(2, 1, 16, 4, 4))
    assert torch.equal(change_weights(batch, change_weight=3.0), torch.ones(2, 4))


def test_a_fresh_network_says_nothing(
    make_transformer: Callable[..., Transformer], inputs: Callable[..., dict[str, Tensor]]
) -> None:
    """Its blocks are the identity, and the gradient still reaches the last layer."""
    fresh = initialised(make_transformer()).requires_grad_(True)
    velocity = fresh(**inputs(2))
    assert not velocity.any()
    (velocity - 1).square().mean().backward()
    assert fresh.final_layer.linear.weight.grad.any()


def test_training_changes_the_transformer_alone(pipeline: Pipeline, tmp_path: Path) -> None:
    """A few steps, and once more from the folder."""
    transformer = Transformer(pipeline.transformer.config)
    transformer.load_state_dict(pipeline.transformer.state_dict())
    fixed = {"text": pipeline.text, "vae": pipeline.vae}
    before = {name: {k: t.clone() for k, t in part.state_dict().items()} for name, part in fixed.items()}
    training = FlowTraining(
        minutes=0.003, tokens_per_step=400, warmup_steps=1, reuse=2, mix={"recolour": 1.0}
    )
    model = train_flow(transformer, pipeline.text, pipeline.vae, training, tmp_path)
    assert not model.training
    averages = load_file(tmp_path / "state.safetensors")
    weight = model.transformer.img_in.weight
    assert torch.equal(weight, averages["average.transformer.img_in.weight"])
    assert not torch.equal(weight, averages["model.transformer.img_in.weight"])
    assert not torch.equal(model.transformer.img_in.weight, pipeline.transformer.img_in.weight)
    again = train_flow(transformer, pipeline.text, pipeline.vae, training, tmp_path)
    assert torch.equal(again.transformer.img_in.weight, model.transformer.img_in.weight)
    for name, part in fixed.items():
        assert all(torch.equal(tensor, before[name][key]) for key, tensor in part.state_dict().items())
    assert not any(block._forward_hooks for block in transformer.modules())
    assert (tmp_path / "log.csv").exists()


def test_times_are_shifted_by_the_size_of_a_picture(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first preferred size of this model is 64 x 64 px: 16 tokens, and as many in each picture."""
    shifted: list[int] = []

    def times(count: int, n_target_tokens: int, *given: Any, **options: Any) -> Tensor:
        shifted.append(n_target_tokens)
        return training_times(count, n_target_tokens, *given, **options)

    monkeypatch.setattr(flow, "training_times", times)
    sizes = (((64, 64), 16), ((128, 128), 64))
    for number, (size, tokens) in enumerate(sizes):
        config = replace(pipeline.transformer.config, preferred_sizes=(size,))
        training = FlowTraining(minutes=0.001, tokens_per_step=100, reuse=1, mix={"recolour": 1.0})
        shifted.clear()
        monkeypatch.setattr(flow, "Pool", Pictures)
        train_flow(Transformer(config), pipeline.text, pipeline.vae, training, tmp_path / str(number))
        assert shifted
        assert set(shifted) == {tokens}
        assert Pictures.asked == tokens


class Pictures:
    """In the place of a pool: one batch of noise, of the tokens that it is asked for."""

    asked = 0

    def __init__(self, vae: Any, text: TextEncoders, *_: Any, **__: Any) -> None:
        self.text = text

    def batch(self, rng: random.Random, tokens_per_step: int, tokens_per_picture: int) -> Batch:
        Pictures.asked = tokens_per_picture
        side = 2 * round(tokens_per_picture**0.5)
        latents = torch.randn(2, 2, 16, side, side)
        labels = torch.zeros(2, 2, 16, 7, dtype=torch.long)
        return Batch(latents, labels, *self.text.embed(*self.text.tokenize(["one", "two"])))


def test_training_compiles_as_edits_do(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same function, which asks for the version of cuDNN first, and trains to the same weights."""
    asked: list[str] = []
    monkeypatch.setattr(optimise, "prepare_compile", lambda: asked.append("cudnn"))
    monkeypatch.setattr(
        flow,
        "compile_blocks",
        lambda one: (asked.append("compiled"), optimise.compile_blocks(one, backend="eager")),
    )
    transformer = Transformer(pipeline.transformer.config)
    training = FlowTraining(minutes=0.001, tokens_per_step=200, reuse=1, mix={"recolour": 1.0}, compile=True)
    model = train_flow(transformer, pipeline.text, pipeline.vae, training, tmp_path)
    assert asked == ["compiled", "cudnn"]
    assert all(tensor.isfinite().all() for tensor in model.transformer.parameters())
    torch._dynamo.reset()
