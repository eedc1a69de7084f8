"""Training of the flow: the transformer, on latents and words of a fixed autoencoder and fixed text encoders.

Source: arXiv:2506.15742 eq. 4: the network predicts noise minus data, from noisy target, clean references and
text.
"""

import random
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ..config import Layout
from ..model.latents import pack
from ..model.optimise import compile_blocks
from ..model.positions import layout_ids, target_ids, text_ids
from ..model.text import TextEncoders
from ..model.transformer import Transformer
from ..model.vae import VAE
from .alignment import Alignment
from .config import FlowTraining
from .data import Batch, Pool
from .objective import interpolate, training_times
from .optimizer import Muon, split_parameters
from .run import TrainingRun


class FlowModel(nn.Module):
    """The transformer in training, with the text encoders that it learns from and the heads that help it."""

    def __init__(self, transformer: Transformer, text: TextEncoders) -> None:
        super().__init__()
        self.transformer = transformer
        self.text = text.requires_grad_(False)
        self.alignment = Alignment(transformer)

    def forward(self, batch: Batch, t: Tensor, noise: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """Predicted and true velocity of the target tokens, (B, L, 64) each, at times t (B,)."""
        target, *references = batch.latents.unbind(1)
        size = (target.shape[-2] // 2, target.shape[-1] // 2)
        clean, noise = pack(target), pack(noise)
        img = torch.cat([interpolate(clean, noise, t), *map(pack, references)], dim=1)
        ids = torch.cat([target_ids(*size), *layout_ids(size, [size] * len(references), layout)], dim=1)
        predicted = self.transformer(
            img, ids, batch.txt, text_ids(1, batch.txt.shape[1]), t, batch.pooled, n_target=clean.shape[1]
        )
        return predicted, noise - clean


def train_flow(
    transformer: Transformer,
    text: TextEncoders,
    vae: VAE,
    training: FlowTraining,
    folder: Path,
    device: str = "cpu",
    *,
    measure: Callable[[FlowModel], Mapping[str, float]] | None = None,
) -> FlowModel:
    """Train these weights, or go on with the run in `folder`. The autoencoder stays what it is.

    Args:
        measure: called now and then with the averaged weights; what it returns goes into scores.csv.
    Returns: the averaged weights.
    """
    seed = training.seed or 0
    torch.manual_seed(seed)
    config = transformer.config
    model = FlowModel(transformer, text).to(device).train()
    if training.compile:
        compile_blocks(transformer)
    matrices, scales, others = split_parameters(transformer)
    others += model.alignment.parameters()
    small = [{"params": others}, {"params": scales, "lr": training.lr_adam * training.scales_rate}]
    run = TrainingRun(
        folder,
        model,
        [
            Muon(matrices, lr=training.lr_muon, weight_decay=training.weight_decay),
            torch.optim.AdamW(small, lr=training.lr_adam, betas=(0.9, 0.99), weight_decay=0.0),
        ],
        minutes=training.minutes,
        warmup_steps=training.warmup_steps,
        cooldown=training.cooldown,
        average_decay=training.average_decay,
    )
    pool = Pool(vae.to(device), text, training.mix, size=training.pool, reuse=training.reuse, device=device)
    tokens_per_picture = (config.preferred_sizes[0][0] // 16) * (config.preferred_sizes[0][1] // 16)
    for step in run.steps():
        rng = random.Random(f"flow/{seed}/{step}")
        generator = torch.Generator().manual_seed(rng.getrandbits(63))
        batch = pool.batch(rng, training.tokens_per_step, tokens_per_picture)
        noise = torch.randn(batch.latents[:, 0].shape, generator=generator).to(device)
        share = training.noisy_share + run.progress * (training.noisy_share_end - training.noisy_share)
        t = training_times(
            len(batch), tokens_per_picture, generator, extra_mu=training.extra_mu, share=share
        ).to(device)
        predicted, velocity = model(batch, t, noise, rng.choice(training.layouts))
        errors = (predicted - velocity).square().mean(dim=-1)
        weights = change_weights(batch, training.change_weight)
        # Heads that know nothing yet would only disturb what a transformer brings along.
        aligned, known = model.alignment.loss(batch.labels, weights, teach=step >= training.warmup_steps)
        loss = (errors * weights).mean() + training.alignment * (1.05 - run.progress) * aligned
        norm = run.update(loss, len(batch))
        run.record(
            loss=errors.mean().item(),
            references=batch.latents.shape[1] - 1,
            aligned=aligned.item(),
            known=known,
            grad=norm,
            rate=run.lr_scale,
        )
        if measure is not None:
            with torch.compiler.set_stance("force_eager"):  # a few pictures are not worth compiling for
                run.probe(partial(measure, model), training.probe_minutes * 60)
    model.load_state_dict(run.average.tensors)
    model.alignment.remove()
    return model.eval()


def change_weights(batch: Batch, change_weight: float) -> Tensor:
    """Weights (B, L) with mean 1 for each sample: tokens that differ from the first reference count more.

    Most of a local edit is copying, which is learnt early; what is asked for is a few tokens.
    """
    target = pack(batch.latents[:, 0])
    if batch.latents.shape[1] == 1:
        return torch.ones_like(target[..., 0])
    difference = (target - pack(batch.latents[:, 1])).square().mean(dim=-1)
    weights = 1 + change_weight * (difference / (difference + 0.1))
    return weights / weights.mean(dim=1, keepdim=True)


def initialised(transformer: Transformer) -> Transformer:
    """Xavier for linears; zero for modulation and the last layer: every block begins as the identity."""
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
            if "mod" in name or name.startswith("final_layer"):
                nn.init.zeros_(module.weight)
            else:
                nn.init.xavier_uniform_(module.weight)
    return transformer
