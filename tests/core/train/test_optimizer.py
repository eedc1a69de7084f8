import pytest
import torch
from torch import nn

from kontext_core.model.transformer import Transformer
from kontext_core.model.vae import VAE
from kontext_core.train.optimizer import Muon, orthogonal_factor, split_parameters


@pytest.mark.parametrize("shape", [(32, 32), (16, 64), (64, 16), (96, 24), (1, 8)], ids=str)
def test_orthogonal_factor(shape: tuple[int, int]) -> None:
    """Near U V^T: singular values near 1, directions kept."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    factor = orthogonal_factor(matrix)
    assert factor.shape == matrix.shape
    values = torch.linalg.svdvals(factor)
    assert values.min() > 0.5
    assert values.max() < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    exact = u @ v
    cosine = (factor * exact).sum() / (factor.norm() * exact.norm())
    assert cosine > 0.95


def test_orthogonal_factor_ignores_the_scale() -> None:
    matrix = torch.randn(12, 20)
    torch.testing.assert_close(
        orthogonal_factor(1000 * matrix), orthogonal_factor(matrix), rtol=1e-3, atol=1e-4
    )
    assert torch.equal(orthogonal_factor(torch.zeros(3, 4)), torch.zeros(3, 4))


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (8, 4, 3, 3)], ids=str)
def test_a_step_is_as_large_as_adams(shape: tuple[int, ...]) -> None:
    """Root mean square 0.2 lr, whatever the gradient's size; convolutions count as matrices."""
    weight = nn.Parameter(torch.zeros(shape))
    weight.grad = 1e-4 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    Muon([weight], lr=0.1).step()
    assert weight.square().mean().sqrt().item() == pytest.approx(0.2 * 0.1, rel=0.3)
    assert (weight.detach() * weight.grad).sum() < 0, "against the gradient"


def test_momentum_carries_on() -> None:
    weight = nn.Parameter(torch.zeros(4, 4))
    optimizer = Muon([weight], lr=0.1)
    weight.grad = torch.eye(4)
    optimizer.step()
    after_one = weight.detach().clone()
    weight.grad = torch.zeros(4, 4)
    optimizer.step()
    assert not torch.equal(weight, after_one)


def test_weight_decay_and_missing_gradients() -> None:
    decayed, untouched = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    decayed.grad = torch.zeros(2, 2)
    Muon([decayed, untouched], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(decayed.detach(), torch.full((2, 2), 0.95))
    assert torch.equal(untouched, torch.ones(2, 2))


def test_it_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    x, wanted = torch.randn(64, 12, generator=generator), torch.randn(12, 6, generator=generator)
    weight = nn.Parameter(torch.zeros(12, 6))
    optimizer = Muon([weight], lr=0.2)
    losses = []
    for _ in range(60):
        loss = (x @ weight - x @ wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]


def names(model: nn.Module, parameters: list[torch.Tensor]) -> set[str]:
    known = {id(parameter): name for name, parameter in model.named_parameters()}
    return {known[id(parameter)] for parameter in parameters}


def test_who_belongs_to_whom_in_the_transformer(transformer: Transformer) -> None:
    matrices, scales, others = (names(transformer, part) for part in split_parameters(transformer))
    everything = [*matrices, *scales, *others]
    assert sorted(everything) == sorted(name for name, _ in transformer.named_parameters())
    assert {"double_blocks.0.img_attn.qkv.weight", "single_blocks.1.linear2.weight"} <= matrices
    assert {
        "img_in.weight",
        "final_layer.linear.weight",
        "double_blocks.0.img_mod.lin.weight",
        "single_blocks.0.modulation.lin.weight",
        "double_blocks.0.img_attn.qkv.bias",
    } <= others
    assert {"double_blocks.0.txt_attn.norm.key_norm.scale", "single_blocks.0.norm.query_norm.scale"} <= scales


def test_who_belongs_to_whom_in_the_autoencoder(vae: VAE) -> None:
    matrices, scales, others = (names(vae, part) for part in split_parameters(vae))
    assert not scales
    assert {"encoder.down.0.block.0.conv1.weight", "decoder.mid.attn_1.q.weight"} <= matrices
    assert {
        "encoder.conv_in.weight",
        "decoder.conv_out.weight",
        "decoder.up.0.block.0.norm1.weight",
    } <= others
